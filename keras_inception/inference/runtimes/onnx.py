"""ONNX Runtime: `.onnx` files."""

import json
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError, import_extra
from keras_inception.inference.runtimes.base import Runtime

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


class OnnxRuntime(Runtime):
    """An ONNX file in ONNX Runtime, on the CPU.

    Args:
        path: the file.
        threads: of one operation; None: as many as there are cores.

    Raises:
        InputError: if the file cannot be loaded or does not take one batch of images.
        MissingExtra: if onnxruntime is not installed.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
    ) -> None:
        from keras_inception.inference.export.metadata import KEY

        onnxruntime = import_extra("onnxruntime", "onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a dozen classes of its own, from RuntimeError
            raise InputError(f"{path} is no ONNX file that can be run: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _DTYPES:
            found = ", ".join(f"{each.name} {each.type}" for each in inputs)
            raise InputError(f"{path} takes {found}; expected one batch of images.")
        self._input = inputs[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        shape = tuple(side if isinstance(side, int) else None for side in inputs[0].shape)
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        metadata = None if text is None else json.loads(text)
        super().__init__(shape, _DTYPES[inputs[0].type], metadata=metadata)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._session.run(self._outputs, {self._input: images})
        return dict(zip(self._outputs, outputs, strict=True))

    def _close(self) -> None:
        del self._session
