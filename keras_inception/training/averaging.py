"""Running average of the weights, and batch statistics that are alike on all replicas."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inception.errors import InputError


def batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the batch-norm layers of a model, those of nested models included, in order."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]


def moving_statistics(model: keras.Model) -> list[keras.Variable]:
    """Return the moving means and variances that training moves: those of unfrozen layers."""
    return [
        statistic
        for layer in batch_norm_layers(model)
        if layer.trainable
        for statistic in layer.non_trainable_variables
    ]


def sync_state(model: keras.Model) -> None:
    """Let the variables hold what they are after this step: in `fit` on JAX they hold nothing."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def share_statistics(statistics: Sequence[keras.Variable]) -> None:
    """Replace each replica's moving statistics by their mean over the replicas.

    To be called in the replica context of a `tf.distribute` strategy, in every step: Keras moves
    the statistics of each replica on their own, and saves those of the first. All travel in one
    all-reduce.
    """
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if not statistics or replica.num_replicas_in_sync == 1:
        return
    joined = tf.concat([tf.reshape(tf.cast(s, tf.float32), [-1]) for s in statistics], axis=0)
    joined = replica.all_reduce(tf.distribute.ReduceOp.MEAN, joined)
    parts = tf.split(joined, [int(np.prod(s.shape)) for s in statistics])
    for statistic, part in zip(statistics, parts, strict=True):
        statistic.assign(tf.reshape(part, statistic.shape))


class AveragedWeights:
    """Running average of everything that training moves, as in the authors' release.

    After the n-th step every average moves towards the weight with the decay
    min(decay, (1 + n) / (10 + n)). The moving statistics of batch normalisation are averaged like
    the weights. Averages are float32 and start as copies of the weights.

    Create it where the model was created (inside `strategy.scope()`).

    Args:
        model: a built model; what is trainable now is averaged.
        decay: the largest decay, at least 0 and below 1.

    Raises:
        InputError: if the decay is outside its range.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"The decay of the average must be in [0, 1), not {decay!r}.")
        self.decay = decay
        self.weights = [*model.trainable_variables, *moving_statistics(model)]
        self.averages = [
            keras.Variable(
                weight.numpy().astype("float32"),
                trainable=False,
                name=f"{weight.name}_average",
            )
            for weight in self.weights
        ]
        self.updates = keras.Variable(0, dtype="int32", trainable=False, name="average_updates")

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that must be stored to go on later."""
        return [self.updates, *self.averages]

    def update(self) -> None:
        """Move the averages after a step; under a strategy, call it in the replica context."""
        self.updates.assign_add(1)
        updates = ops.cast(self.updates, "float32")
        rate = ops.maximum(1 - self.decay, 9 / (10 + updates))  # 1 - (1 + n) / (10 + n)
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign_add(rate * (ops.cast(weight, "float32") - average))

    def swap_in(self) -> list[np.ndarray]:
        """Put the averages into the model; return copies of the weights for `swap_out`."""
        raw = [np.array(weight.numpy()) for weight in self.weights]
        for weight, average in zip(self.weights, self.averages, strict=True):
            weight.assign(average.numpy())
        return raw

    def swap_out(self, raw: Sequence[np.ndarray]) -> None:
        """Put the weights that `swap_in` returned back, bit by bit."""
        for weight, value in zip(self.weights, raw, strict=True):
            weight.assign(value)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Hold the averages in the model for the length of a `with` block."""
        raw = self.swap_in()
        try:
            yield
        finally:
            self.swap_out(raw)


class WeightAveraging(keras.callbacks.Callback):
    """Running average of the weights for plain `model.fit`, on one device or a MirroredStrategy.

    Validation during `fit` sees the averaged weights, training goes on with the raw ones, and
    after `fit` the model holds the raw ones. `with callback.swapped(): ...` lends the averages.
    Under a strategy it also makes the batch statistics alike on all replicas after every step.

    Args:
        decay: the largest decay, see `AveragedWeights`.

    Raises:
        InputError: at the start of `fit`, if the model was compiled with `steps_per_execution`
            above 1, which would hide steps from the average.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.averages: AveragedWeights | None = None
        self._raw: list[np.ndarray] | None = None
        self._training = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Create the averages, unless an earlier `fit` did."""
        if getattr(self.model, "steps_per_execution", 1) > 1:
            raise InputError(
                "The running average needs to see every step: compile with steps_per_execution=1, "
                f"not {self.model.steps_per_execution}."
            )
        if self.averages is None:
            with _scope(self.model):
                self.averages = AveragedWeights(self.model, self.decay)
            self._update = _on_replicas(self.model, self.averages.update)
        self._training = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Move the averages."""
        sync_state(self.model)
        self._update()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Put the averages into the model for the validation inside `fit`."""
        if self._training:
            self._raw = self.averages.swap_in()

    def on_test_end(self, logs: dict | None = None) -> None:
        """Put the raw weights back."""
        if self._raw is not None:
            self.averages.swap_out(self._raw)
            self._raw = None

    def on_train_end(self, logs: dict | None = None) -> None:
        """Note that validation from now on is the user's own."""
        self._training = False

    def swapped(self) -> contextlib.AbstractContextManager[None]:
        """Hold the averages in the model for the length of a `with` block."""
        return self.averages.swapped()


class SharedStatistics(keras.callbacks.Callback):
    """Makes the batch statistics alike on all replicas of a MirroredStrategy after every step.

    For plain `model.fit` without `WeightAveraging`, which does the same. On a single device there
    is nothing to do.
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Prepare, unless there is but one copy."""
        self._share = None
        tensorflow = keras.backend.backend() == "tensorflow"
        if tensorflow and self.model.distribute_strategy.num_replicas_in_sync > 1:
            self._share = _on_replicas(self.model, lambda: None)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Share."""
        if self._share is not None:
            self._share()


def _scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return model.distribute_strategy.scope()


def _on_replicas(model: keras.Model, update: Callable[[], None]) -> Callable[[], Any]:
    """Return a function that shares the batch statistics, then updates, on every replica."""
    if keras.backend.backend() != "tensorflow":
        return update
    import tensorflow as tf

    statistics = moving_statistics(model)

    def replica_update():
        share_statistics(statistics)
        update()

    return tf.function(lambda: model.distribute_strategy.run(replica_update), autograph=False)
