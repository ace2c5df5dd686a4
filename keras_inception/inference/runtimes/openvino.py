"""OpenVINO: `.xml` files with their `.bin`, and networks converted in memory."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_inception.errors import InputError, import_extra
from keras_inception.inference.runtimes.base import Runtime
from keras_inception.inference.runtimes.saved_model import SIGNATURE, save

if TYPE_CHECKING:
    import tensorflow as tf

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}


class OpenVinoRuntime(Runtime):
    """An OpenVINO network, compiled for the CPU.

    The hint LATENCY gives all cores to one batch, the fastest way to run batch after batch.

    Args:
        network: the `.xml` file, another file that OpenVINO reads, or an `openvino.Model`.
        dtype: in which to compute, "float32" or "bfloat16". (Left alone, OpenVINO takes bfloat16
            wherever the CPU has it.)
        threads: None: as many as there are cores.
        batch_size: images that are computed together at most. Such a batch is a form of its own of
            the network, which is faster than one for any number; fewer images are padded to it,
            or, where that would more than double the work, computed singly. None: as the file has
            it, and always so where any of its axes but that of the batch is free, or none.
        hint: of OpenVINO's performance: "LATENCY" or "THROUGHPUT".
        metadata: of the export.

    Attributes:
        compiled: what OpenVINO made of the network, for what this class does not offer.

    Raises:
        InputError: if the file cannot be loaded or does not take one batch of images, or OpenVINO
            does not compute in the dtype on this CPU.
        MissingExtra: if openvino is not installed.
    """

    name = "openvino"

    def __init__(
        self,
        network: Any,
        *,
        dtype: str = "float32",
        threads: int | None = None,
        batch_size: int | None = None,
        hint: str = "LATENCY",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        openvino = import_extra("openvino", "openvino")
        settings = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            model = core.read_model(str(network)) if isinstance(network, Path) else network
            if len(model.inputs) != 1:
                raise InputError(f"{network} has {len(model.inputs)} inputs; expected one.")
            shape = _shape(model.input().partial_shape)
            self._batch_size = None
            if batch_size is not None and shape[0] is None and None not in shape[1:]:
                self._batch_size = batch_size
                model.reshape([batch_size, *shape[1:]])
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise InputError(f"{network} cannot be run by OpenVINO: {error}") from error
        _check_precision(compiled, dtype)
        element = compiled.input().get_element_type().get_type_name()
        if element not in _DTYPES:
            raise InputError(f"{network} takes {element} values; expected images.")
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._single: Any = None
        self._compile_single = functools.partial(
            _compiled_with, core, model, [1, *shape[1:]], settings
        )
        self._small_batches = 0
        self._names = [
            output.any_name if output.names else f"output_{number}"
            for number, output in enumerate(compiled.outputs)
        ]
        super().__init__(shape, _DTYPES[element], dtype=dtype, metadata=metadata)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if self._batch_size is None:
            return self._infer(self._request, images)
        starts = range(0, len(images), self._batch_size)
        parts = [self._part(images[start : start + self._batch_size]) for start in starts]
        return _joined(parts)

    def _part(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute a batch that may be smaller than those that the network was compiled for."""
        count, missing = len(images), self._batch_size - len(images)
        if missing > count:
            self._small_batches += 1
            if self._small_batches > 1:  # one may be the last of many; compiling takes seconds
                self._single = self._single or self._compile_single().create_infer_request()
                return _joined([self._infer(self._single, image[None]) for image in images])
        if missing:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
        return {name: y[:count] for name, y in self._infer(self._request, images).items()}

    def _infer(self, request: Any, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = request.infer([images], share_inputs=True)
        return {name: outputs[number] for number, name in enumerate(self._names)}

    def _close(self) -> None:
        del self._request, self._single, self._compile_single, self.compiled


def _shape(partial: Any) -> tuple[int | None, ...]:
    return tuple(None if side.is_dynamic else side.get_length() for side in partial)


def _compiled_with(core: Any, model: Any, shape: list[int], settings: dict[str, str]) -> Any:
    """Compile a network for images of another shape."""
    model.reshape(shape)
    return core.compile_model(model, "CPU", settings)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_precision(compiled: Any, dtype: str) -> None:
    """Refuse what OpenVINO computes in another dtype than asked for, of which it says nothing."""
    given = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if given != _PRECISIONS[dtype]:
        raise InputError(
            f"OpenVINO was asked to compute in {dtype}, but computes in "
            f"{_DTYPES.get(given, given)} on this CPU, which lacks instructions for it. Use "
            'dtype="float32", or "auto".'
        )


def from_keras(model: keras.Model, *, dtype: str, batch_size: int | None = None) -> OpenVinoRuntime:
    """Convert a Keras network and compile it.

    By way of a SavedModel, which OpenVINO reads itself: `openvino.convert_model` takes networks
    too, but is slower and sends usage data.

    Args:
        model: with one input; folded already if it shall be fast.
        dtype: in which to compute, "float32" or "bfloat16".
        batch_size: as for `OpenVinoRuntime`.

    Returns:
        The runtime.

    Raises:
        InputError: if Keras runs on another backend than TensorFlow, or OpenVINO does not compute
            in the dtype on this CPU.
        MissingExtra: if openvino is not installed.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "OpenVINO takes networks from Keras on TensorFlow, but the backend is "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow before Python starts, or "
            "save the model and export it there."
        )
    import tensorflow as tf

    import_extra("openvino", "openvino")  # before the work, if it is missing
    spec = tf.TensorSpec(model.input_shape, tf.float32, name="images")
    holder = tf.Module()
    holder.held = [variable.value for variable in model.variables]

    def predictions(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(images, training=False)
        return outputs if isinstance(outputs, dict) else {"predictions": outputs}

    function = tf.function(predictions, input_signature=[spec])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        save(holder, folder, {SIGNATURE: function})
        return OpenVinoRuntime(Path(folder), dtype=dtype, batch_size=batch_size)
