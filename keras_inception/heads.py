"""What stands on top of a network: the classifier, the bottleneck, the auxiliary heads."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keras_inception.blocks import (
    Tensor,
    avg_pool_v,
    batch_norm,
    chain,
    conv,
    conv_v,
    style,
)
from keras_inception.errors import InputError

AuxHead = Callable[[Tensor, str], Tensor]


def classifier(x: Tensor, classes: int, activation: Any, dropout: float) -> Tensor:
    """Global average pool, dropout, and the class scores.

    Args:
        x: the features, a batch of images.
        classes: number of classes.
        activation: of the last layer; None gives logits.
        dropout: rate, 0 for none.

    Returns:
        Tensor (batch, classes), float32 also under mixed precision.
    """
    return scores(_drop(pool(x, "avg"), dropout), classes, activation)


def pool(x: Tensor, kind: str) -> Tensor:
    """Global pooling over the grid; `kind` is "avg" or "max"."""
    layer = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[kind]
    return layer(name=f"{kind}_pool")(x)


def bottleneck(x: Tensor, units: int, dropout: float) -> Tensor:
    """FaceNet's embedding before its normalisation: pool, dropout, dense layer, batch norm."""
    x = _drop(pool(x, "avg"), dropout)
    x = layers.Dense(
        style().scaled(units),
        use_bias=False,
        kernel_regularizer=style().kernel_regularizer,
        name="bottleneck_dense",
    )(x)
    return batch_norm("bottleneck")(x)


def embedding(x: Tensor) -> Tensor:
    """Scale each row to length 1 (L2); float32 also under mixed precision."""
    return layers.UnitNormalization(name="embedding", dtype=_head_dtype())(x)


def scores(x: Tensor, classes: int, activation: Any, prefix: str = "") -> Tensor:
    """The dense layer `logits` and its activation `predictions`, in float32 at least."""
    x = layers.Dense(
        classes,
        kernel_regularizer=style().kernel_regularizer,
        dtype=_head_dtype(),
        name=f"{prefix}logits",
    )(x)
    if activation is None:
        return x
    return layers.Activation(activation, dtype=_head_dtype(), name=f"{prefix}predictions")(x)


def googlenet_aux(x: Tensor, name: str) -> Tensor:
    """Features of an auxiliary head of GoogLeNet (Szegedy et al. 2014, section 5).

    Average pool 5x5/3 V, 128 1x1, dense 1024 with ReLU, dropout 70 %. The dense layer fixes the
    input size that the network can be called on.

    Raises:
        InputError: if the grid is not known.
    """
    if None in x.shape[1:]:
        raise InputError(
            "The auxiliary heads of GoogLeNet end in dense layers and need a fixed input size, but "
            "input_shape leaves height or width open. Give numbers, or build with aux_heads=False."
        )
    x = chain(x, **{f"{name}_pool": avg_pool_v(5, 3), f"{name}_conv1": conv(128, 1)})
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(
        style().scaled(1024),
        activation="relu",
        kernel_regularizer=style().kernel_regularizer,
        name=f"{name}_dense",
    )(x)
    return layers.Dropout(0.7, name=f"{name}_dropout")(x)


def inception_aux(x: Tensor, name: str) -> Tensor:
    """Features of the batch-normalised auxiliary head (Szegedy et al. 2015, section 4, figure 8).

    Average pool 5x5/3 V, 128 1x1, 768 5x5 V; then pooled globally, which does nothing at 299 pixels
    where the grid is 1x1 already.
    """
    boxes = {"pool": avg_pool_v(5, 3), "conv1": conv(128, 1), "conv2": conv_v(768, 5)}
    x = chain(x, **{f"{name}_{part}": step for part, step in boxes.items()})
    return layers.GlobalAveragePooling2D(name=f"{name}_avg_pool")(x)


def _drop(x: Tensor, rate: float) -> Tensor:
    return layers.Dropout(rate, name="dropout")(x) if rate else x


def _head_dtype() -> str:
    compute = keras.config.dtype_policy().compute_dtype
    return "float32" if compute in ("float16", "bfloat16") else compute
