"""Layers of a folded model: copies without what only training needs, and stock equivalents."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inception.errors import InputError
from keras_inception.inference.plan import Fused, stock_type
from keras_inception.layers import LocalResponseNormalization, ScaledResidual, inverse_power


def copy(operation: keras.Operation, dtype: str | None, **changes: Any) -> keras.Operation:
    """Return a new operation like the given one, for inference: no regularisers, weights zero.

    Args:
        operation: a layer or another Keras operation.
        dtype: of a layer's weights and computation; quantised layers keep theirs.
        **changes: to its configuration.

    Returns:
        The copy; a layer of this package becomes Keras's where it has one.
    """
    if type(operation) is layers.Lambda:
        return _lambda(operation, dtype)
    if isinstance(operation, keras.Model) or not isinstance(operation, keras.Layer):
        return type(operation).from_config(operation.get_config())
    try:
        config = operation.get_config() | changes
    except NotImplementedError as error:
        raise InputError(
            f"{operation.name!r} is a {type(operation).__name__}, which does not say how it is "
            "made, so that it cannot be copied. Give its class a get_config, as keras.Layer "
            "describes it."
        ) from error
    for key in config:
        if key.endswith(("_regularizer", "_constraint")):
            config[key] = None
        elif key.endswith("_initializer"):
            config[key] = "zeros"
    if operation.quantization_mode is None:
        config["dtype"] = dtype
    return stock_type(operation).from_config(config)


def _lambda(layer: layers.Lambda, dtype: str | None) -> layers.Lambda:
    """Return the same function in a layer of its own; its configuration would hold bytecode."""
    return layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=dtype,
    )


def fused(part: Fused, dtype: str) -> Callable:
    """Return what computes a linear layer with what is folded into it."""
    relu = None if part.relu is None else "relu"
    if part.pool is None:
        return copy(part.layer, dtype, name=part.name, use_bias=True, activation=relu)
    steps = [copy(part.layer, dtype, use_bias=True), copy(part.pool, dtype)]
    if relu:
        steps.append(layers.Activation(relu, name=part.relu.name, dtype=dtype))

    def call(x: keras.KerasTensor) -> keras.KerasTensor:
        for step in steps:
            x = step(x)
        return x

    return call


def residual(layer: ScaledResidual, scale: float, dtype: str) -> Callable:
    """Return what adds like a `ScaledResidual` with the scale `scale`, of stock layers."""
    names = iter((layer.name, f"{layer.name}_add"))
    activated = layer.activation is not keras.activations.linear
    activate = (
        layers.Activation(layer.activation, name=next(names), dtype=dtype) if activated else None
    )
    add = layers.Add(name=next(names), dtype=dtype)
    rescale = layers.Rescaling(scale, name=f"{layer.name}_scale", dtype=dtype)

    def call(inputs: Any) -> keras.KerasTensor:
        x, change = inputs
        total = add([x, change if scale == 1.0 else rescale(change)])
        return activate(total) if activated else total

    return call


def has_window(layer: Any) -> bool:
    """Say whether a layer is a local response normalisation over the channels of images."""
    return (
        type(layer) is LocalResponseNormalization
        and layer.axis in (-1, 1, 3)
        and len(layer.output.shape) == 4
    )


def response_norm(layer: LocalResponseNormalization, dtype: str) -> Callable:
    """Return what normalises like the layer, of stock layers.

    The sum over the window of channels is a 1x1 convolution of the squares with a fixed band
    matrix. In float32 at least, as the layer itself.
    """
    dtype = "float64" if dtype == "float64" else "float32"
    axis = _channel_axis(layer)
    square = layers.Multiply(name=f"{layer.name}_square", dtype=dtype)
    energy = layers.Conv2D(
        layer.output.shape[axis],
        1,
        data_format="channels_first" if axis == 1 else "channels_last",
        kernel_initializer="zeros",
        name=window_name(layer),
        dtype=dtype,
    )
    scale = layers.Multiply(name=layer.name, dtype=dtype)

    def call(x: keras.KerasTensor) -> keras.KerasTensor:
        divisor = energy(square([x, x]))
        return scale([x, inverse_power(divisor, layer.beta)])

    return call


def window_name(layer: LocalResponseNormalization) -> str:
    """Return the name of the layer that holds the band matrix."""
    return f"{layer.name}_energy"


def window_weights(layer: LocalResponseNormalization) -> list[np.ndarray]:
    """Return the kernel that sums squares over the window, and the bias."""
    channels = layer.output.shape[_channel_axis(layer)]
    return [layer.window(channels)[None, None], np.full(channels, layer.bias)]


def _channel_axis(layer: LocalResponseNormalization) -> int:
    return 1 if layer.axis == 1 else -1
