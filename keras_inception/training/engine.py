"""What the engines of all backends have in common: state, data, validation."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.recipes import Plan
from keras_inception.training import health
from keras_inception.training.averaging import AveragedWeights, moving_statistics
from keras_inception.training.cluster import Cluster
from keras_inception.training.losses import MAIN_HEAD, HeadLosses, SmoothedCrossentropy, main_model

BATCH_STATISTICS = ("local", "synchronized")


class Engine:
    """Makes the steps of a training; a subclass for each backend. Made in `cluster.scope()`.

    Args:
        model: the model, compiled with the optimizer of the plan.
        losses: of its heads.
        plan: recipe, images, batch.
        cluster: where it runs.

    Raises:
        InputError: if the batch does not divide by the replicas, or the precision is float16.
    """

    def __init__(
        self, model: keras.Model, losses: HeadLosses, plan: Plan, cluster: Cluster
    ) -> None:
        _check(model, plan, cluster)
        self.model = model
        self.cluster = cluster
        self.plan = plan
        self.losses = losses
        self.plain_loss = SmoothedCrossentropy(0.0, losses.from_logits).call
        self.main_model = main_model(model)
        self.forward = health.with_features(model)
        self.classes = self.main_model.output.shape[-1]
        self.optimizer = model.optimizer
        self.optimizer.build(self.forward.trainable_variables)
        decay = plan.recipe.average_decay
        self.averages = None if decay is None else AveragedWeights(model, decay)
        self.statistics = moving_statistics(model)
        self.watched = [*model.trainable_variables, *self.statistics]

    @property
    def seeds(self) -> list[keras.Variable]:
        """States of the dropout layers' random generators."""
        return [v for v in self.model.variables if v.name == "seed_generator_state"]

    @property
    def state(self) -> dict[str, keras.Variable]:
        """Every variable that a training must store to go on exactly, by a unique name."""
        groups = {
            "model": self.model.weights,
            "seed": self.seeds,
            "optimizer": self.optimizer.variables,
            "average": self.averages.variables if self.averages else [],
        }
        return {
            f"{group}/{i:04d}/{variable.path}": variable
            for group, variables in groups.items()
            for i, variable in enumerate(variables)
        }

    def start(self) -> None:
        """Prepare for the first step; called once, after any restoring."""

    def batches(self, train: Any, epoch: int, first_step: int) -> Iterator[Any]:
        """Iterate over the global batches of an epoch, from a step on, ready for `train_step`."""
        raise NotImplementedError

    def train_step(self, batch: Any, interrupted: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Make one step.

        Args:
            batch: of `batches`.
            interrupted: whether this process was asked to stop.

        Returns:
            Means over the global batch, (loss, accuracy, share of live features, share of
            interrupted processes), and the vector of `health.failed_checks`.

        Raises:
            WorkerLostError: if another process is gone.
        """
        raise NotImplementedError

    def evaluate(self, dataset: Any) -> dict[str, float]:
        """Score the main head on every image once, with the weights that the model holds.

        Args:
            dataset: of (images, labels) batches; only the last may be smaller.

        Returns:
            "loss" (cross-entropy, not smoothed), "accuracy" and, for more than 5 classes,
            "top5_accuracy".

        Raises:
            InputError: if there are no images, or a label is not one of the model's classes.
            WorkerLostError: if another process is gone.
        """
        count, loss, top1, top5 = self.validation_totals(dataset)
        if count == 0:
            raise InputError("The validation data has no images.")
        scores = {"loss": loss / count, "accuracy": top1 / count}
        return scores | ({"top5_accuracy": top5 / count} if self.classes > 5 else {})

    def validation_totals(self, dataset: Any) -> np.ndarray:
        """Return number of images, sum of losses, hits and hits among 5, of all processes."""
        raise NotImplementedError

    def epoch_dataset(self, train: Any, epoch: int, first_step: int) -> Any:
        """Return the part of an epoch's batches that this process gets.

        Raises:
            InputError: if their number is known and wrong.
        """
        shard = (self.cluster.worker, self.cluster.workers)
        dataset = train.epoch(epoch, first_step, shard=shard)
        left, needed = int(dataset.cardinality()), self.plan.steps_per_epoch - first_step
        if left >= 0 and left != needed:
            raise InputError(
                f"The training data has {left} batches from step {first_step} of epoch {epoch} on; "
                f"its {self.plan.steps_per_epoch} steps an epoch need {needed}."
            )
        return dataset

    def padded_batches(self, dataset: Any, multiple: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Iterate over (images, labels, weights), all of one size that divides by `multiple`.

        Rows that fill a batch up have the weight 0.

        Raises:
            InputError: if a label is not one of the model's classes.
        """
        rows = 0
        for images, labels in dataset.as_numpy_iterator():
            health.check_labels(labels, self.classes)
            rows = max(rows, len(images) + -len(images) % multiple)
            missing = (0, rows - len(images))
            weights = np.pad(np.ones(len(images), np.float32), missing)
            labels = np.pad(np.reshape(labels, -1), missing)
            yield np.pad(images, [missing, *[(0, 0)] * 3]), labels, weights

    def batch_totals(self, images: Any, labels: Any, weights: Any) -> Any:
        """Return the four totals of some images, in the backend's arithmetic."""
        predicted = self.main_model(images, training=False)
        _, best = keras.ops.top_k(predicted, min(5, self.classes))
        hits = keras.ops.equal(best, keras.ops.cast(labels, best.dtype)[:, None])
        per_image = [
            keras.ops.ones_like(weights),
            self.plain_loss(labels, predicted),
            hits[:, 0],
            keras.ops.any(hits, axis=-1),
        ]
        sums = [keras.ops.sum(keras.ops.cast(one, "float32") * weights) for one in per_image]
        return keras.ops.stack(sums)

    def report(self, images: Any, labels: Any, loss: Any, outputs: Any, interrupted: Any) -> tuple:
        """Return the two vectors of `train_step`, for one replica's rows."""
        predicted = keras.ops.argmax(outputs["heads"][MAIN_HEAD], axis=-1)
        labels = keras.ops.reshape(labels, (-1,))
        hits = keras.ops.equal(predicted, keras.ops.cast(labels, predicted.dtype))
        accuracy = keras.ops.mean(keras.ops.cast(hits, "float32"))
        loss32 = keras.ops.cast(loss, "float32")
        means = keras.ops.stack([loss32, accuracy, health.alive_share(outputs), interrupted])
        return means, health.failed_checks(images, labels, self.classes, loss, self.watched)


def check_batch_statistics(batch_statistics: str) -> None:
    """Refuse what is not one of `BATCH_STATISTICS`.

    Raises:
        InputError: names the choices.
    """
    if batch_statistics not in BATCH_STATISTICS:
        raise InputError(
            f"batch_statistics must be one of {', '.join(BATCH_STATISTICS)}, "
            f"not {batch_statistics!r}."
        )


def _check(model: keras.Model, plan: Plan, cluster: Cluster) -> None:
    if plan.global_batch_size % cluster.replicas:
        raise InputError(
            f"The global batch of {plan.global_batch_size} images does not divide by the "
            f"{cluster.replicas} replicas. Choose a multiple of {cluster.replicas}."
        )
    half = [each.name for each in model._flatten_layers() if each.compute_dtype == "float16"]
    if half:
        raise InputError(
            f"{model.name} computes in float16 ({half[0]}, {len(half)} layers in all), which needs "
            "a scaled loss; fit does not scale it. Build the model in mixed_bfloat16: "
            'keras.config.set_dtype_policy("mixed_bfloat16").'
        )
