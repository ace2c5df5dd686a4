"""Turns on a machine that others use too: those count in which it was least disturbed.

What other virtual machines compute on the same processor can halve what this one reaches in
bfloat16, and hardly touch float32: medians over all turns then tell who was hit. It comes and goes
within tenths of a second. So turns are as short as that, matrix products are timed right before and
right after each, and by them alone, not by what a turn itself gave, the turns are chosen. They also
are the peak that a turn's own speed is compared with.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from keras_inception.inference.precision import native_bfloat16
from keras_inception.jobs.benchmark.processes import SILENCE, SPAWN, backend_of_processes

QUIET = 0.8
"""The least quietness of an undisturbed turn."""

Rates = dict[str, float]
"""By native dtype: floating-point operations a second in products of square matrices."""

Product = Callable[[], object]
Side = TypeVar("Side", bound=Hashable)


class Gauge:
    """Tells what matrix products reach now.

    Args:
        measure: measures it.

    Attributes:
        highest: of all that was measured, by dtype.
    """

    def __init__(self, measure: Callable[[], Rates]) -> None:
        self._measure = measure
        self.highest: Rates = {}

    def rates(self) -> Rates:
        """Measure."""
        rates = self._measure()
        self.highest = {
            dtype: max(rate, self.highest.get(dtype, 0.0)) for dtype, rate in rates.items()
        }
        return rates

    def quietness(self, rates: Rates) -> float:
        """Return the share of the highest rates that is reached, in the dtype where it is least."""
        return min(rate / self.highest[dtype] for dtype, rate in rates.items())


@contextlib.contextmanager
def machine_gauge(side: int, seconds: float) -> Iterator[Gauge]:
    """Give a gauge of this machine: PyTorch's products if it is installed, else TensorFlow's.

    Args:
        side: of the matrices.
        seconds: that each dtype is measured for, at least.

    Yields:
        The gauge, whose products are made in a process that ends with the context.
    """
    library = "torch" if importlib.util.find_spec("torch") else "tensorflow"
    dtypes = ("float32", "bfloat16") if native_bfloat16() else ("float32",)
    no_spinning = {"OMP_WAIT_POLICY": "PASSIVE"}
    with (
        backend_of_processes(library, **no_spinning),
        ProcessPoolExecutor(1, mp_context=SPAWN) as pool,
    ):

        def measure() -> Rates:
            time.sleep(SILENCE)
            return pool.submit(_rates, library, dtypes, side, seconds).result()

        measure()  # the first products are slow
        yield Gauge(measure)


@dataclass(frozen=True)
class Turn:
    """What a side gave in a turn.

    Attributes:
        value: that.
        peak: the mean of the rates before and after.
        quietness: that of the gauge before or after, whichever is lower.
    """

    value: Any
    peak: Rates
    quietness: float

    @property
    def undisturbed(self) -> bool:
        """Whether the machine had nearly its full speed."""
        return self.quietness >= QUIET


def take_turns(
    sides: Iterable[Side],
    turn: Callable[[Side], Any],
    gauge: Gauge,
    *,
    rounds: int,
    most: int,
    announce: Callable[[int, int], None] = lambda number, waiting: None,
) -> dict[Side, list[Turn]]:
    """Let sides take turns until each has had enough that were undisturbed.

    Args:
        sides: they, or their names.
        turn: lets a side take one and returns what it gave; None if it is out of the game.
        gauge: tells how much the machine is disturbed.
        rounds: undisturbed turns that every side shall have.
        most: turns after which a side gets no more.
        announce: is told the number of every round, from 1, and how many sides take part.

    Returns:
        For each side that is still in the game the `rounds` turns with the highest quietness, in
        the order in which they were taken.
    """
    taken: dict[Side, list[tuple[Any, Rates, Rates]]] = {side: [] for side in sides}

    def judged(side: Side) -> list[Turn]:
        return [
            Turn(
                value,
                {dtype: (before[dtype] + after[dtype]) / 2 for dtype in before},
                min(gauge.quietness(before), gauge.quietness(after)),
            )
            for value, before, after in taken[side]
        ]

    before = gauge.rates()
    for number in range(1, most + 1):
        waiting = [
            side for side in taken if sum(each.undisturbed for each in judged(side)) < rounds
        ]
        if not waiting:
            break
        announce(number, len(waiting))
        for side in waiting:
            value = turn(side)
            if value is None:
                del taken[side]
                continue
            after = gauge.rates()
            taken[side].append((value, before, after))
            before = after
    return {side: _quietest(judged(side), rounds) for side in taken}


def _quietest(turns: list[Turn], count: int) -> list[Turn]:
    best = sorted(range(len(turns)), key=lambda index: -turns[index].quietness)[:count]
    return [turns[index] for index in sorted(best)]


def _rates(library: str, dtypes: tuple[str, ...], side: int, seconds: float) -> Rates:
    return {dtype: _rate(library, dtype, side, seconds) for dtype in dtypes}


def _rate(library: str, dtype: str, side: int, seconds: float) -> float:
    product = _product(library, dtype, side)
    made, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or not made:
        product()
        made += 1
    return 2 * side**3 * made / passed


@functools.cache
def _product(library: str, dtype: str, side: int) -> Product:
    product = _LIBRARIES[library](dtype, side)
    product()
    return product


def _tensorflow(dtype: str, side: int) -> Product:
    import tensorflow as tf

    with tf.device("CPU"):
        left, right = (tf.cast(tf.random.normal((side, side)), dtype) for _ in range(2))
    product = tf.function(tf.matmul, autograph=False)
    return lambda: product(left, right)[0, 0].numpy()


def _torch(dtype: str, side: int) -> Product:
    import torch

    left, right = (torch.randn(side, side).to(getattr(torch, dtype)) for _ in range(2))
    return lambda: torch.mm(left, right)


_LIBRARIES = {"tensorflow": _tensorflow, "torch": _torch}
