"""Reads a built model back into the boxes and branches of the papers' figures."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby

import keras
from keras import layers

from keras_inception.blocks import BLOCK_NAME, channel_axis
from keras_inception.errors import InputError
from keras_inception.layers import LocalResponseNormalization, ScaledResidual

_ABSORBED = (layers.BatchNormalization, layers.ReLU)
"""What follows a convolution and belongs to its box."""

_NOT_DRAWN = (layers.ZeroPadding2D, layers.Flatten)

Path = list[keras.Layer]


@dataclass(frozen=True)
class Box:
    """One box of a figure.

    Attributes:
        kind: "conv", "pool", "norm" or "head".
        lines: what is written in it: one line or two.
        valid: valid padding, the figures' V.
        layer: name of its layer; two boxes that differ in nothing else are equal.
    """

    kind: str
    lines: tuple[str, ...]
    valid: bool = False
    layer: str = field(default="", compare=False)


@dataclass(frozen=True)
class Branch:
    """Boxes in order, and what the last one splits into, if it does."""

    boxes: tuple[Box, ...]
    arms: tuple["Branch", ...] = ()


@dataclass(frozen=True)
class Block:
    """One named block.

    Attributes:
        branches: one for a box of the trunk or a head.
        depth: of the concatenation of the branches; None if there is none.
        shape: of the output, channels last.
        linear: of a residual block, the box that brings the depth back.
        scale: of a residual block, the factor on the residual.
        activation: of a residual block, what follows the sum; "" for nothing.
        name: of the block; blocks that differ in nothing else are equal.
    """

    branches: tuple[Branch, ...]
    depth: int | None
    shape: tuple[int | None, ...]
    linear: Box | None = None
    scale: float | None = None
    activation: str = ""
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class Diagram:
    """A network: its blocks from the input up, equal neighbours together.

    Attributes:
        input_shape: of an image, channels last.
        trunk: groups of equal blocks.
        heads: the blocks of each auxiliary head, by the block that it stands on.
        batch_norm: whether convolutions are followed by batch normalisation.
    """

    input_shape: tuple[int | None, ...]
    trunk: list[list[Block]]
    heads: dict[str, list[Block]]
    batch_norm: bool


def read(model: keras.Model) -> Diagram:
    """Read a network of this package.

    Args:
        model: built, loaded or fine-tuned.

    Returns:
        Its diagram.

    Raises:
        InputError: if the model has none of this package's blocks.
    """
    blocks = [
        (_block(layer), _source(layer))
        for layer in model.layers
        if BLOCK_NAME.fullmatch(layer.name)
    ]
    if not blocks:
        raise InputError(
            f"{model.name} has none of the blocks that this package's networks are drawn by; "
            "draw a model that was built by it."
        )
    trunk = [block for block, _ in blocks if not is_auxiliary(block.name)]
    heads: dict[str, list[Block]] = {}
    stands_on = {block.name: source for block, source in blocks}
    for block in (block for block, _ in blocks if is_auxiliary(block.name)):
        foot = stands_on[block.name]
        while is_auxiliary(foot):
            foot = stands_on[foot]
        heads.setdefault(foot, []).append(block)
    return Diagram(
        _channels_last(model.inputs[0].shape[1:]),
        _groups(trunk, heads),
        heads,
        any(layer.name.endswith("_bn") for layer in model.layers),
    )


def is_auxiliary(name: str) -> bool:
    """Tell whether a block belongs to an auxiliary head."""
    return name.startswith("aux")


def _groups(blocks: Iterable[Block], heads: Iterable[str]) -> list[list[Block]]:
    """Put equal neighbours together; a block with a head on it ends its group."""
    groups = []
    for _, equal in groupby(blocks):
        group: list[Block] = []
        for block in equal:
            group.append(block)
            if block.name in heads or block.depth is None:
                groups.append(group)
                group = []
        if group:
            groups.append(group)
    return groups


def _block(layer: keras.Layer) -> Block:
    shape = _channels_last(layer.output.shape[1:])
    if isinstance(layer, layers.Concatenate):
        return Block(_branches(layer), shape[-1], shape, name=layer.name)
    if isinstance(layer, ScaledResidual):
        up = _maker(layer.input[1])
        joined = _maker(up.input)
        return Block(
            _branches(joined),
            joined.output.shape[channel_axis()],
            shape,
            Box("conv", (_size(up.kernel_size), f"{up.filters} linear"), layer=up.name),
            layer.scale,
            _spelled(layer.activation),
            layer.name,
        )
    return Block((Branch(_boxes(_path(layer))),), None, shape, name=layer.name)


def _branches(join: keras.Layer) -> tuple[Branch, ...]:
    return _tree([_path(_maker(tensor)) for tensor in join.input])


def _tree(paths: list[Path]) -> tuple[Branch, ...]:
    """Turn paths from a block's input into branches; what paths share is drawn once."""
    branches = []
    for _, sharing in groupby(paths, key=lambda path: id(path[0]) if path else None):
        alike = list(sharing)
        shared = next(
            (i for i, step in enumerate(zip(*alike, strict=False)) if len({*map(id, step)}) > 1),
            min(map(len, alike)),
        )
        arms = _tree([path[shared:] for path in alike]) if len(alike) > 1 else ()
        branches.append(Branch(_boxes(alike[0][:shared]), arms))
    return tuple(branches)


