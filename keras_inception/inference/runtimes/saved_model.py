"""TensorFlow: SavedModel folders."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.errors import InputError
from keras_inception.inference.runtimes.base import Runtime

SIGNATURE = "serving_default"


def save(holder: Any, path: str | os.PathLike, signatures: dict[str, Any]) -> None:
    """Write a SavedModel without TensorFlow's line about it, which names a temporary folder.

    Args:
        holder: `tf.Module` that owns the variables.
        path: of the folder.
        signatures: a `tf.function` by the name of each signature.
    """
    import tensorflow as tf

    log = tf.get_logger()
    level = log.level
    log.setLevel("WARNING")
    try:
        tf.saved_model.save(holder, os.fspath(path), signatures)
    finally:
        log.setLevel(level)


class SavedModelRuntime(Runtime):
    """A SavedModel, by its signature `serving_default`.

    Args:
        path: the folder.
        threads: of one operation and of several at once; TensorFlow takes them before its first
            use in the process only.
        metadata: of the export.

    Raises:
        InputError: if the folder cannot be loaded, lacks the signature or an image input, or if
            TensorFlow runs with another number of threads already.
    """

    name = "tensorflow"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        import tensorflow as tf

        if threads is not None:
            _use_threads(threads)
        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(f"{path} is no SavedModel that can be loaded: {error}") from error
        signatures = self._model.signatures
        if SIGNATURE not in signatures:
            raise InputError(
                f"{path} has no signature {SIGNATURE!r}, but {sorted(signatures) or 'none'}."
            )
        self._function = signatures[SIGNATURE]
        inputs = self._function.structured_input_signature[1]
        if len(inputs) != 1:
            raise InputError(f"{path} takes {sorted(inputs)}; expected one input, of images.")
        ((self._input, spec),) = inputs.items()
        super().__init__(tuple(spec.shape), spec.dtype.name, metadata=metadata)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        import tensorflow as tf

        outputs = self._function(**{self._input: tf.constant(images)})
        return {name: output.numpy() for name, output in outputs.items()}

    def _close(self) -> None:
        del self._model, self._function


def _use_threads(threads: int) -> None:
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise InputError(
            f"threads={threads} must be said before TensorFlow is used in this process; it runs "
            "already."
        ) from error
