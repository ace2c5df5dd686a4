"""A process for each side, so that none sees another's libraries, threads or memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from keras_inception.errors import InputError
from keras_inception.jobs.benchmark.processes import (
    SPAWN,
    backend_of_processes,
    most_memory,
)
from keras_inception.jobs.benchmark.sides import SIDES, Side, Task


class Worker:
    """A side in its process, which prepares it as soon as it is started.

    Args:
        side: one of `SIDES`.
        task: what it computes.
    """

    def __init__(self, side: Side, task: Task) -> None:
        self.side = side.name
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(side.name, task, theirs), daemon=True)
        with backend_of_processes("torch" if "torch" in side.needs else "tensorflow"):
            self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Wait until the side is prepared.

        Raises:
            InputError: if it cannot be; says why.
        """
        self._answer()

    def turn(self, seconds: float) -> list[float]:
        """Run batches for some time and return the seconds of each.

        Raises:
            InputError: if a batch fails, or the process has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self._pipe.send(seconds)
        return self._answer()

    def close(self) -> int | None:
        """End the process and return the most memory that it ever had, in bytes."""
        memory = None
        if self._process.is_alive():
            try:
                self._pipe.send(None)
                memory = self._answer()
            except (InputError, OSError):
                memory = None
            self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        return memory

    def _answer(self) -> Any:
        try:
            failed, value = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise InputError(
                f"{self.side}: its process ended with code {self._process.exitcode}."
            ) from error
        if failed:
            raise InputError(f"{self.side}: {value}")
        return value


def _serve(name: str, task: Task, pipe: Connection) -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    shape = (task.batch_size, task.size, task.size, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    try:
        side = next(side for side in SIDES if side.name == name)
        run = side.prepare(task, side)
        for _ in range(3):
            run(images)
        _give_back_memory()
        pipe.send((False, None))
        while (seconds := pipe.recv()) is not None:
            pipe.send((False, _timed(run, images, seconds)))
        pipe.send((False, most_memory()))
    except Exception as error:  # whatever a library raises is that side's result
        pipe.send((True, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))


def _give_back_memory() -> None:
    """Give back what only the preparation needed: exporters leave gigabytes, and all sides wait."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # only glibc has the function
            ctypes.CDLL(None).malloc_trim(0)


def _timed(run: Any, images: np.ndarray, seconds: float) -> list[float]:
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not times:
        began = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - began)
    return times
