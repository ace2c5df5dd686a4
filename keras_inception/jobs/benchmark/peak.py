"""What the machine can do at most: products of square matrices."""

import statistics
import time
from collections.abc import Callable

DTYPES = ("float32", "bfloat16")


def matrix_peak(library: str, sides: tuple[int, ...], seconds: float) -> dict[str, float]:
    """Measure how many operations a second a library reaches in products of square matrices.

    Args:
        library: one of `LIBRARIES`.
        sides: of the matrices, ascending; the fastest counts.
        seconds: that each size and dtype is measured for. After a product that alone takes longer,
            as of emulated bfloat16, larger ones are left out.

    Returns:
        For each of `DTYPES`: floating-point operations a second, the median of the fastest size.
    """
    product = LIBRARIES[library]
    return {dtype: _fastest(product, dtype, sides, seconds) for dtype in DTYPES}


def _fastest(product: Callable, dtype: str, sides: tuple[int, ...], seconds: float) -> float:
    rates = []
    for side in sides:
        needed = _median(product(side, dtype), seconds)
        rates.append(2 * side**3 / needed)
        if needed > seconds:
            break
    return max(rates)


def _median(run: Callable[[], object], seconds: float) -> float:
    run()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _tensorflow(side: int, dtype: str) -> Callable[[], object]:
    import tensorflow as tf

    with tf.device("CPU"):
        left, right = (tf.cast(tf.random.normal((side, side)), dtype) for _ in range(2))
    product = tf.function(tf.matmul, autograph=False)
    return lambda: product(left, right)[0, 0].numpy()


def _torch(side: int, dtype: str) -> Callable[[], object]:
    import torch

    left, right = (torch.randn(side, side).to(getattr(torch, dtype)) for _ in range(2))
    return lambda: torch.mm(left, right)


LIBRARIES = {"tensorflow": _tensorflow, "torch": _torch}
"""What multiplies, and how: a function of side and dtype that gives what runs one product."""
