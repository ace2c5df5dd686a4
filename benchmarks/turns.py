"""Sides of a comparison that take turns, so that what else a machine does falls on all of them."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

WARM_UP = 3  # steps
SILENCE = 0.3  # seconds; idle threads of some libraries spin for as long after their last work

Step = Callable[[], object]


@dataclass(frozen=True)
class Side:
    """What one side needed.

    Attributes:
        seconds: of a step, one number for each round.
        memory: the most bytes that its process ever held.
    """

    seconds: list[float]
    memory: int

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)


def in_turns(
    prepare: Callable[..., Step], sides: Sequence[str], *arguments: object, rounds: int, steps: int
) -> dict[str, Side]:
    """Measure sides in turns, each in a process of its own that is prepared beforehand.

    Args:
        prepare: called with a side and the arguments in that side's process; returns what does a
            step and returns when it is done.
        sides: their names.
        *arguments: what `prepare` takes besides.
        rounds: turns of every side.
        steps: of a turn; their mean counts.

    Returns:
        The sides by name.
    """
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for side in sides:
        pipes[side], theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs, prepare, side, *arguments))
        worker.start()
        theirs.close()
        pipes[side].recv()
        workers.append(worker)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            time.sleep(SILENCE)
            pipes[side].send(steps)
            seconds[side].append(pipes[side].recv())
    for side in sides:
        pipes[side].send(0)
    found = {side: Side(seconds[side], pipes[side].recv()) for side in sides}
    for worker in workers:
        worker.join()
    return found


def _serve(pipe: Connection, prepare: Callable[..., Step], *arguments: object) -> None:
    step = prepare(*arguments)
    for _ in range(WARM_UP):
        step()
    pipe.send("ready")
    while steps := pipe.recv():
        began = time.perf_counter()
        for _ in range(steps):
            step()
        pipe.send((time.perf_counter() - began) / steps)
    from keras_inception.jobs.benchmark.worker import most_memory

    pipe.send(most_memory())
