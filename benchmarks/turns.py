"""Sides of a comparison that take turns, so that what else a machine does falls on all of them."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from keras_inception.jobs.benchmark.gauge import machine_gauge, take_turns
from keras_inception.jobs.benchmark.processes import (
    SPAWN,
    backend_of_processes,
    most_memory,
)
from keras_inception.jobs.benchmark.run import Effort

WARM_UP = 3  # steps

Step = Callable[[], object]


@dataclass(frozen=True)
class Side:
    """What one side needed.

    Attributes:
        seconds: of a step, one number for each turn that counts.
        undisturbed: in how many of these turns the machine had nearly its full speed.
        memory: the most bytes that its process ever held.
    """

    seconds: list[float]
    undisturbed: int
    memory: int

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)


def in_turns(
    prepare: Callable[..., Step],
    sides: Sequence[str],
    *arguments: object,
    rounds: int,
    steps: int,
    in_torch: Sequence[str] = (),
) -> dict[str, Side]:
    """Measure sides in turns, each in a process of its own that is prepared beforehand.

    Args:
        prepare: called with a side and the arguments in that side's process; returns what does a
            step and returns when it is done.
        sides: their names.
        *arguments: what `prepare` takes besides.
        rounds: turns of every side that count: those in which the machine was least disturbed.
        steps: of a turn; their mean counts.
        in_torch: the sides whose process runs PyTorch, and is to stay without TensorFlow.

    Returns:
        The sides by name.

    Raises:
        RuntimeError: if a side's process ends before its time; names it and its exit code.
    """
    pipes, workers = {}, {}

    def answer(side: str):
        try:
            return pipes[side].recv()
        except EOFError as error:
            workers[side].join()
            code = workers[side].exitcode
            raise RuntimeError(f"{side}: its process ended with code {code}.") from error

    for side in sides:
        pipes[side], theirs = SPAWN.Pipe()
        work = (theirs, prepare, side, *arguments)
        workers[side] = SPAWN.Process(target=_serve, args=work, daemon=True)
        with backend_of_processes("torch" if side in in_torch else "tensorflow"):
            workers[side].start()
        theirs.close()
        answer(side)

    def turn(side: str) -> float:
        pipes[side].send(steps)
        return answer(side)

    effort = Effort()
    with machine_gauge(effort.matrix, effort.matrix_seconds) as gauge:
        turns = take_turns(sides, turn, gauge, rounds=rounds, most=effort.patience * rounds)
    found = {}
    for side in sides:
        pipes[side].send(0)
        undisturbed = sum(each.undisturbed for each in turns[side])
        found[side] = Side([each.value for each in turns[side]], undisturbed, answer(side))
    for worker in workers.values():
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
    pipe.send(most_memory())
