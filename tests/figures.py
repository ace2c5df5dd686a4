"""Reads the blocks of a built model back into the notation in which the figures are written down.

`32 3x3/2 V` is a convolution of 32 filters, 3x3, stride 2, valid padding (same without the V);
`>` joins the boxes of a branch, `|` the branches; `a > (b, c)` is a branch that splits.
"""

import keras
from keras import layers

from keras_inception.blocks import BLOCK_NAME


def expand(figure: str) -> list[str]:
    """Split a figure in notation into its branches, sorted, splits written out."""
    branches = []
    for branch in figure.split("|"):
        stem, _, arms = branch.partition("(")
        tails = arms.rstrip(" )").split(",") if arms else [""]
        branches += [" ".join((stem + tail).split()) for tail in tails]
    return sorted(branches)


def drawn(model: keras.Model, block: str) -> list[str]:
    """Describe every path from a block's inputs to its output, sorted."""
    join = model.get_layer(block)
    if isinstance(join, layers.ReLU | layers.MaxPooling2D):
        return [" > ".join(_path(model, join))]
    paths = [_path(model, _maker(model, tensor)) for tensor in _inputs(join)]
    return sorted(" > ".join(path) for path in paths if path)


def _path(model: keras.Model, layer: keras.Layer) -> list[str]:
    """Boxes from the previous block to `layer`, in order."""
    boxes: list[str] = []
    first = True
    while first or not (BLOCK_NAME.fullmatch(layer.name) or isinstance(layer, layers.InputLayer)):
        first = False
        boxes += _box(layer)
        inputs = _inputs(layer)
        layer = _maker(model, inputs[0])
    return boxes[::-1]


def _inputs(layer: keras.Layer) -> list:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _maker(model: keras.Model, tensor) -> keras.Layer:
    return next(layer for layer in model.layers if layer.output is tensor)


def _box(layer: keras.Layer) -> list[str]:
    if isinstance(layer, layers.Conv2D):
        what, size = f"{layer.filters} ", layer.kernel_size
    elif isinstance(layer, layers.MaxPooling2D):
        what, size = "maxpool ", layer.pool_size
    elif isinstance(layer, layers.AveragePooling2D):
        what, size = "avgpool ", layer.pool_size
    else:
        return []
    stride = f"/{layer.strides[0]}" if layer.strides[0] > 1 else ""
    valid = " V" if layer.padding == "valid" else ""
    return [f"{what}{size[0]}x{size[1]}{stride}{valid}"]
