"""The devices and processes of a training, and what the processes tell each other."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from keras_inception.training.failures import WorkerLostError


@dataclass(frozen=True, eq=False, kw_only=True)
class Cluster:
    """One device in one process; the base of what `make_strategy` returns.

    Args:
        replicas: devices in all processes together, each with a copy of the weights.
        workers: number of processes.
        worker: number of this process, from 0; process 0 writes the files.

    Attributes:
        framework: whose errors tell that another process is gone.
        errors: the types of such errors.
        signs_of_loss: of which their text has at least one.
    """

    framework: ClassVar[str] = ""
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    signs_of_loss: ClassVar[tuple[str, ...]] = ()

    replicas: int = 1
    workers: int = 1
    worker: int = 0

    @property
    def local_replicas(self) -> int:
        """Devices of this process."""
        return self.replicas // self.workers

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files."""
        return self.worker == 0

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which model and optimizer must be made."""
        return contextlib.nullcontext()

    def lookout(self) -> AbstractContextManager[Any]:
        """Return the context of a training in which a lost process ends this one."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def watching_workers(self) -> Iterator[None]:
        """Turn the framework's errors about a lost process into one that says so.

        Raises:
            WorkerLostError: if the body fails because another process is gone.
        """
        try:
            yield
        except self.errors as error:
            lines = str(error).splitlines()
            said = [line for line in lines if any(sign in line for sign in self.signs_of_loss)]
            if self.workers == 1 or not said:
                raise
            raise self.worker_lost(f"{self.framework} says: {said[0]}") from error

    def worker_lost(self, reason: str) -> WorkerLostError:
        """Return the error for a lost process; `reason` is a sentence about how it showed."""
        return WorkerLostError(
            f"Worker {self.worker} of {self.workers} cannot reach another worker, which has "
            "ended, crashed or lost its network. This worker ends too; start all of them again "
            f"to go on from the last checkpoint. {reason}"
        )

    def sum_over_workers(self, values: Any) -> np.ndarray:
        """Add up an array over the processes; every process must call it, with the same shape.

        Raises:
            WorkerLostError: if another process is gone.
        """
        return np.asarray(values)

    def broadcast(self, data: bytes) -> bytes:
        """Give the bytes of process 0 to all processes; every process must call it.

        Raises:
            WorkerLostError: if another process is gone.
        """
        return data
