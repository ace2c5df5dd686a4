"""Inception-v2 (Szegedy et al. 2015, arXiv:1512.00567), as printed in its table 1.

The paper leaves the filters inside the modules to a file that was never published with it. Here
they are those of the v3 release, in the modules as drawn, with the projections and the fifth 17x17
module chosen so that the printed depths come out: 288, 768, 1280, 2048.
"""

from keras_inception.blocks import (
    Step,
    Tensor,
    avg_pool,
    chain,
    conv,
    conv_v,
    max_pool_v,
    parallel,
)
from keras_inception.errors import unknown
from keras_inception.nets.inception_v3 import inception_b, inception_c

STEMS: dict[str, dict[str, Step]] = {
    "factorized": {
        "conv2d_1a": conv_v(32, 3, 2),
        "conv2d_2a": conv_v(32, 3),
        "conv2d_2b": conv(64, 3),
    },
    "7x7": {"conv2d_1a": conv_v(64, 7, 2)},
}
"""The first rows of table 1, and the one layer that they factorise (table 3)."""


def trunk(x: Tensor, stem: str) -> Tensor:
    """Table 1 above the modules: 299x299x3 -> 35x35x288, by 147x147x64 with either stem."""
    if stem not in STEMS:
        raise unknown("stem", stem, STEMS)
    x = chain(x, **STEMS[stem])
    x = chain(x, max_pool_3a=max_pool_v(3, 2), conv2d_3b=conv_v(80, 3))
    return chain(x, conv2d_4a=conv_v(192, 3, 2), conv2d_4b=conv(288, 3))


def inception_a(x: Tensor, name: str) -> Tensor:
    """Fig. 5: 35x35x288 -> 35x35x288. Two 3x3 stand for the 5x5 of GoogLeNet."""
    return parallel(
        x,
        name,
        [conv(64, 1)],
        [conv(48, 1), conv(64, 3)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg_pool(3), conv(64, 1)],
    )


def reduction(x: Tensor, name: str, single: tuple[int, int], double: tuple[int, int]) -> Tensor:
    """Fig. 10: halves the grid; each pair is the filters of the 1x1 and of the 3x3 after it."""
    return parallel(
        x,
        name,
        [conv(single[0], 1), conv_v(single[1], 3, 2)],
        [conv(double[0], 1), conv(double[1], 3), conv_v(double[1], 3, 2)],
        [max_pool_v(3, 2)],
    )


def inception_v2(x: Tensor, *, stem: str = "factorized") -> Tensor:
    """Table 1 below its 8x8 pool: 299x299x3 -> 8x8x2048."""
    x = trunk(x, stem)
    for letter in "bcd":
        x = inception_a(x, f"mixed_5{letter}")
    x = reduction(x, "mixed_6a", single=(64, 384), double=(64, 96))
    for letter, filters in zip("bcdef", (128, 160, 160, 160, 192), strict=True):
        x = inception_b(x, f"mixed_6{letter}", filters)
    x = reduction(x, "mixed_7a", single=(192, 320), double=(192, 192))
    for letter in "bc":
        x = inception_c(x, f"mixed_7{letter}")
    return x
