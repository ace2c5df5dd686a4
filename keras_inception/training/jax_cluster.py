"""A cluster of JAX devices, by `keras.distribution.DataParallel`."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from keras_inception.training.cluster import Cluster


@dataclass(frozen=True, eq=False, kw_only=True)
class JaxCluster(Cluster):
    """JAX devices that share a batch.

    Args:
        distribution: over all devices of all processes; None for a single device.
    """

    distribution: keras.distribution.DataParallel | None = None

    @classmethod
    def over(cls, devices: Sequence[str] | None) -> "JaxCluster":
        """Return the cluster over devices such as "gpu:0"; None takes all of all processes."""
        devices = list(devices or keras.distribution.list_devices())
        if len(devices) == 1:
            return cls()
        return cls(
            replicas=len(devices),
            workers=jax.process_count(),
            worker=jax.process_index(),
            distribution=keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False),
        )

    def scope(self) -> AbstractContextManager[Any]:
        """Return the distribution's scope."""
        return self.distribution.scope() if self.distribution else contextlib.nullcontext()

    def sum_over_workers(self, values: Any) -> np.ndarray:
        """See `Cluster.sum_over_workers`; JAX computes it in 32 bits."""
        values = np.asarray(values)
        if self.workers == 1:
            return values
        return np.asarray(multihost_utils.process_allgather(values)).sum(0)

    def broadcast(self, data: bytes) -> bytes:
        """See `Cluster.broadcast`."""
        if self.workers == 1:
            return data
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
