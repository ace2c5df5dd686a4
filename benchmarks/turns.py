"""Sides of a comparison that take turns, so that what else a machine does falls on all of them."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from keras_inception.jobs.benchmark.worker import backend_of_processes, most_memory

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
        rounds: turns of every side.
        steps: of a turn; their mean counts.
        in_torch: the sides whose process runs PyTorch, and is to stay without TensorFlow.

    Returns:
        The sides by name.

    Raises:
        RuntimeError: if a side's process ends before its time; names it and its exit code.
    """
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, {}

    def answer(side: str):
        try:
            return pipes[side].recv()
        except EOFError as error:
            workers[side].join()
            code = workers[side].exitcode
            raise RuntimeError(f"{side}: its process ended with code {code}.") from error

    for side in sides:
        pipes[side], theirs = context.Pipe()
        work = (theirs, prepare, side, *arguments)
        workers[side] = context.Process(target=_serve, args=work, daemon=True)
        with backend_of_processes("torch" if side in in_torch else "tensorflow"):
            workers[side].start()
        theirs.close()
        answer(side)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            time.sleep(SILENCE)
            pipes[side].send(steps)
            seconds[side].append(answer(side))
    for side in sides:
        pipes[side].send(0)
    found = {side: Side(seconds[side], answer(side)) for side in sides}
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
