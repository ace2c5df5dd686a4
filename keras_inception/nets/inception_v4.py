"""Inception-v4 (Szegedy et al. 2016, arXiv:1602.07261). Every figure number is that paper's.

Where the authors' release runs a 1xn and nx1 pair in the other order than a figure prints, the
release's order is used, so that its weights load. Fig. 5 prints two successive 1x7 in its short
factorised branch; a 1x7 followed by a 7x1 is meant.
"""

from keras_inception.blocks import (
    Tensor,
    avg_pool,
    chain,
    conv,
    conv_v,
    fork,
    max_pool_v,
    parallel,
)


def stem(x: Tensor) -> Tensor:
    """Fig. 3: 299x299x3 -> 35x35x384."""
    x = chain(x, conv2d_1a=conv_v(32, 3, 2), conv2d_2a=conv_v(32, 3), conv2d_2b=conv(64, 3))
    x = parallel(x, "mixed_3a", [max_pool_v(3, 2)], [conv_v(96, 3, 2)])
    x = parallel(
        x,
        "mixed_4a",
        [conv(64, 1), conv_v(96, 3)],
        [conv(64, 1), conv(64, (1, 7)), conv(64, (7, 1)), conv_v(96, 3)],
    )
    return parallel(x, "mixed_5a", [conv_v(192, 3, 2)], [max_pool_v(3, 2)])


def inception_a(x: Tensor, name: str) -> Tensor:
    """Fig. 4: 35x35x384 -> 35x35x384."""
    return parallel(
        x,
        name,
        [conv(96, 1)],
        [conv(64, 1), conv(96, 3)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg_pool(3), conv(96, 1)],
    )


def reduction_a(x: Tensor, name: str, k: int, l: int, m: int, n: int) -> Tensor:  # noqa: E741
    """Fig. 7: 35x35 -> 17x17, with the letters of table 1; the residual networks use it too."""
    return parallel(
        x,
        name,
        [conv_v(n, 3, 2)],
        [conv(k, 1), conv(l, 3), conv_v(m, 3, 2)],
        [max_pool_v(3, 2)],
    )


def inception_b(x: Tensor, name: str) -> Tensor:
    """Fig. 5: 17x17x1024 -> 17x17x1024."""
    return parallel(
        x,
        name,
        [conv(384, 1)],
        [conv(192, 1), conv(224, (1, 7)), conv(256, (7, 1))],
        [conv(192, 1), conv(192, (7, 1)), conv(224, (1, 7)), conv(224, (7, 1)), conv(256, (1, 7))],
        [avg_pool(3), conv(128, 1)],
    )


def reduction_b(x: Tensor, name: str) -> Tensor:
    """Fig. 8: 17x17x1024 -> 8x8x1536."""
    return parallel(
        x,
        name,
        [conv(192, 1), conv_v(192, 3, 2)],
        [conv(256, 1), conv(256, (1, 7)), conv(320, (7, 1)), conv_v(320, 3, 2)],
        [max_pool_v(3, 2)],
    )


def inception_c(x: Tensor, name: str) -> Tensor:
    """Fig. 6: 8x8x1536 -> 8x8x1536. Two branches end in a 1x3 and a 3x1 side by side."""
    split = fork([conv(256, (1, 3))], [conv(256, (3, 1))])
    return parallel(
        x,
        name,
        [conv(256, 1)],
        [conv(384, 1), split],
        [conv(384, 1), conv(448, (3, 1)), conv(512, (1, 3)), split],
        [avg_pool(3), conv(256, 1)],
    )


def inception_v4(x: Tensor) -> Tensor:
    """Fig. 9 below its average pool: 299x299x3 -> 8x8x1536."""
    x = stem(x)
    for letter in "bcde":
        x = inception_a(x, f"mixed_5{letter}")
    x = reduction_a(x, "mixed_6a", k=192, l=224, m=256, n=384)
    for letter in "bcdefgh":
        x = inception_b(x, f"mixed_6{letter}")
    x = reduction_b(x, "mixed_7a")
    for letter in "bcd":
        x = inception_c(x, f"mixed_7{letter}")
    return x
