"""Steps on TensorFlow, alike on one device, several, and several machines."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.recipes import Plan
from keras_inception.training.averaging import batch_norm_layers, share_statistics
from keras_inception.training.engine import Engine
from keras_inception.training.losses import HeadLosses
from keras_inception.training.rematerialization import Rematerialized
from keras_inception.training.tensorflow_cluster import TensorFlowCluster

_SEED_STRIDE = 1_000_003  # between the replicas' dropout seeds


class TensorFlowEngine(Engine):
    """Runs each step on every replica of a `tf.distribute` strategy.

    Args:
        model: see `Engine`.
        losses: see `Engine`.
        plan: see `Engine`.
        cluster: see `Engine`.
        batch_statistics: "local" or "synchronized", see `ki.training.fit`.
        jit_compile: compile the step with XLA; a single device only.
        rematerialize: see `Rematerialized`.

    Raises:
        InputError: as `Engine` and `Rematerialized`; if the model was made outside the strategy's
            scope; if XLA is asked for with several replicas.
    """

    def __init__(
        self,
        model: keras.Model,
        losses: HeadLosses,
        plan: Plan,
        cluster: TensorFlowCluster,
        batch_statistics: str,
        jit_compile: bool,
        rematerialize: bool,
    ) -> None:
        _check(model, cluster, jit_compile)
        super().__init__(model, losses, plan, cluster)
        self._call = Rematerialized(self.forward) if rematerialize else self._keep_all
        self._synchronized = batch_norm_layers(model) if batch_statistics == "synchronized" else []
        self._step = self._replica_step
        if jit_compile:
            self._step = tf.function(self._step, jit_compile=True, autograph=False)
        self._train = tf.function(self._train_on_all, autograph=False)
        self._totals = tf.function(self._totals_on_all, autograph=False)

    def start(self) -> None:
        """Give each replica its own dropout masks."""
        if self.cluster.replicas == 1:
            return

        def on_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for seed in self.seeds:
                offset = tf.stack([replica * _SEED_STRIDE, 0])
                seed.assign(seed + tf.cast(offset, seed.dtype))

        tf.function(lambda: self.cluster.strategy.run(on_replica), autograph=False)()

    def batches(self, train: Any, epoch: int, first_step: int) -> Iterator[Any]:
        """See `Engine.batches`."""
        cluster = self.cluster
        dataset = self.epoch_dataset(train, epoch, first_step)
        if cluster.local_replicas > 1:
            rows = self.plan.global_batch_size // cluster.replicas
            dataset = dataset.rebatch(rows, drop_remainder=True)
        if cluster.workers > 1:
            dataset = dataset.repeat()  # else every step begins with a vote on whether data is left
        return iter(cluster.strategy.distribute_datasets_from_function(lambda _: dataset))

    def train_step(self, batch: Any, interrupted: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine.train_step`."""
        with self.cluster.watching_workers():
            means, failed = self._train(*batch, tf.constant(float(interrupted)))
            return means.numpy(), failed.numpy()

    def validation_totals(self, dataset: tf.data.Dataset) -> np.ndarray:
        """See `Engine.validation_totals`; the processes share the rows of every batch.

        All of them make the same calls: TensorFlow numbers its collectives by what was traced.
        """
        cluster = self.cluster
        totals = np.zeros(4)
        for batch in self.padded_batches(dataset, cluster.replicas):
            mine = [part[cluster.worker :: cluster.workers] for part in batch]
            totals += self._totals(*cluster.split(mine))
        return cluster.sum_over_workers(totals)

    def _train_on_all(self, *values):
        with _synchronized(self._synchronized):  # for all replicas, forwards and backwards
            results = self.cluster.strategy.run(self._step, args=values)
        return [self.cluster.strategy.experimental_local_results(r)[0] for r in results]

    def _replica_step(self, images, labels, interrupted):
        with tf.GradientTape() as tape:
            outputs = self._call(images)
            loss = self.losses.total(labels, outputs["heads"])
            share = (loss + sum(self.model.losses)) / self.cluster.replicas
        weights = self.forward.trainable_variables
        self.optimizer.apply(tape.gradient(share, weights), weights)
        share_statistics(self.statistics)
        if self.averages:
            self.averages.update()
        means, failed = self.report(images, labels, loss, outputs, interrupted)
        replica = tf.distribute.get_replica_context()
        together = replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.concat([means, failed], 0))
        return tf.split(together, [means.shape[0], failed.shape[0]])

    def _keep_all(self, images):
        return self.forward(images, training=True)

    def _totals_on_all(self, *values):
        totals = self.cluster.strategy.run(self.batch_totals, args=values)
        return tf.add_n(self.cluster.strategy.experimental_local_results(totals))


@contextlib.contextmanager
def _synchronized(layers: Sequence[keras.layers.BatchNormalization]) -> Iterator[None]:
    """Trace layers as synchronised; what is saved of them must not be, only TensorFlow reads it."""
    before = [layer.synchronized for layer in layers]
    try:
        for layer in layers:
            layer.synchronized = True
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.synchronized = value


def _check(model: keras.Model, cluster: TensorFlowCluster, jit_compile: bool) -> None:
    outside = tf.distribute.has_strategy() and not all(
        isinstance(weight.value, tf.distribute.DistributedValues) for weight in model.weights
    )
    if outside:
        raise InputError(
            "build returned a model that was made outside the strategy's scope. Let it make the "
            "model: fit(lambda: ki.InceptionV3(...), ...)."
        )
    if jit_compile and cluster.replicas > 1:
        raise InputError(
            "jit_compile=True works on a single device only: under a distribution strategy "
            f"TensorFlow fails or hangs (here: {cluster.replicas} replicas)."
        )
