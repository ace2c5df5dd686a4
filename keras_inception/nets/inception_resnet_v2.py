"""Inception-ResNet-v2 (Szegedy et al. 2016, arXiv:1602.07261). Figure numbers are that paper's.

Two networks bear this name: the printed one, and the one that the authors released.
Fig. 17 prints 1154 and fig. 19 prints 2048 filters for the linear 1x1; neither can be added to its
input (1152 and 2144), so the depth of the input is used.
"""

from keras_inception.blocks import (
    Tensor,
    avg_pool,
    chain,
    conv,
    conv_v,
    max_pool_v,
    parallel,
    residual,
)
from keras_inception.nets import inception_v3, inception_v4
from keras_inception.nets.inception_resnet_v1 import RELEASED_SCALES, Scales
from keras_inception.nets.inception_v4 import reduction_a


def block_a(x: Tensor, name: str, scale: float) -> Tensor:
    """Fig. 16: 35x35x384 -> 35x35x384."""
    return residual(
        x,
        name,
        scale,
        [conv(32, 1)],
        [conv(32, 1), conv(32, 3)],
        [conv(32, 1), conv(48, 3), conv(64, 3)],
    )


def block_b(x: Tensor, name: str, scale: float) -> Tensor:
    """Fig. 17: 17x17x1152 -> 17x17x1152."""
    return residual(
        x,
        name,
        scale,
        [conv(192, 1)],
        [conv(128, 1), conv(160, (1, 7)), conv(192, (7, 1))],
    )


def reduction_b(x: Tensor, name: str) -> Tensor:
    """Fig. 18: 17x17x1152 -> 8x8x2144."""
    return parallel(
        x,
        name,
        [conv(256, 1), conv_v(384, 3, 2)],
        [conv(256, 1), conv_v(288, 3, 2)],
        [conv(256, 1), conv(288, 3), conv_v(320, 3, 2)],
        [max_pool_v(3, 2)],
    )


def block_c(x: Tensor, name: str, scale: float, activation: str | None = "relu") -> Tensor:
    """Fig. 19: 8x8x2144 -> 8x8x2144."""
    return residual(
        x,
        name,
        scale,
        [conv(192, 1)],
        [conv(192, 1), conv(224, (1, 3)), conv(256, (3, 1))],
        activation=activation,
    )


def body(x: Tensor, counts: tuple[int, int, int], scales: Scales) -> Tensor:
    """Fig. 15 above the stem: blocks A, Reduction-A, blocks B, Reduction-B, blocks C."""
    for i in range(1, counts[0] + 1):
        x = block_a(x, f"block35_{i}", scales[0])
    x = reduction_a(x, "mixed_6a", k=256, l=256, m=384, n=384)
    for i in range(1, counts[1] + 1):
        x = block_b(x, f"block17_{i}", scales[1])
    x = reduction_b(x, "mixed_7a")
    for i in range(1, counts[2] + 1):
        x = block_c(x, f"block8_{i}", scales[2])
    return x


def inception_resnet_v2(x: Tensor, *, residual_scales: Scales = RELEASED_SCALES) -> Tensor:
    """Fig. 15 below its average pool, with the stem of fig. 3: 299x299x3 -> 8x8x2144."""
    return body(inception_v4.stem(x), (5, 10, 5), residual_scales)


def mixed_5b(x: Tensor, name: str) -> Tensor:
    """Released weights: 35x35x192 -> 35x35x320, a module that no figure has."""
    return parallel(
        x,
        name,
        [conv(96, 1)],
        [conv(48, 1), conv(64, 5)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg_pool(3), conv(64, 1)],
    )


def released(x: Tensor, *, residual_scales: Scales = RELEASED_SCALES) -> Tensor:
    """Released weights: 299x299x3 -> 8x8x1536.

    The stem of v3, one more module, 10, 20 and 9 blocks, a last block unscaled and without ReLU,
    and a 1x1 convolution before the average pool.
    """
    x = mixed_5b(inception_v3.stem(x), "mixed_5b")
    x = body(x, (10, 20, 9), residual_scales)
    x = block_c(x, "block8_10", 1.0, activation=None)
    return chain(x, conv2d_7b=conv(1536, 1))
