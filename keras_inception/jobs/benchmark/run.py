"""Measuring: all sides of a network side by side, in turns, so that what else happens hits all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from keras_inception import inspection, models
from keras_inception.errors import InputError, unknown
from keras_inception.jobs.benchmark.gauge import Gauge, Turn, machine_gauge, take_turns
from keras_inception.jobs.benchmark.results import (
    Measurement,
    Results,
    machine,
    peak_dtype,
    task_name,
)
from keras_inception.jobs.benchmark.sides import SIDES, Side, Task, build, forms
from keras_inception.jobs.benchmark.worker import Worker
from keras_inception.networks import NETWORKS

_PREPARED_TOGETHER = 2  # sides; much of it uses one core
_ANNOUNCED = 10  # rounds, the first of which is announced


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: turns of every side that count.
        patience: how many times as many turns a side may take until so many were undisturbed.
        seconds: of a turn, at least.
        matrix: side of the square ones whose products tell what the machine reaches. Smaller ones
            fit into caches that others do not disturb, and tell less.
        matrix_seconds: of such products in each dtype, before and after every turn.
        quick: whether this only shows that everything works.
    """

    rounds: int = 10
    patience: int = 12
    seconds: float = 0.2
    matrix: int = 2048
    matrix_seconds: float = 0.02
    quick: bool = False


QUICK = Effort(rounds=2, patience=1, seconds=0.05, matrix=256, matrix_seconds=0.01, quick=True)
"""Enough to see that everything works; its numbers say little."""


