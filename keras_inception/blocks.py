"""The words in which the networks are written: convolutions, pools, and how branches join.

A *step* is one box of a figure. It is a function of a tensor and of a naming function, so that a
network is a literal list of boxes and every layer name is generated here, never typed:

=========================  ==================================================================
box or block               layers
=========================  ==================================================================
convolution of the trunk   `conv2d_1a_conv`, `conv2d_1a_bn`, `conv2d_1a` (the activation)
pool of the trunk          `max_pool_3a`
module                     `mixed_5b` (the concatenation); inside it, per branch,
                           `mixed_5b_branch1_conv2`, `..._conv2_bn`, `..._conv2_relu`, `..._pool1`
residual block             `block35_4` (the scaled sum); inside it `block35_4_branch0_conv1`, ...,
                           `block35_4_concat`, `block35_4_up`
=========================  ==================================================================

The layer whose output is a block's output bears the block's bare name. What differs between the
printed network and its releases, or is chosen by the caller, is a `Style`, in force inside `draw`.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from keras_inception.layers import (
    BatchNormalization,
    Conv2D,
    LocalResponseNormalization,
    ScaledResidual,
)

Tensor = keras.KerasTensor
Names = Callable[[str], Callable[[str], str]]
Step = Callable[[Tensor, Names], Tensor | list[Tensor]]

BLOCK_NAME = re.compile(
    r"(conv2d|max_pool|norm)_\d[a-z]|(mixed|inception)_\d[a-z]|block\d+_\d+"
    r"|bottleneck|embedding|(aux\d?_)?(avg_pool|max_pool|logits|predictions)"
)
"""What a block is called; every other layer lies inside one or changes no feature (dropout)."""


@dataclass(frozen=True)
class Style:
    """How every box of a network is built.

    Attributes:
        width: factor on every filter count; a count is rounded to a multiple of 8, at least 8.
        batch_norm: batch normalisation between each convolution and its activation.
        bias: convolutions have a bias although batch normalisation follows (Caffe's releases).
        epsilon: added to the variance in every batch normalisation.
        momentum: of the moving statistics in every batch normalisation.
        kernel_regularizer: for every convolution and dense kernel; anything that Keras accepts.
        symmetric: strided boxes pad equally on all sides and strided pools round up, as Caffe and
            PyTorch do; otherwise the padding is TensorFlow's "same".
        count_padding: average pools count the zeros of the padding, as torchvision's v3 does.
    """

    width: float = 1.0
    batch_norm: bool = True
    bias: bool = False
    epsilon: float = 1e-3
    momentum: float = 0.99
    kernel_regularizer: Any = None
    symmetric: bool = False
    count_padding: bool = False

    @property
    def kernel_initializer(self) -> str:
        """How convolutions start.

        Without batch normalisation Keras's default would halve the variance in every layer, and
        nothing of the image would arrive at the end (He et al. 2015, arXiv:1502.01852, section
        2.2). The paper does not say how it starts.
        """
        return "glorot_uniform" if self.batch_norm else "he_normal"

    def scaled(self, filters: int) -> int:
        """Return a filter count at this width."""
        return filters if self.width == 1.0 else max(8, 8 * round(filters * self.width / 8))


@dataclass
class Drawing:
    """A network being built: its style and the blocks that stand already, by name."""

    style: Style = field(default_factory=Style)
    blocks: dict[str, Tensor] = field(default_factory=dict)


class ShrunkToNothing(Exception):
    """A valid-padded box met a grid smaller than its kernel.

    Attributes:
        layer: the name of the layer that has nothing left to slide over.
    """

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.layer = layer


_drawing: ContextVar[Drawing] = ContextVar("drawing")


@contextlib.contextmanager
def draw(style: Style) -> Iterator[Drawing]:
    """Build every box inside the `with` block in this style; gives the `Drawing`."""
    drawing = Drawing(style)
    token = _drawing.set(drawing)
    try:
        yield drawing
    finally:
        _drawing.reset(token)


def style() -> Style:
    """Return the style in force."""
    return _drawing.get().style


def channel_axis() -> int:
    """Return the axis of the channels in a batch of images, by Keras's image data format."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def conv(
    filters: int,
    kernel: int | tuple[int, int],
    strides: int = 1,
    *,
    padding: str = "same",
) -> Step:
    """A convolution box of the figures: convolution, batch normalisation, ReLU; same padding.

    Args:
        filters: as printed; the style's width is applied here.
        kernel: height and width, or one number for both.
        strides: in both directions.
        padding: "same" or "valid".

    Returns:
        The step.
    """

    def step(x: Tensor, names: Names) -> Tensor:
        name, how = names("conv"), style()
        x, mode = _padded(x, kernel, strides, padding, name)
        x = Conv2D(
            how.scaled(filters),
            kernel,
            strides,
            mode,
            use_bias=how.bias or not how.batch_norm,
            kernel_initializer=how.kernel_initializer,
            kernel_regularizer=how.kernel_regularizer,
            name=name("conv"),
        )(x)
        if how.batch_norm:
            x = batch_norm(name("bn"))(x)
        return layers.ReLU(name=name("relu"))(x)

    return step


