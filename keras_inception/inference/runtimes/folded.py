"""TensorFlow: a Keras network of this process, folded and compiled."""

import keras
import numpy as np

from keras_inception.inference.folding import fold_batch_norm
from keras_inception.inference.runtimes.base import Runtime
from keras_inception.inference.tensorflow_function import compiled


class FoldedRuntime(Runtime):
    """A Keras network, folded, in a compiled TensorFlow function.

    Args:
        model: the network; it is left alone.
        dtype: "float32" or "bfloat16".
        batch_size: images of every call; None: any.

    Raises:
        InputError: as raised by `fold_batch_norm` and `compiled`.
    """

    name = "tensorflow"

    def __init__(self, model: keras.Model, *, dtype: str, batch_size: int | None = None) -> None:
        folded = fold_batch_norm(model, dtype)
        self._function = compiled(folded, batch_size=batch_size)
        super().__init__((batch_size, *model.input_shape[1:]), "float32", dtype=dtype)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._function(images)
        return outputs if isinstance(outputs, dict) else {"predictions": outputs}

    def _close(self) -> None:
        del self._function