def benchmark(
    networks: Sequence[str] = ("InceptionV3",),
    batch_sizes: Sequence[int] = (16, 1),
    *,
    sides: Sequence[str] | None = None,
    architectures: Sequence[str] | None = None,
    image_size: int | None = None,
    width: float = 1.0,
    effort: Effort | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> Results:
    """Measure how fast networks run here, in this package and beside it.

    Every side runs in a process of its own and holds its network ready; the sides take turns, a
    call or some tenths of a second each, and medians are taken over the turns in which the machine
    was least disturbed (see `gauge`). Calls go from a NumPy array to the outputs. Weights are
    random, and shifts other than 0: those of a network that was never trained would be left out of
    some sides' functions, which then compute something else.

    Only what computes the same is compared: each library takes part in the form of a network that
    it has.

    Args:
        networks: names of builders.
        batch_sizes: images of a call.
        sides: names, or parts of names, of the sides to measure; None: all whose packages are
            installed.
        architectures: forms of the networks; None: the paper's, and those that the other sides
            have.
        image_size: height and width in pixels; None: each network's own.
        width: factor on every filter count; other than 1: this package's sides only.
        effort: how long; None: some minutes for a network and batch size.
        announce: is told what is about to be done.

    Returns:
        The results, also of the sides that could not run.

    Raises:
        InputError: if a network, a form of it, a side or a number does not exist, or no side could
            run.
    """
    effort = effort or Effort()
    chosen = _chosen(sides)
    present = [side for side in chosen if width == 1 and not side.missing()]
    tasks = [
        _task(name, form, image_size, batch, width)
        for name in map(_name, networks)
        for form in architectures or forms(name, present)
        for batch in batch_sizes
    ]
    left_out = {
        side.name: f"needs {', '.join(side.missing())}" for side in chosen if side.missing()
    }
    able = {
        task: [side for side in chosen if side.runs(task) and not side.missing()] for task in tasks
    }
    if not any(able.values()):
        raise InputError(f"No side can run these networks. Left out: {left_out or 'none'}.")
    with machine_gauge(effort.matrix, effort.matrix_seconds) as gauge:
        measurements = [
            measurement
            for task, able_sides in able.items()
            if able_sides
            for measurement in _measure(task, able_sides, effort, gauge, left_out, announce)
        ]
    if not measurements:
        raise InputError(f"No side could run: {left_out}.")
    return Results(machine(), gauge.highest, tuple(measurements), left_out, effort.quick)


def _measure(
    task: Task,
    sides: Sequence[Side],
    effort: Effort,
    gauge: Gauge,
    left_out: dict[str, str],
    announce: Callable[[str], None],
) -> list[Measurement]:
    operations = 2 * _multiply_adds(task)
    workers: dict[Side, Worker] = {}
    memory: dict[Side, int | None] = {}
    what = task_name(task)
    with contextlib.ExitStack() as opened:
        for first in range(0, len(sides), _PREPARED_TOGETHER):
            together = sides[first : first + _PREPARED_TOGETHER]
            announce(f"{what}: preparing {'; '.join(side.name for side in together)}")
            started = [opened.enter_context(_started(side, task, memory)) for side in together]
            for side, worker in zip(together, started, strict=True):
                try:
                    worker.wait()
                except InputError as error:
                    left_out[f"{side.name}: {what}"] = str(error)
                    continue
                workers[side] = worker

        def turn(side: Side) -> list[float] | None:
            try:
                return workers[side].turn(effort.seconds)
            except InputError as error:  # such as killed for want of memory
                left_out[f"{side.name}: {what}"] = str(error)
                return None

        def begun(number: int, waiting: int) -> None:
            if number % _ANNOUNCED == 1:
                announce(f"{what}: round {number}, {waiting} sides")

        turns = take_turns(
            workers,
            turn,
            gauge,
            rounds=effort.rounds,
            most=effort.patience * effort.rounds,
            announce=begun,
        )
    return [_measurement(task, side, turns[side], memory[side], operations) for side in turns]


@contextlib.contextmanager
def _started(side: Side, task: Task, memory: dict[Side, int | None]) -> Iterator[Worker]:
    """Give a side's worker, end it afterwards, and note how much memory it had."""
    worker = Worker(side, task)
    try:
        yield worker
    finally:
        memory[side] = worker.close()


def _measurement(
    task: Task,
    side: Side,
    turns: list[Turn],
    memory: int | None,
    operations: int,
) -> Measurement:
    speeds = [task.batch_size * len(turn.value) / sum(turn.value) for turn in turns]
    calls = np.concatenate([turn.value for turn in turns])
    speed = float(np.median(speeds))
    peaks = [turn.peak.get(peak_dtype(side.dtype)) for turn in turns]
    shares = [one * operations / peak for one, peak in zip(speeds, peaks, strict=True) if peak]
    return Measurement(
        network=task.network,
        architecture=task.architecture,
        size=task.size,
        width=task.width,
        batch_size=task.batch_size,
        library=side.library,
        runtime=side.runtime,
        dtype=side.dtype,
        images_per_second=speed,
        slowest=min(speeds),
        fastest=max(speeds),
        turns=len(turns),
        undisturbed=sum(turn.undisturbed for turn in turns),
        p50=float(np.quantile(calls, 0.5)),
        p99=float(np.quantile(calls, 0.99)),
        memory=memory,
        operations_per_second=speed * operations,
        share_of_peak=float(np.median(shares)) if shares else None,
        date=datetime.now(UTC).date().isoformat(),
    )


def _name(name: str) -> str:
    if name not in models.BUILDERS:
        raise unknown("model", name, models.BUILDERS)
    return models.BUILDERS[name].__name__


def _task(name: str, form: str, size: int | None, batch_size: int, width: float) -> Task:
    network = NETWORKS[name]
    if form not in network.architectures:
        raise unknown(f"architecture of {name}", form, network.architectures)
    if batch_size < 1:
        raise InputError(f"Batches have at least 1 image, got {batch_size}.")
    return Task(name, form, size or network.input_size, batch_size, width)


def _chosen(parts: Sequence[str] | None) -> list[Side]:
    if parts is None:
        return list(SIDES)
    for part in parts:
        if not any(part in side.name for side in SIDES):
            raise unknown("side", part, [side.name for side in SIDES])
    return [side for side in SIDES if any(part in side.name for part in parts)]


def _multiply_adds(task: Task) -> int:
    return inspection.multiply_adds(build(task))
