"""GoogLeNet, Inception-v1 (Szegedy et al. 2014, arXiv:1409.4842)."""

from keras_inception.blocks import (
    Tensor,
    chain,
    conv,
    local_response_norm,
    max_pool,
    parallel,
)

TABLE_1 = {
    #   #1x1  #3x3 reduce  #3x3  #5x5 reduce  #5x5  pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def stem(x: Tensor, lrn: bool) -> Tensor:
    """Fig. 3, below the first module: 224x224x3 -> 28x28x192."""
    x = chain(x, conv2d_1a=conv(64, 7, 2), max_pool_2a=max_pool(3, 2))
    if lrn:
        x = chain(x, norm_2a=local_response_norm())
    x = chain(x, conv2d_2b=conv(64, 1), conv2d_2c=conv(192, 3))
    if lrn:
        x = chain(x, norm_2c=local_response_norm())
    return chain(x, max_pool_3a=max_pool(3, 2))


def module(x: Tensor, name: str, largest: int) -> Tensor:
    """Fig. 2 (b) with a row of table 1; `largest` is the kernel of the third branch."""
    ones, reduce_3, threes, reduce_5, fives, projection = TABLE_1[name]
    return parallel(
        x,
        f"inception_{name}",
        [conv(ones, 1)],
        [conv(reduce_3, 1), conv(threes, 3)],
        [conv(reduce_5, 1), conv(fives, largest)],
        [max_pool(3), conv(projection, 1)],
    )


def googlenet(x: Tensor, *, lrn: bool = True, largest: int = 5, last_pool: int = 3) -> Tensor:
    """Table 1 below the average pool: 224x224x3 -> 7x7x1024.

    Released weights: TF-slim and torchvision leave out the local response normalisation (`lrn`),
    put 3x3 in place of 5x5 (`largest`) and pool 2x2 before module 5a (`last_pool`).
    """
    x = stem(x, lrn)
    for name in ("3a", "3b"):
        x = module(x, name, largest)
    x = chain(x, max_pool_4a=max_pool(3, 2))
    for name in ("4a", "4b", "4c", "4d", "4e"):
        x = module(x, name, largest)
    x = chain(x, max_pool_5a=max_pool(last_pool, 2))
    for name in ("5a", "5b"):
        x = module(x, name, largest)
    return x