def conv_v(filters: int, kernel: int | tuple[int, int], strides: int = 1) -> Step:
    """A convolution box marked V in the figures: valid padding."""
    return conv(filters, kernel, strides, padding="valid")


def separable_conv(filters: int, kernel: int, strides: int, multiplier: int) -> Step:
    """A depthwise convolution of `multiplier` filters per channel, a biased 1x1 one, and a ReLU."""

    def step(x: Tensor, names: Names) -> Tensor:
        name, how = names("conv"), style()
        x = layers.SeparableConv2D(
            how.scaled(filters),
            kernel,
            strides,
            "same",
            depth_multiplier=multiplier,
            depthwise_regularizer=how.kernel_regularizer,
            pointwise_regularizer=how.kernel_regularizer,
            name=name("conv"),
        )(x)
        return layers.ReLU(name=name("relu"))(x)

    return step


def max_pool(size: int, strides: int = 1, *, padding: str = "same") -> Step:
    """A max-pooling box; same padding."""
    return _pool(layers.MaxPooling2D, size, strides, padding)


def max_pool_v(size: int, strides: int) -> Step:
    """A max-pooling box marked V: valid padding."""
    return max_pool(size, strides, padding="valid")


def avg_pool(size: int) -> Step:
    """An average-pooling box, stride 1, same padding; the style says whether padding counts."""

    def step(x: Tensor, names: Names) -> Tensor:
        if not style().count_padding:
            return _pool(layers.AveragePooling2D, size, 1, "same")(x, names)
        name = names("pool")
        x = layers.ZeroPadding2D(size // 2, name=name("pad"))(x)
        return layers.AveragePooling2D(size, 1, "valid", name=name("pool"))(x)

    return step


def avg_pool_v(size: int, strides: int) -> Step:
    """An average-pooling box marked V: valid padding."""
    return _pool(layers.AveragePooling2D, size, strides, "valid")


def local_response_norm() -> Step:
    """A local response normalisation box, with the constants of GoogLeNet."""

    def step(x: Tensor, names: Names) -> Tensor:
        return LocalResponseNormalization(axis=channel_axis(), name=names("norm")("norm"))(x)

    return step


def batch_norm(name: str) -> BatchNormalization:
    """Return a batch normalisation of the style in force, over the channels."""
    how = style()
    return BatchNormalization(channel_axis(), how.momentum, how.epsilon, name=name)


def chain(x: Tensor, **boxes: Step) -> Tensor:
    """Apply boxes of the trunk one after the other; each is a block of the given name."""
    for name, step in boxes.items():
        x = _keep(name, step(x, _trunk_names(name)))
    return x


def parallel(x: Tensor, name: str, *branches: Sequence[Step]) -> Tensor:
    """Apply each branch, a list of steps, to `x` and concatenate on channels: the block `name`."""
    return _keep(name, _concatenate(_run_branches(x, name, branches), name))


def fork(*arms: Sequence[Step]) -> Step:
    """The end of a branch that splits: each arm's output goes into the block's concatenation."""

    def step(x: Tensor, names: Names) -> list[Tensor]:
        return [output for arm in arms for output in _run(x, arm, names)]

    return step


def residual(
    x: Tensor, name: str, scale: float, *branches: Sequence[Step], activation: str | None = "relu"
) -> Tensor:
    """Add what the branches make of `x` to `x`: the residual block `name`.

    Papers: activation(x + scale * linear(concatenation of the branches)), where linear is a biased
    1x1 convolution that brings the depth back to that of `x` (Szegedy et al. 2016, section 3.3).
    """
    depth = x.shape[channel_axis()]
    joined = _concatenate(_run_branches(x, name, branches), f"{name}_concat")
    change = Conv2D(depth, 1, kernel_regularizer=style().kernel_regularizer, name=f"{name}_up")(
        joined
    )
    return _keep(name, ScaledResidual(scale, activation, name=name)([x, change]))


def _keep(name: str, x: Tensor) -> Tensor:
    _drawing.get().blocks[name] = x
    return x


def _run(x: Tensor, steps: Sequence[Step], names: Names) -> list[Tensor]:
    outputs: Tensor | list[Tensor] = x
    for step in steps:
        outputs = step(outputs, names)
    return outputs if isinstance(outputs, list) else [outputs]


def _run_branches(x: Tensor, name: str, branches: Sequence[Sequence[Step]]) -> list[Tensor]:
    return [
        output
        for i, steps in enumerate(branches)
        for output in _run(x, steps, _branch_names(f"{name}_branch{i}"))
    ]


def _concatenate(tensors: list[Tensor], name: str) -> Tensor:
    return layers.Concatenate(channel_axis(), name=name)(tensors)


def _trunk_names(block: str) -> Names:
    """Name the layers of a trunk box: the last one bears the block's bare name."""

    def name(part: str) -> str:
        return f"{block}_{part}" if part in ("conv", "bn", "pad") else block

    return lambda kind: name


def _branch_names(branch: str) -> Names:
    """Name the layers of a branch: counted per kind, the layer of that kind bears the number."""
    counts: Counter[str] = Counter()

    def number(kind: str) -> Callable[[str], str]:
        counts[kind] += 1
        box = f"{branch}_{kind}{counts[kind]}"
        return lambda part: box if part == kind else f"{box}_{part}"

    return number


def _pool(layer: type[layers.Layer], size: int, strides: int, padding: str) -> Step:
    def step(x: Tensor, names: Names) -> Tensor:
        name, mode = names("pool"), padding
        if padding == "same" and strides > 1 and style().symmetric:
            # Rounding up is one more row and column at the far end; a zero there never wins, since
            # what is pooled has been through a ReLU.
            margin = (0, strides - 1)
            x, mode = layers.ZeroPadding2D((margin, margin), name=name("pad"))(x), "valid"
        _check_grid(x, size, mode, name("pool"))
        return layer(size, strides, mode, name=name("pool"))(x)

    return step


def _padded(
    x: Tensor, kernel: int | tuple[int, int], strides: int, padding: str, name: Callable[[str], str]
) -> tuple[Tensor, str]:
    """Return `x`, padded by a layer of its own where the style wants so, and the mode to use."""
    if padding == "same" and strides > 1 and style().symmetric:
        x, padding = layers.ZeroPadding2D(_pair(kernel)[0] // 2, name=name("pad"))(x), "valid"
    _check_grid(x, kernel, padding, name("conv"))
    return x, padding


def _check_grid(x: Tensor, kernel: int | tuple[int, int], padding: str, layer: str) -> None:
    grid = x.shape[1:3] if channel_axis() == -1 else x.shape[2:4]
    sizes = zip(grid, _pair(kernel), strict=True)
    if padding == "valid" and any(size is not None and size < needed for size, needed in sizes):
        raise ShrunkToNothing(layer)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
