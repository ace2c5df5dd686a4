"""Steps on JAX, on one device or on the devices of a `keras.distribution.DataParallel`."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.recipes import Plan
from keras_inception.training.averaging import batch_norm_layers
from keras_inception.training.engine import Engine
from keras_inception.training.jax_cluster import JaxCluster
from keras_inception.training.losses import HeadLosses


class JaxEngine(Engine):
    """Makes each step as one compiled function of all variables and the global batch.

    The function sees the whole batch, which JAX divides among the devices. The batch statistics
    are therefore those of the whole batch.

    Args:
        model: see `Engine`.
        losses: see `Engine`.
        plan: see `Engine`.
        cluster: see `Engine`.
        batch_statistics: "synchronized", or anything on a single device or without batch norm.

    Raises:
        InputError: as `Engine`; if local batch statistics are asked for on several devices.
    """

    def __init__(
        self,
        model: keras.Model,
        losses: HeadLosses,
        plan: Plan,
        cluster: JaxCluster,
        batch_statistics: str,
    ) -> None:
        if batch_statistics == "local" and cluster.replicas > 1 and batch_norm_layers(model):
            raise InputError(
                "On JAX the batch statistics are always those of the whole batch: pass "
                f"batch_statistics='synchronized' (here: {cluster.replicas} devices)."
            )
        super().__init__(model, losses, plan, cluster)
        self._variables = [
            self.forward.trainable_variables,
            self.forward.non_trainable_variables,
            self.optimizer.variables,
            self.averages.variables if self.averages else [],
        ]
        # Copies on all devices, whatever JAX would choose.
        copies = {} if cluster.distribution is None else {"out_shardings": cluster.sharding()}
        self._step = jax.jit(self._pure_step, **copies)
        self._totals = jax.jit(self._pure_totals, **copies)

    def batches(self, train: Any, epoch: int, first_step: int) -> Iterator[Any]:
        """See `Engine.batches`."""
        for batch in self.epoch_dataset(train, epoch, first_step).as_numpy_iterator():
            yield [self._part_of_global(array) for array in batch]

    def train_step(self, batch: Any, interrupted: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine.train_step`."""
        flags = np.full(self.cluster.local_replicas, interrupted, np.float32)
        with self.cluster.watching_workers():
            values, means, failed = self._step(self._values(), *batch, self._part_of_global(flags))
            for variables, group in zip(self._variables, values, strict=True):
                for variable, value in zip(variables, group, strict=True):
                    variable.assign(value)
            return np.asarray(means), np.asarray(failed)

    def validation_totals(self, dataset: Any) -> np.ndarray:
        """See `Engine.validation_totals`; every process reads all batches, the devices share."""
        values, totals = self._values(), np.zeros(4)
        for batch in self.padded_batches(dataset, self.cluster.replicas):
            with self.cluster.watching_workers():
                totals += np.asarray(self._totals(values, *map(self._known_to_all, batch)))
        return totals

    def _values(self) -> list[list[jax.Array]]:
        return [[variable.value for variable in group] for group in self._variables]

    def _pure_step(self, values, images, labels, flags):
        trainable, fixed, optimizer, averages = values

        def loss_of(trainable):
            outputs, moved, penalties = self.forward.stateless_call(
                trainable, fixed, images, training=True, return_losses=True
            )
            loss = self.losses.total(labels, outputs["heads"])
            return loss + sum(penalties), (loss, outputs, moved)

        grads, (loss, outputs, fixed) = jax.grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        with self._holding([trainable, fixed, optimizer, averages]) as scope:
            if self.averages:
                self.averages.update()
                averages = [scope.get_current_value(v) for v in self.averages.variables]
            means, failed = self.report(images, labels, loss, outputs, flags.mean())
        return [trainable, fixed, optimizer, averages], means, failed

    def _pure_totals(self, values, images, labels, weights):
        with self._holding(values):
            return self.batch_totals(images, labels, weights)

    def _holding(self, values: Sequence[Sequence[jax.Array]]) -> keras.StatelessScope:
        """Let the variables hold values while a function is traced."""
        pairs = [
            pair
            for variables, group in zip(self._variables, values, strict=True)
            for pair in zip(variables, group, strict=True)
        ]
        return keras.StatelessScope(state_mapping=pairs)

    def _part_of_global(self, rows: np.ndarray) -> jax.Array:
        """Join the rows of all processes to an array over all devices."""
        if self.cluster.distribution is None:
            return jax.numpy.asarray(rows)
        return jax.make_array_from_process_local_data(self.cluster.sharding("batch"), rows)

    def _known_to_all(self, rows: np.ndarray) -> jax.Array:
        """Divide rows that every process has among all devices."""
        if self.cluster.distribution is None:
            return jax.numpy.asarray(rows)
        return jax.make_array_from_callback(
            rows.shape, self.cluster.sharding("batch"), rows.__getitem__
        )
