"""Keeping the lower part of a network as it is while the rest is trained."""

import warnings

import keras

from keras_inception.blocks import BLOCK_NAME
from keras_inception.errors import unknown
from keras_inception.weights.mapping.units import place_of


def freeze(model: keras.Model, until: str) -> keras.Model:
    """Freeze a network up to an endpoint, and let it be trained above; compile it afterwards.

    Frozen are all layers that the endpoint depends on, itself included. In Keras a batch
    normalisation that is frozen works as at inference, in `fit` too: it normalises by its moving
    statistics and leaves them as they are, bit for bit. Without that they would drift towards the
    new images, and the network would give other features in prediction than in training.

    Called again with a lower endpoint, it thaws the layers between: first train a new head on a
    frozen trunk, then the top blocks as well.

    Args:
        model: a network of this package. Layers of other origin, such as a new head, may stand on
            it and are not touched.
        until: a block, as `endpoints(model)` lists them, for example "mixed_6e".

    Returns:
        The same model. If it was compiled before, a warning says that this must be done again,
        since a training step that was made before goes on as before.

    Raises:
        InputError: if there is no such endpoint; near names are suggested.

    Example:
        >>> model = freeze(ki.InceptionV3(weights=None, classes=5), until="mixed_6e")
        >>> model.get_layer("conv2d_1a_conv").trainable, model.get_layer("logits").trainable
        (False, True)
    """
    blocks = {layer.name: layer for layer in model.layers if BLOCK_NAME.fullmatch(layer.name)}
    if until not in blocks:
        raise unknown("endpoint", until, blocks)
    if not model.trainable:
        model.trainable = True
    below = {layer.name for layer in keras.Model(model.inputs, blocks[until].output).layers}
    for layer in model.layers:
        if layer.name in below:
            layer.trainable = False
        elif place_of(layer.name, "").family != "foreign":
            layer.trainable = True
    if model.compiled:
        warnings.warn(
            f"{model.name} was compiled before it was frozen: call compile() again, or fit goes on "
            "training as before.",
            stacklevel=2,
        )
    return model
