"""What folding does to a graph: which layers become part of which, and which change places."""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_inception.inference.graph import Graph
from keras_inception.layers import BatchNormalization, Conv2D, ScaledResidual

_LINEAR = (
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
# Layers of this package that compute what one of Keras's does, with the same configuration.
_STOCK = {BatchNormalization: keras.layers.BatchNormalization, Conv2D: keras.layers.Conv2D}


@dataclass
class Fused:
    """A linear layer and what follows it and becomes part of it.

    Attributes:
        layer: the convolution or dense layer.
        norms: batch normalisations, in order.
        relu: the ReLU at the end.
        factor: on the output, where a residual is scaled.
        pool: an average pool that moves from before the layer to between it and the ReLU.
    """

    layer: keras.Layer
    norms: list[keras.layers.BatchNormalization] = field(default_factory=list)
    relu: keras.Layer | None = None
    factor: float = 1.0
    pool: keras.Layer | None = None

    @property
    def name(self) -> str:
        """The name of the last layer that is part of the fused one, whose output it gives."""
        if self.pool is not None:
            return self.layer.name
        return [self.layer, *self.norms, *filter(None, [self.relu])][-1].name

    def weights(self) -> list[np.ndarray]:
        """Return the kernels and the bias, computed in float64."""
        layer = self.layer
        if isinstance(layer, keras.layers.SeparableConv2D):
            *before, kernel = _double(layer.depthwise_kernel), _double(layer.pointwise_kernel)
        else:
            *before, kernel = (_double(layer.kernel),)
        channels = _channels(layer)
        scale = np.ones(channels)
        bias = _double(layer.bias) if layer.use_bias else np.zeros(channels)
        for norm in self.norms:
            slope, shift = _affine(norm)
            scale, bias = scale * slope, bias * slope + shift
        scale, bias = scale * self.factor, bias * self.factor
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            scale = scale.reshape(kernel.shape[2:])
        return [*before, kernel * scale, bias]


class Plan:
    """Which calls of a graph become part of a linear layer before them.

    Args:
        graph: of the model.
        move_pools: whether average pools move behind 1x1 convolutions.

    Attributes:
        fused: linear layers that take something in, by the id of the layer.
        absorbed: ids of the calls that vanish: their output is their input.
    """

    def __init__(self, graph: Graph, move_pools: bool = True) -> None:
        self._move_pools = move_pools
        self.fused: dict[int, Fused] = {}
        self.absorbed: set[int] = set()
        self._scaled: set[int] = set()
        for call in graph.calls:
            if _is_linear(call.operation) and not graph.is_shared(call.operation):
                self._follow(graph, call)

    def left_scale(self, residual: ScaledResidual) -> float:
        """Return the factor that is still to be applied where a residual is added."""
        return 1.0 if id(residual) in self._scaled else residual.scale

    def _follow(self, graph: Graph, call: Any) -> None:
        """Take into a linear layer what uses its output, as long as that is exact."""
        layer, tensor = call.operation, call.outputs[0]
        fused = Fused(layer, pool=self._pool_to_move(graph, call))
        while fused.relu is None and (user := graph.only_user(tensor)) is not None:
            operation = user.operation
            if _is_norm_of(operation, layer, tensor):
                fused.norms.append(operation)
            elif _is_relu(operation):
                fused.relu = operation
            else:
                if type(operation) is ScaledResidual and tensor is graph.source(
                    user.input_tensors[1]
                ):
                    fused.factor = operation.scale
                    self._scaled.add(id(operation))
                break
            self.absorbed.add(id(user))
            tensor = user.outputs[0]
        if fused != Fused(layer):
            self.fused[id(layer)] = fused

    def _pool_to_move(self, graph: Graph, call: Any) -> keras.Layer | None:
        """Return the average pool before a 1x1 convolution if it can as well come after it.

        Averages of linear functions are linear functions of averages, and Keras's averages leave
        out the padding; the pool then works on the channels that the convolution gives, fewer.
        Behind zeros that a layer of its own adds, the convolution would be computed for those too,
        and OpenVINO, which takes that layer into it, then computes it four times as slowly.
        """
        layer, before = call.operation, graph.producer(call.input_tensors[0])
        if (
            not self._move_pools
            or before is None
            or graph.is_shared(before.operation)
            or graph.only_user(before.outputs[0]) is not call
            or type(before.operation) is not keras.layers.AveragePooling2D
            or set(before.operation.strides) != {1}
            or _pads(graph.producer(before.input_tensors[0]))
            or stock_type(layer) is not keras.layers.Conv2D
            or {*layer.kernel_size, *layer.strides} != {1}
            or layer.filters >= layer.kernel.shape[2]
        ):
            return None
        self.absorbed.add(id(before))
        return before.operation


def stock_type(operation: Any) -> type:
    """Return the class of an operation, for layers of this package Keras's where it has one."""
    return _STOCK.get(type(operation), type(operation))


def _is_linear(layer: Any) -> bool:
    return (
        stock_type(layer) in _LINEAR
        and layer.activation is keras.activations.linear
        and layer.quantization_mode is None
        and not getattr(layer, "lora_enabled", False)
    )


def _pads(call: Any) -> bool:
    return call is not None and type(call.operation) is keras.layers.ZeroPadding2D


def _is_norm_of(norm: Any, layer: keras.Layer, tensor: keras.KerasTensor) -> bool:
    """Say whether `norm` is a batch normalisation over the channels of a linear layer's output."""
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    rank = len(tensor.shape)
    channels = 1 if channels_first else rank - 1
    return stock_type(norm) is keras.layers.BatchNormalization and norm.axis % rank == channels


def _is_relu(layer: Any) -> bool:
    if type(layer) is keras.layers.ReLU:
        return layer.max_value is None and layer.negative_slope == 0 and layer.threshold == 0
    return type(layer) is keras.layers.Activation and layer.activation is keras.activations.relu


def _channels(layer: keras.Layer) -> int:
    if isinstance(layer, keras.layers.Dense):
        return layer.units
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return layer.kernel.shape[2] * layer.depth_multiplier
    return layer.filters


def _affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope and the shift that a batch normalisation is in inference."""
    slope = 1.0 / np.sqrt(_double(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        slope = slope * _double(norm.gamma)
    shift = -_double(norm.moving_mean) * slope
    return slope, shift + _double(norm.beta) if norm.center else shift


def _double(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")