def _path(layer: keras.Layer) -> Path:
    """Return the layers from the previous block's output, exclusive, to this one, inclusive."""
    path = [layer]
    while not _ends(before := _maker(path[-1].input)):
        path.append(before)
    return path[::-1]


def _source(layer: keras.Layer) -> str:
    """Return the name of the block, or input, that a block stands on."""
    first = True
    while first or not _ends(layer):
        first = False
        tensors = layer.input if isinstance(layer.input, list) else [layer.input]
        layer = _maker(tensors[0])
    return layer.name


def _maker(tensor: keras.KerasTensor) -> keras.Layer:
    return tensor._keras_history.operation


def _ends(layer: keras.Layer) -> bool:
    before_the_network = isinstance(layer, layers.InputLayer | keras.Model)
    return before_the_network or bool(BLOCK_NAME.fullmatch(layer.name))


def _boxes(path: Path) -> tuple[Box, ...]:
    boxes: list[Box] = []
    padded = False
    for layer in path:
        absorbed = isinstance(layer, _ABSORBED) and boxes and boxes[-1].kind == "conv"
        if not absorbed and not isinstance(layer, _NOT_DRAWN):
            boxes.append(_box(layer, padded))
        padded = isinstance(layer, layers.ZeroPadding2D)
    return tuple(boxes)


def _box(layer: keras.Layer, padded: bool) -> Box:
    """Return a layer's box; `padded` tells that a layer before it has done its padding."""
    valid = getattr(layer, "padding", "same") == "valid" and not padded
    kind, *lines = _content(layer)
    return Box(kind, tuple(lines), valid, layer.name)


def _content(layer: keras.Layer) -> tuple[str, ...]:
    """Return the kind of a layer's box and what is written in it."""
    match layer:
        case layers.SeparableConv2D():
            return "conv", _size(layer.kernel_size, layer.strides), f"{layer.filters} separable"
        case layers.Conv2D():
            return "conv", _size(layer.kernel_size, layer.strides), f"{layer.filters}"
        case layers.MaxPooling2D():
            return "pool", "max pool", _size(layer.pool_size, layer.strides)
        case layers.AveragePooling2D():
            return "pool", "avg pool", _size(layer.pool_size, layer.strides)
        case layers.GlobalAveragePooling2D():
            return "pool", "avg pool", "global"
        case layers.GlobalMaxPooling2D():
            return "pool", "max pool", "global"
        case LocalResponseNormalization():
            return "norm", "local resp.", "norm."
        case layers.BatchNormalization():
            return "norm", "batch norm."
        case layers.UnitNormalization():
            return "norm", "unit length"
        case layers.Dense():
            return "head", "dense", f"{layer.units} {_spelled(layer.activation)}".rstrip()
        case layers.Dropout():
            return "head", "dropout", f"{layer.rate:.0%}"
        case layers.Activation():
            return "head", _spelled(layer.activation)
    return "head", type(layer).__name__


def _spelled(activation: Callable) -> str:
    """Return an activation's name, nothing for the linear one."""
    return {"relu": "ReLU", "linear": ""}.get(activation.__name__, activation.__name__)


def _size(size: tuple[int, int], strides: tuple[int, int] = (1, 1)) -> str:
    return f"{size[0]}×{size[1]}" + (f" /{strides[0]}" if strides[0] > 1 else "")


def _channels_last(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return shape if channel_axis() == -1 or len(shape) != 3 else (*shape[1:], shape[0])
