"""LiteRT (TensorFlow Lite): `.tflite` files."""

import importlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.errors import InputError
from keras_inception.inference.runtimes.base import Runtime


class LiteRtRuntime(Runtime):
    """A LiteRT file in its interpreter, with XNNPACK: of ai-edge-litert, else of TensorFlow.

    Args:
        path: the file.
        threads: None: as many as there are cores.
        metadata: of the export.

    Raises:
        InputError: if the file cannot be loaded or does not take one batch of images.
    """

    name = "litert"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # tf.lite moves to ai-edge-litert
            try:
                interpreter = _interpreter_class()(
                    model_path=str(path), num_threads=threads or os.cpu_count()
                )
            except (ValueError, RuntimeError) as error:
                raise InputError(f"{path} is no LiteRT file that can be run: {error}") from error
        signatures = interpreter.get_signature_list()
        inputs = interpreter.get_input_details()
        if len(inputs) != 1 or not signatures:
            raise InputError(
                f"{path} has {len(inputs)} inputs and {len(signatures)} signatures; expected one "
                "input, of images, and a signature."
            )
        self._interpreter = interpreter
        self._run_signature = interpreter.get_signature_runner(next(iter(signatures)))
        (self._input,) = self._run_signature.get_input_details()
        sides = inputs[0].get("shape_signature", inputs[0]["shape"])
        shape = tuple(int(side) if side >= 0 else None for side in sides)
        super().__init__(shape, np.dtype(inputs[0]["dtype"]).name, metadata=metadata)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return self._run_signature(**{self._input: images})

    def _close(self) -> None:
        del self._run_signature, self._interpreter


def _interpreter_class() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ModuleNotFoundError:
        import tensorflow as tf

        return tf.lite.Interpreter
