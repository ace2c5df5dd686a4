"""A process for each side, so that none sees another's libraries, threads or memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.errors import InputError
from keras_inception.jobs.benchmark import peak
from keras_inception.jobs.benchmark.sides import SIDES, Side, Task

_SPAWN = multiprocessing.get_context("spawn")
_SILENCE = 0.3  # seconds; idle threads of some libraries spin for as long after their last work


class Worker:
    """A side in its process, which prepares it as soon as it is started.

    Args:
        side: one of `SIDES`.
        task: what it computes.
    """

    def __init__(self, side: Side, task: Task) -> None:
        self.side = side.name
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(side.name, task, theirs), daemon=True)
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
        time.sleep(_SILENCE)
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


def measured_peak(sides: tuple[int, ...], seconds: float) -> dict[str, float]:
    """Return `peak.matrix_peak` of the fastest library, each measured in its own process.

    Raises:
        InputError: if none could be measured.
    """
    found = []
    for library in peak.LIBRARIES:
        if importlib.util.find_spec(library):
            with backend_of_processes(library), ProcessPoolExecutor(1, mp_context=_SPAWN) as pool:
                done = pool.submit(peak.matrix_peak, library, sides, seconds)
                with contextlib.suppress(BrokenProcessPool):
                    found.append(done.result())
    if not found:
        raise InputError(f"No matrix products could be measured in {' or '.join(peak.LIBRARIES)}.")
    return {dtype: max(rates[dtype] for rates in found) for dtype in peak.DTYPES}


@contextlib.contextmanager
def backend_of_processes(name: str) -> Iterator[None]:
    """Say on which backend Keras runs in the processes that are started meanwhile.

    PyTorch and TensorFlow crash some processes that import both.
    """
    changes = {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "2"}
    before = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


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
            run(images)
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
    while time.perf_counter() < end or len(times) < 2:
        began = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - began)
    return times


def most_memory() -> int:
    """Return the most bytes that this process ever held.

    Where Linux tells it, from there: the figure of `getrusage` begins with that of the process that
    started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
