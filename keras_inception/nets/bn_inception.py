"""BN-Inception (Ioffe & Szegedy 2015, arXiv:1502.03167). The figure is that paper's figure 5."""

from keras_inception.blocks import (
    Tensor,
    avg_pool,
    chain,
    conv,
    max_pool,
    parallel,
    separable_conv,
)

FIG_5 = {
    #   #1x1  3x3 reduce  #3x3  double reduce  double #3x3  projection
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 96),
    "4d": (96, 128, 192, 160, 192, 96),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
FIG_5_STRIDED = {
    #   3x3 reduce  #3x3  double reduce  double #3x3
    "3c": (128, 160, 64, 96),
    "4e": (128, 192, 192, 256),
}


def module(x: Tensor, name: str, pool=avg_pool, projection: int | None = None) -> Tensor:
    """A module of fig. 5; `projection` replaces the printed depth after the pool."""
    ones, reduce_3, threes, reduce_double, doubles, printed = FIG_5[name]
    return parallel(
        x,
        f"inception_{name}",
        [conv(ones, 1)],
        [conv(reduce_3, 1), conv(threes, 3)],
        [conv(reduce_double, 1), conv(doubles, 3), conv(doubles, 3)],
        [pool(3), conv(projection or printed, 1)],
    )


def strided_module(x: Tensor, name: str) -> Tensor:
    """A module of fig. 5 that halves the grid; the pool passes its input's depth through."""
    reduce_3, threes, reduce_double, doubles = FIG_5_STRIDED[name]
    return parallel(
        x,
        f"inception_{name}",
        [conv(reduce_3, 1), conv(threes, 3, 2)],
        [conv(reduce_double, 1), conv(doubles, 3), conv(doubles, 3, 2)],
        [max_pool(3, 2)],
    )


def bn_inception(
    x: Tensor, *, separable_stem: bool = False, projection_4cd: int | None = None
) -> Tensor:
    """Fig. 5 below the average pool: 224x224x3 -> 7x7x1024.

    The printed filters of 4c and 4d add up to 608, the printed output says 576; here the output
    holds (projection 96, as in the authors' release).
    Released weights: TF-slim's first layer is separable (`separable_stem`); Caffe's follow the
    printed filters (`projection_4cd=128`: 608, 608, then 1056 after 4e).
    """
    first = separable_conv(64, 7, 2, multiplier=8) if separable_stem else conv(64, 7, 2)
    x = chain(x, conv2d_1a=first, max_pool_2a=max_pool(3, 2))
    x = chain(x, conv2d_2b=conv(64, 1), conv2d_2c=conv(192, 3), max_pool_3a=max_pool(3, 2))
    x = module(x, "3a")
    x = module(x, "3b")
    x = strided_module(x, "3c")
    x = module(x, "4a")
    x = module(x, "4b")
    x = module(x, "4c", projection=projection_4cd)
    x = module(x, "4d", projection=projection_4cd)
    x = strided_module(x, "4e")
    x = module(x, "5a")
    return module(x, "5b", pool=max_pool)
