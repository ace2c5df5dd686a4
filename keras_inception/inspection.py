"""Looking into a model: its named blocks, feature extractors, parameters and multiply-adds."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import keras

from keras_inception.blocks import BLOCK_NAME
from keras_inception.errors import InputError, unknown

Shape = tuple[int | None, ...]

_AUXILIARY = re.compile(r"aux\d?_")


@dataclass(frozen=True)
class Block:
    """One named block of a network.

    Attributes:
        name: of the block, and of the layer whose output is the block's.
        shape: of its output, without the batch.
        parameters: trainable ones inside it.
        multiply_adds: of one image; None where the grid is not known.
    """

    name: str
    shape: Shape
    parameters: int
    multiply_adds: int | None


def endpoints(model: keras.Model) -> dict[str, Shape]:
    """List the named block outputs of a network of this package, from the input up.

    Args:
        model: built, loaded or fine-tuned; layers of other origin are left out.

    Returns:
        Block name to output shape, without the batch.

    Example:
        >>> import keras_inception as ki
        >>> ki.endpoints(ki.InceptionV4(weights=None, width=0.1))["mixed_5e"]
        (35, 35, 40)
    """
    return {
        layer.name: tuple(layer.output.shape[1:])
        for layer in model.layers
        if BLOCK_NAME.fullmatch(layer.name)
    }


def feature_extractor(model: keras.Model, endpoints: Iterable[str]) -> keras.Model:
    """Return a model with the same input and the named block outputs; the layers are shared.

    Args:
        model: a network of this package.
        endpoints: names as `endpoints(model)` lists them, at least one.

    Returns:
        A model whose output is a dict of name to features.

    Raises:
        InputError: if a name is unknown, listing the known ones, or if none is given.
    """
    names = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    known = _block_outputs(model)
    if not names:
        raise InputError(f"No endpoint was named; choose from: {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise unknown("endpoint", name, known)
    outputs = {name: known[name] for name in names}
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def blocks(model: keras.Model) -> list[Block]:
    """List what each named block holds and costs, from the input up.

    A layer belongs to the first named block whose output depends on it: those of an auxiliary head
    to that head's.

    Args:
        model: a network of this package.

    Returns:
        The blocks in order; their parameters add up to the trainable ones of the model.
    """
    found, waiting = [], defaultdict(list)
    for layer in model.layers:
        head = _AUXILIARY.match(layer.name)
        inside = waiting[head and head[0]]
        inside.append(layer)
        if BLOCK_NAME.fullmatch(layer.name):
            weights = [weight for each in inside for weight in each.trainable_weights]
            costs = [_layer_multiply_adds(each) for each in inside]
            found.append(
                Block(
                    layer.name,
                    tuple(layer.output.shape[1:]),
                    sum(math.prod(weight.shape) for weight in weights),
                    None if None in costs else sum(costs),
                )
            )
            inside.clear()
    return found


def multiply_adds(model: keras.Model) -> int:
    """Count the multiply-adds of one image: those of the convolutions and dense layers.

    Args:
        model: a Functional model of a fixed input size.

    Returns:
        The number of multiply-adds; biases, normalisations and pools are not counted, as usual.

    Raises:
        InputError: if the model's input size is not fixed.
    """
    costs = [_layer_multiply_adds(layer) for layer in model.layers]
    if None in costs:
        raise InputError(
            f"The cost of {model.name} depends on its input size, which is {model.input_shape}; "
            "build it with an input_shape of numbers."
        )
    return sum(costs)


def parameters(model: keras.Model) -> int:
    """Count the trainable parameters of a model."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _block_outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    return {layer.name: layer.output for layer in model.layers if BLOCK_NAME.fullmatch(layer.name)}


def _layer_multiply_adds(layer: keras.Layer) -> int | None:
    """Multiply-adds of one image in one layer; None if the grid is unknown."""
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    elif isinstance(layer, keras.layers.Conv2D):
        kernels = (layer.kernel,)
    else:
        return 0
    channels_last = layer.data_format == "channels_last"
    grid = layer.output.shape[1:3] if channels_last else layer.output.shape[2:4]
    if None in grid:
        return None
    return math.prod(grid) * sum(math.prod(kernel.shape) for kernel in kernels)
