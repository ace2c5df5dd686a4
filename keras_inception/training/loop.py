"""Epochs and steps: callbacks, validation, checkpoints, and stopping on a signal."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.recipes import Plan
from keras_inception.training import health
from keras_inception.training.checkpoints import Checkpoints, Progress
from keras_inception.training.failures import Interrupted
from keras_inception.training.records import MODEL_FILE, Records, save_main_model

SECONDS_BETWEEN_SAVES = 600.0  # ours: at most so much work is lost
_MEANS = ("loss", "accuracy", "alive_features")


@dataclass(kw_only=True)
class Loop:
    """Runs a training from where `progress` says it is, to its end.

    Args:
        engine: makes the steps.
        plan: how many.
        train: batches by epoch and step.
        validation: batches, or None.
        checkpoints: where they are written.
        progress: how far the training is; kept up to date.
        records: writes the history, whose rows are those of `progress`.
        checkpoint_steps: steps between checkpoints, or None for a time.
        evaluate_raw: also validate the weights that are not averaged.
    """

    engine: Any
    plan: Plan
    train: Any
    validation: Any
    checkpoints: Checkpoints
    progress: Progress
    records: Records
    checkpoint_steps: int | None
    evaluate_raw: bool
    _saved_at: float = field(default_factory=time.monotonic)
    _exported_at: float = field(default_factory=time.monotonic)

    def run(self, callbacks: Sequence[keras.callbacks.Callback], verbose: int) -> None:
        """Make all steps that are left.

        Args:
            callbacks: of the user.
            verbose: 0, 1 or 2, as for Keras.

        Raises:
            InputError, TrainingError: as `ki.training.fit`.
        """
        model, epochs = self.engine.model, self.plan.recipe.epochs
        self._callbacks = keras.callbacks.CallbackList(
            [self.records, *callbacks],
            add_history=True,
            add_progbar=verbose > 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=self.plan.steps_per_epoch,
        )
        model.stop_training = False
        self._callbacks.on_train_begin()
        with _stop_signals() as self._signals:
            while len(self.progress.rows) < epochs and not self.progress.stopped:
                self._run_epoch(len(self.progress.rows))
        self._callbacks.on_train_end()

    def _run_epoch(self, epoch: int) -> None:
        model = self.engine.model
        self._callbacks.on_epoch_begin(epoch)
        first = self.progress.step - epoch * self.plan.steps_per_epoch
        left = range(first, self.plan.steps_per_epoch)
        batches = self.engine.batches(self.train, epoch, first) if left else iter(())
        for index in left:
            self._callbacks.on_train_batch_begin(index)
            self._step(batches, index)
            if model.stop_training and self.engine.cluster.workers == 1:
                break
        logs = self._means(epoch) | self._validate()
        logs["learning_rate"] = self.plan.learning_rate(epoch * self.plan.steps_per_epoch)
        self._callbacks.on_epoch_end(epoch, logs)
        self.progress.sums = [0.0] * len(_MEANS)
        stops, exports = self._wishes()
        self.progress.stopped = self.plan.recipe.epochs if stops else 0
        self._save()
        if exports:
            self._export()

    def _wishes(self) -> tuple[bool, bool]:
        """Return whether to stop, as any process may wish, and to export, as the first one says.

        Exporting, all processes act together: each by its own clock, they would not.
        """
        cluster = self.engine.cluster
        due = time.monotonic() - self._exported_at > SECONDS_BETWEEN_SAVES
        wishes = [self.engine.model.stop_training, cluster.is_chief and due]
        stops, exports = cluster.sum_over_workers(np.array(wishes, np.float64))
        return bool(stops), bool(exports)

    def _step(self, batches: Iterator[Any], index: int) -> None:
        try:
            batch = next(batches)
        except StopIteration:
            raise InputError(
                f"The training data ended after {index} of {self.plan.steps_per_epoch} steps."
            ) from None
        except Exception:  # of tf.data, which does not name the image that it cannot read
            if hasattr(self.train, "raise_if_unreadable"):
                self.train.raise_if_unreadable(len(self.progress.rows), index)
            raise
        means, failed = self.engine.train_step(batch, interrupted=self._signals.received)
        *values, interrupted = means.tolist()
        self.progress.step += 1
        health.raise_if_failed(failed, self.engine.watched, self.progress.step)
        self.progress.dead_steps = self.progress.dead_steps + 1 if values[-1] == 0 else 0
        health.raise_if_dead(self.progress.dead_steps, self.progress.step)
        pairs = zip(self.progress.sums, values, strict=True)
        self.progress.sums = [total + value for total, value in pairs]
        self._callbacks.on_train_batch_end(index, self._means(len(self.progress.rows)))
        if interrupted or (self._signals.received and self.engine.cluster.workers == 1):
            self._save()
            raise Interrupted(
                f"Stopped by a signal after step {self.progress.step}; it is saved. Start again "
                "to go on from there."
            )
        if self._is_due():
            self._save()

    def _means(self, epoch: int) -> dict[str, float]:
        """Mean of each value over the steps of the epoch so far."""
        steps = self.progress.step - epoch * self.plan.steps_per_epoch
        pairs = zip(_MEANS, self.progress.sums, strict=True)
        return {name: total / steps for name, total in pairs}

    def _validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        self._callbacks.on_test_begin()
        averages = self.engine.averages
        with averages.swapped() if averages else contextlib.nullcontext():
            scores = {f"val_{k}": v for k, v in self.engine.evaluate(self.validation).items()}
        if self.evaluate_raw:
            raw = self.engine.evaluate(self.validation)
            scores |= {f"raw_val_{name}": value for name, value in raw.items()}
        self._callbacks.on_test_end(scores)
        return scores

    def _is_due(self) -> bool:
        if self.checkpoint_steps is not None:
            return self.progress.step % self.checkpoint_steps == 0
        return time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES

    def _save(self) -> None:
        if self.engine.cluster.is_chief:
            self.checkpoints.save(self.progress, self.engine.state)
        self._saved_at = time.monotonic()

    def _export(self) -> None:
        """Write model.keras, so that a long training can be looked at."""
        averages = self.engine.averages
        with averages.swapped() if averages else contextlib.nullcontext():
            if self.engine.cluster.is_chief:
                save_main_model(self.engine.model, self.records.run_dir / MODEL_FILE)
        self._exported_at = time.monotonic()


@dataclass
class _Signals:
    received: bool = False


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Signals]:
    """Note the first SIGINT or SIGTERM; let the second one through. Main thread only."""
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def note(number, frame):
        if signals.received:
            raise KeyboardInterrupt
        signals.received = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not set by Python, as by TensorFlow's own
                signal.signal(number, handler)
