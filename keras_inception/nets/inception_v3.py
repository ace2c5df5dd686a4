"""Inception-v3 (Szegedy et al. 2015, arXiv:1512.00567), as released: what everyone means by it."""

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
from keras_inception.errors import InputError


def stem(x: Tensor, stem_stride: int = 2, stem_pool: bool = True) -> Tensor:
    """Table 1 with the release's pools: 299x299x3 -> 35x35x192.

    Table 2 looks at smaller images with the same cost: with a first stride of 1, 151x151 give the
    same grids from the first pool on; without that pool too, 77x77 give them from there on (the
    paper's 79x79 one more row and column).

    Raises:
        InputError: if `stem_stride` is not 1 or 2, or `stem_pool` not True or False.
    """
    if stem_stride not in (1, 2) or isinstance(stem_stride, bool):
        raise InputError(f"stem_stride is {stem_stride!r}; expected 1 or 2.")
    if not isinstance(stem_pool, bool):
        raise InputError(f"stem_pool is {stem_pool!r}; expected True or False.")
    x = chain(
        x, conv2d_1a=conv_v(32, 3, stem_stride), conv2d_2a=conv_v(32, 3), conv2d_2b=conv(64, 3)
    )
    if stem_pool:
        x = chain(x, max_pool_3a=max_pool_v(3, 2))
    x = chain(x, conv2d_3b=conv_v(80, 1), conv2d_4a=conv_v(192, 3))
    return chain(x, max_pool_5a=max_pool_v(3, 2))


def inception_a(x: Tensor, name: str, projection: int) -> Tensor:
    """Fig. 5: 35x35. Released weights: a 5x5 where the figure has two 3x3 in one branch."""
    return parallel(
        x,
        name,
        [conv(64, 1)],
        [conv(48, 1), conv(64, 5)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg_pool(3), conv(projection, 1)],
    )


def reduction_a(x: Tensor, name: str) -> Tensor:
    """Fig. 10: 35x35x288 -> 17x17x768."""
    return parallel(
        x,
        name,
        [conv_v(384, 3, 2)],
        [conv(64, 1), conv(96, 3), conv_v(96, 3, 2)],
        [max_pool_v(3, 2)],
    )


def inception_b(x: Tensor, name: str, filters: int) -> Tensor:
    """Fig. 6 with n = 7: 17x17x768 -> 17x17x768."""
    return parallel(
        x,
        name,
        [conv(192, 1)],
        [conv(filters, 1), conv(filters, (1, 7)), conv(192, (7, 1))],
        [
            conv(filters, 1),
            conv(filters, (7, 1)),
            conv(filters, (1, 7)),
            conv(filters, (7, 1)),
            conv(192, (1, 7)),
        ],
        [avg_pool(3), conv(192, 1)],
    )


def reduction_b(x: Tensor, name: str) -> Tensor:
    """Fig. 10, with the 7x7 factorised in the release: 17x17x768 -> 8x8x1280."""
    return parallel(
        x,
        name,
        [conv(192, 1), conv_v(320, 3, 2)],
        [conv(192, 1), conv(192, (1, 7)), conv(192, (7, 1)), conv_v(192, 3, 2)],
        [max_pool_v(3, 2)],
    )


def inception_c(x: Tensor, name: str, pool=avg_pool) -> Tensor:
    """Fig. 7: 8x8 -> 8x8x2048. Two branches end in a 1x3 and a 3x1 side by side."""
    split = fork([conv(384, (1, 3))], [conv(384, (3, 1))])
    return parallel(
        x,
        name,
        [conv(320, 1)],
        [conv(384, 1), split],
        [conv(448, 1), conv(384, 3), split],
        [pool(3), conv(192, 1)],
    )


def inception_v3(
    x: Tensor, *, stem_stride: int = 2, stem_pool: bool = True, last_pool=avg_pool
) -> Tensor:
    """The released network below its average pool: 299x299x3 -> 8x8x2048.

    Released weights: the graph of 2015, used for the Frechet inception distance, pools by maximum
    in its last module (`last_pool`).
    """
    x = stem(x, stem_stride, stem_pool)
    for name, projection in (("mixed_5b", 32), ("mixed_5c", 64), ("mixed_5d", 64)):
        x = inception_a(x, name, projection)
    x = reduction_a(x, "mixed_6a")
    for name, filters in (
        ("mixed_6b", 128),
        ("mixed_6c", 160),
        ("mixed_6d", 160),
        ("mixed_6e", 192),
    ):
        x = inception_b(x, name, filters)
    x = reduction_b(x, "mixed_7a")
    x = inception_c(x, "mixed_7b")
    return inception_c(x, "mixed_7c", last_pool)
