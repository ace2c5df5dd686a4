"""A model as one TensorFlow function, the way that this runtime computes it fastest."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError


def compiled(
    model: keras.Model, *, batch_size: int | None = None, freeze: bool = True
) -> Callable[[Any], np.ndarray | dict[str, np.ndarray]]:
    """Return a function that computes what the model gives in inference.

    Args:
        model: best a folded one (`fold_batch_norm`); of one input.
        batch_size: images of every call; None for any number, which compiles once all the same.
        freeze: whether the weights become constants of the function, which TensorFlow then lays out
            for the CPU once instead of at every call. Later changes of the model's weights do not
            reach such a function; give False where they shall (`refresh_folded`).

    Returns:
        Function of images, float32 (batch, ...) in the model's input range, NumPy or TensorFlow;
        gives the outputs as float32 NumPy arrays, structured as the model's.

    Raises:
        InputError: if the backend is not TensorFlow, or the model has several inputs.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"This needs Keras on TensorFlow, but the backend is {keras.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow before Python starts."
        )
    if len(model.inputs) != 1:
        raise InputError(
            f"{model.name!r} has {len(model.inputs)} inputs; expected a model of one, the images."
        )
    import tensorflow as tf

    shape = (batch_size, *model.inputs[0].shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, "float32")], autograph=False)
    def forward(images: tf.Tensor) -> Any:
        outputs = model(images, training=False)
        return keras.tree.map_structure(lambda tensor: tf.cast(tensor, "float32"), outputs)

    if freeze:
        forward = _frozen(forward)

    def run(images: Any) -> Any:
        return keras.tree.map_structure(lambda tensor: tensor.numpy(), forward(images))

    return run


def _frozen(function: Any) -> Callable:
    """Return the function with the variables' present values as constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = function.get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete)
    structure = concrete.structured_outputs

    def run(images: Any) -> Any:
        outputs = frozen(tf.convert_to_tensor(images, "float32"))
        return keras.tree.pack_sequence_as(structure, outputs)

    return run
