"""A cluster of JAX devices, by `keras.distribution.DataParallel`."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import keras
import numpy as np
from jax._src import distributed  # the store of all processes has no public name
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from keras_inception.training.cluster import Cluster
from keras_inception.training.lookout import Lookout

_HEARTBEAT_SECONDS = 45  # after which JAX itself ends the others; its default is 100


@dataclass(frozen=True, eq=False, kw_only=True)
class JaxCluster(Cluster):
    """JAX devices that share a batch.

    Args:
        distribution: over all devices of all processes; None for a single device.
        others: tells whether the other processes live; None for a single process.
    """

    framework: ClassVar[str] = "JAX"
    errors: ClassVar[tuple[type[Exception], ...]] = (
        ValueError,
        RuntimeError,
    )
    signs_of_loss: ClassVar[tuple[str, ...]] = (
        "Gloo",
        "NCCL",
        "heartbeat",
        "coordination service",
        "distributed service",
    )

    distribution: keras.distribution.DataParallel | None = None
    others: Lookout | None = None

    @classmethod
    def over(cls, devices: Sequence[str] | None) -> "JaxCluster":
        """Return the cluster over devices such as "gpu:0"; None takes all there are."""
        return cls._over(devices, None)

    @classmethod
    def join(cls, workers: Sequence[str], index: int) -> "JaxCluster":
        """Connect this process with others; return the cluster over all devices of all.

        `keras.distribution.initialize` would wait for a lost process for longer than it may.

        Args:
            workers: "host:port" of every process; the first one is listened to.
            index: number of this process.

        Raises:
            RuntimeError: if JAX was used before, or the others cannot be reached.
        """
        jax.distributed.initialize(
            workers[0],
            len(workers),
            index,
            cluster_detection_method="deactivate",  # Slurm's takes one GPU of each machine only
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
        store = distributed.global_state.client
        return cls._over(None, Lookout(store, len(workers), index))

    @classmethod
    def _over(cls, devices: Sequence[str] | None, others: Lookout | None) -> "JaxCluster":
        every = keras.distribution.list_devices()
        devices = list(devices or every)
        if devices == every[:1]:
            return cls()
        return cls(
            replicas=len(devices),
            workers=jax.process_count(),
            worker=jax.process_index(),
            distribution=keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False),
            others=others,
        )

    def scope(self) -> AbstractContextManager[Any]:
        """Return the distribution's scope."""
        return self.distribution.scope() if self.distribution else contextlib.nullcontext()

    def lookout(self) -> AbstractContextManager[Any]:
        """See `Cluster.lookout`."""
        if self.others is None:
            return contextlib.nullcontext()
        return self.others.watching(str(self.worker_lost("It was not heard of for too long.")))

    def sum_over_workers(self, values: Any) -> np.ndarray:
        """See `Cluster.sum_over_workers`; JAX computes it in 32 bits."""
        values = np.asarray(values)
        if self.workers == 1:
            return values
        with self.watching_workers():
            return np.asarray(multihost_utils.process_allgather(values)).sum(0)

    def broadcast(self, data: bytes) -> bytes:
        """See `Cluster.broadcast`."""
        if self.workers == 1:
            return data
        with self.watching_workers():
            size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
            numbers = np.zeros(size, np.uint8)
            if self.is_chief:
                numbers[:] = np.frombuffer(data, np.uint8)
            return np.asarray(multihost_utils.broadcast_one_to_all(numbers)).tobytes()

    def sharding(self, *axes: str | None) -> NamedSharding | None:
        """Return how an array lies on the devices: "batch" for rows, nothing for copies."""
        if self.distribution is None:
            return None
        return NamedSharding(self.distribution.device_mesh.backend_mesh, PartitionSpec(*axes))
