"""Inception-ResNet-v1 (Szegedy et al. 2016, arXiv:1602.07261). Figure numbers are that paper's."""

from keras_inception.blocks import (
    Tensor,
    chain,
    conv,
    conv_v,
    max_pool_v,
    parallel,
    residual,
)
from keras_inception.nets.inception_v4 import reduction_a

Scales = tuple[float, float, float]

RELEASED_SCALES: Scales = (0.17, 0.10, 0.20)
"""Residual scales of the blocks A, B and C in the authors' release; the paper gives 0.1 to 0.3."""


def stem(x: Tensor) -> Tensor:
    """Fig. 14: 299x299x3 -> 35x35x256."""
    x = chain(x, conv2d_1a=conv_v(32, 3, 2), conv2d_2a=conv_v(32, 3), conv2d_2b=conv(64, 3))
    x = chain(x, max_pool_3a=max_pool_v(3, 2), conv2d_3b=conv(80, 1), conv2d_4a=conv_v(192, 3))
    return chain(x, conv2d_4b=conv_v(256, 3, 2))


def block_a(x: Tensor, name: str, scale: float) -> Tensor:
    """Fig. 10: 35x35x256 -> 35x35x256."""
    return residual(
        x,
        name,
        scale,
        [conv(32, 1)],
        [conv(32, 1), conv(32, 3)],
        [conv(32, 1), conv(32, 3), conv(32, 3)],
    )


def block_b(x: Tensor, name: str, scale: float) -> Tensor:
    """Fig. 11: 17x17x896 -> 17x17x896."""
    return residual(
        x,
        name,
        scale,
        [conv(128, 1)],
        [conv(128, 1), conv(128, (1, 7)), conv(128, (7, 1))],
    )


def reduction_b(x: Tensor, name: str) -> Tensor:
    """Fig. 12: 17x17x896 -> 8x8x1792."""
    return parallel(
        x,
        name,
        [conv(256, 1), conv_v(384, 3, 2)],
        [conv(256, 1), conv_v(256, 3, 2)],
        [conv(256, 1), conv(256, 3), conv_v(256, 3, 2)],
        [max_pool_v(3, 2)],
    )


def block_c(x: Tensor, name: str, scale: float, activation: str | None = "relu") -> Tensor:
    """Fig. 13: 8x8x1792 -> 8x8x1792."""
    return residual(
        x,
        name,
        scale,
        [conv(192, 1)],
        [conv(192, 1), conv(192, (1, 3)), conv(192, (3, 1))],
        activation=activation,
    )


def inception_resnet_v1(x: Tensor, *, residual_scales: Scales = RELEASED_SCALES) -> Tensor:
    """Fig. 15 below its average pool: 299x299x3 -> 8x8x1792."""
    scale_a, scale_b, scale_c = residual_scales
    x = stem(x)
    for i in range(1, 6):
        x = block_a(x, f"block35_{i}", scale_a)
    x = reduction_a(x, "mixed_6a", k=192, l=192, m=256, n=384)
    for i in range(1, 11):
        x = block_b(x, f"block17_{i}", scale_b)
    x = reduction_b(x, "mixed_7a")
    for i in range(1, 6):
        x = block_c(x, f"block8_{i}", scale_c)
    return x


def facenet(x: Tensor, *, residual_scales: Scales = RELEASED_SCALES) -> Tensor:
    """Released weights: one more block C, unscaled and without ReLU, at the end."""
    x = inception_resnet_v1(x, residual_scales=residual_scales)
    return block_c(x, "block8_6", 1.0, activation=None)
