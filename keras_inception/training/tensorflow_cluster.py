"""A cluster of `tf.distribute`."""

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_inception.training.cluster import Cluster

_BROADCAST_PART = 1 << 22


@dataclass(frozen=True, eq=False, kw_only=True)
class TensorFlowCluster(Cluster):
    """A `tf.distribute` strategy and the place of this process in it.

    Args:
        strategy: the strategy; TensorFlow's default one for a single device.
    """

    framework: ClassVar[str] = "TensorFlow"
    errors: ClassVar[tuple[type[Exception], ...]] = (tf.errors.OpError,)
    signs_of_loss: ClassVar[tuple[str, ...]] = ("Collective ops is aborted",)

    strategy: tf.distribute.Strategy

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy) -> "TensorFlowCluster":
        """Return the cluster of a strategy."""
        resolver = strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict() if resolver else {}
        chiefs = len(jobs.get("chief", ()))
        worker = 0
        if jobs:
            worker = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
        return cls(
            strategy=strategy,
            replicas=strategy.num_replicas_in_sync,
            workers=max(1, chiefs + len(jobs.get("worker", ()))),
            worker=worker,
        )

    def scope(self) -> AbstractContextManager[Any]:
        """Return the strategy's scope."""
        return self.strategy.scope()

    def sum_over_workers(self, values: Any) -> np.ndarray:
        """See `Cluster.sum_over_workers`."""
        values = np.asarray(values)
        if self.workers == 1:
            return values
        mine = self._per_replica(lambda i: values if i == 0 else np.zeros_like(values))
        with self.watching_workers():
            total = self._all_reduce(mine)
            return self.strategy.experimental_local_results(total)[0].numpy()

    def broadcast(self, data: bytes) -> bytes:
        """See `Cluster.broadcast`."""
        if self.workers == 1:
            return data
        size = int(self.sum_over_workers(np.float64(len(data) if self.is_chief else 0)))
        # Pairs of bytes as float32, which any device can add without rounding; parts of one size.
        part = _BROADCAST_PART
        numbers = np.zeros(-(-size // (2 * part)) * part, np.uint16)
        if self.is_chief:
            numbers.view(np.uint8)[:size] = np.frombuffer(data, np.uint8)
        for start in range(0, len(numbers), part):
            mine = numbers[start : start + part].astype(np.float32)
            numbers[start : start + part] = self.sum_over_workers(mine).astype(np.uint16)
        return numbers.view(np.uint8)[:size].tobytes()

    def split(self, batch: Sequence[np.ndarray]) -> Sequence[Any]:
        """Give each device of this process an equal part of the rows of some arrays."""
        parts = [np.split(array, self.local_replicas) for array in batch]
        return [self._per_replica(part.__getitem__) for part in parts]

    @functools.cached_property
    def _all_reduce(self):
        return tf.function(
            lambda value: self.strategy.run(_all_reduce_sum, args=(value,)), autograph=False
        )

    def _per_replica(self, value_of) -> Any:
        def value(context):
            return tf.constant(value_of(context.replica_id_in_sync_group % self.local_replicas))

        return self.strategy.experimental_distribute_values_from_function(value)


def _all_reduce_sum(value):
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))
