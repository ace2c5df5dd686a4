"""Processes that measure."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

SPAWN = multiprocessing.get_context("spawn")
SILENCE = 0.04
"""Seconds after a library was busy: idle threads, ONNX Runtime's longest, spin for as long."""


@contextlib.contextmanager
def backend_of_processes(name: str, **others: str) -> Iterator[None]:
    """Say on which backend Keras runs in the processes that are started meanwhile.

    PyTorch and TensorFlow crash some processes that import both.

    Args:
        name: of the backend.
        **others: further environment variables of these processes.
    """
    changes = {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "2", **others}
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
