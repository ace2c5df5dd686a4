"""From a split to batches, for training and for evaluation."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_inception.data.splits import Split, check_seed, pipeline_options
from keras_inception.errors import InputError, unknown
from keras_inception.images import decode_image
from keras_inception.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

MODES = ("paper", "light", "none")

# GoogLeNet's paper, section 6: the size of a crop, and its width divided by its height.
AREA_RANGE = (0.08, 1.0)
ASPECT_RANGE = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The batches of every epoch. `training_batches` makes it, and says what the fields mean.

    An epoch's order and distortions depend on the seed, the epoch and the position alone, so it
    can be entered at any step, and workers that share it see the same global batches.
    """

    split: Split
    preprocessing: Preprocessing
    global_batch_size: int
    mode: str
    seed: int
    flip: bool
    area_range: tuple[float, float]
    aspect_range: tuple[float, float]

    @property
    def images(self) -> int:
        """The number of images of the split."""
        return len(self.split)

    @property
    def steps_per_epoch(self) -> int:
        """The number of global batches of an epoch: those that the images fill."""
        return self.images // self.global_batch_size

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides which images there are, in plain types, to compare two runs."""
        names = ("mode", "seed", "flip", "area_range", "aspect_range")
        return {name: getattr(self, name) for name in names} | {
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "split": self.split.digest,
        }

    def epoch(
        self, epoch: int, first_step: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Return the batches of one epoch, or of the rest of it.

        Args:
            epoch: its number, from 0.
            first_step: leave out the steps before this one; the others stay the same.
            shard: index and number of the workers. Each gets a consecutive part of every global
                batch, of `global_batch_size / number` images; joined in the order of the indices
                the parts are the global batch.

        Returns:
            A dataset of (images, labels): float32 (batch, height, width, 3) in the network's
            range, and int32 (batch,).

        Raises:
            InputError: if there is no such epoch, step or shard.
        """
        index, count = shard
        if epoch < 0:
            raise InputError(f"epoch counts from 0, but got {epoch}.")
        if not 0 <= first_step <= self.steps_per_epoch:
            raise InputError(
                f"first_step={first_step} lies outside an epoch of {self.steps_per_epoch} steps."
            )
        if not 0 <= index < count:
            raise InputError(f"shard=(index, count) needs 0 <= index < count, but got {shard}.")
        if self.global_batch_size % count:
            raise InputError(
                f"global_batch_size={self.global_batch_size} cannot be shared by {count} workers; "
                "it must be a multiple of their number."
            )
        return self._batches(epoch, 1, first_step, shard)

    def dataset(self, epochs: int) -> tf.data.Dataset:
        """Return the batches of the first epochs, one after the other, for plain `model.fit`.

        Args:
            epochs: how many; pass `steps_per_epoch=batches.steps_per_epoch` to `fit` as well.

        Raises:
            InputError: if `epochs` is less than 1.
        """
        if epochs < 1:
            raise InputError(f"epochs must be at least 1, but got {epochs}.")
        return self._batches(0, epochs, 0, (0, 1))

    def raise_if_unreadable(self, epoch: int, step: int) -> None:
        """Name the first image of a step that cannot be read, if there is one.

        It is for when the step's batch has failed: TensorFlow does not say at which image.

        Args:
            epoch: counted from 0.
            step: of the epoch, counted from 0.

        Raises:
            InputError: see `Split.raise_if_unreadable`.
        """
        first = step * self.global_batch_size
        self.split.raise_if_unreadable(self._order(epoch)[first : first + self.global_batch_size])

    def _order(self, epoch: int) -> np.ndarray:
        """Return the images of an epoch in its order."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.images)

    def _batches(
        self, first_epoch: int, epochs: int, first_step: int, shard: tuple[int, int]
    ) -> tf.data.Dataset:
        """Return the batches of consecutive epochs, each from `first_step` on."""
        import tensorflow as tf

        index, count = shard
        local = self.global_batch_size // count

        def order(epoch: np.int64) -> tuple[np.ndarray, np.ndarray]:
            """Return the positions in the epoch that are this worker's, and the images there."""
            places = np.arange(self.steps_per_epoch * self.global_batch_size)
            places = places.reshape(self.steps_per_epoch, count, local)[first_step:, index].ravel()
            return places, self._order(int(epoch))[places]

        def positions(epoch: tf.Tensor) -> tf.data.Dataset:
            flat = tf.numpy_function(order, [epoch], (tf.int64, tf.int64), stateful=False)
            places, images = (tf.ensure_shape(part, (None,)) for part in flat)
            return tf.data.Dataset.from_tensor_slices(
                (tf.fill(tf.shape(places), epoch), places, images)
            )

        steps = epochs * (self.steps_per_epoch - first_step)
        return (
            tf.data.Dataset.range(first_epoch, first_epoch + epochs)
            .flat_map(positions)
            .map(self._example, tf.data.AUTOTUNE, deterministic=True)
            .batch(local, drop_remainder=True, num_parallel_calls=tf.data.AUTOTUNE)
            .apply(tf.data.experimental.assert_cardinality(steps))
            .prefetch(tf.data.AUTOTUNE)
            .with_options(pipeline_options())
        )

    @functools.cached_property
    def _example(self) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """The function from an epoch, a place in it and an image to what is trained on.

        It is traced once, not in every epoch.
        """
        import tensorflow as tf

        from keras_inception.data import distortions

        read = self.split.reader()
        size = self.preprocessing.size
        # Everything that the evaluation does to an image except for its values.
        geometry = dataclasses.replace(
            self.preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3, channel_order="RGB"
        )

        def example(
            epoch: tf.Tensor, place: tf.Tensor, position: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            seed = tf.random.fold_in(tf.stack([tf.constant(self.seed, tf.int64), epoch]), place)
            distortion_seed, flip_seed = tf.unstack(tf.random.split(seed))
            source = read(position)
            if self.mode == "paper":
                pixels = distortions.paper(
                    source["image"],
                    distortion_seed,
                    size=size,
                    area_range=self.area_range,
                    aspect_range=self.aspect_range,
                )
            else:
                pixels = geometry(decode_image(source["image"]))
            if self.mode == "light":
                pixels = distortions.light(pixels, distortion_seed)
            if self.flip:
                pixels = distortions.mirror(pixels, flip_seed)
            image = self.preprocessing.normalize(tf.clip_by_value(pixels, 0.0, 255.0))
            return tf.ensure_shape(image, (*size, 3)), tf.cast(source["label"], tf.int32)

        return tf.function(example)


def training_batches(
    split: Split,
    *,
    preprocessing: Preprocessing,
    global_batch_size: int,
    mode: str = "paper",
    seed: int = 0,
    flip: bool | None = None,
    area_range: tuple[float, float] | None = None,
    aspect_range: tuple[float, float] | None = None,
) -> TrainingBatches:
    """Return shuffled batches of distorted images.

    Args:
        split: the images, for example `ki.data.load("digits").train`.
        preprocessing: of the network: the size and the range of values of the images.
        global_batch_size: images of a step, of all replicas and workers together. An epoch's
            last images are left out if they do not fill a batch; they are others in each epoch.
        mode: "paper": a crop of 8 to 100 % of the area with an aspect ratio of 3/4 to 4/3, resized
            by a random method, mirrored or not, with distorted colours (GoogLeNet's paper, and all
            later ones); the resizing rule of `preprocessing` is not used.
            "light": as for evaluation, then zoomed, shifted, brightened and contrasted a little:
            for small pictures that must not be mirrored, like digits.
            "none": as for evaluation.
        seed: of the order and the distortions, 0 or more.
        flip: mirror every second image, at random; None: in mode "paper" only.
        area_range: least and greatest share of the area, for mode "paper"; None: the paper's.
        aspect_range: least and greatest width / height, for mode "paper"; None: the paper's.

    Raises:
        InputError: if an argument is illegal, or the images do not fill one batch.

    Example:
        >>> from keras_inception import data
        >>> whole = Preprocessing(size=(75, 75), resize="squash", crop_fraction=1.0)
        >>> batches = data.training_batches(
        ...     data.load("digits").train, preprocessing=whole, global_batch_size=32, mode="light"
        ... )
        >>> batches.steps_per_epoch
        39
    """
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    if not 1 <= global_batch_size <= len(split):
        raise InputError(
            f"global_batch_size={global_batch_size} must lie between 1 and the {len(split)} "
            "images to train on."
        )
    check_seed(seed)
    if mode != "paper" and (area_range or aspect_range):
        raise InputError(f'area_range and aspect_range are for mode="paper", but mode is {mode!r}.')
    low, high = area_range or AREA_RANGE
    if not 0 < low <= high <= 1:
        raise InputError(f"area_range needs 0 < least <= greatest <= 1, but got {low, high}.")
    least, greatest = aspect_range or ASPECT_RANGE
    if not 0 < least <= greatest < math.inf:
        raise InputError(f"aspect_range needs 0 < least <= greatest, but got {least, greatest}.")
    return TrainingBatches(
        split=split,
        preprocessing=preprocessing,
        global_batch_size=global_batch_size,
        mode=mode,
        seed=seed,
        flip=mode == "paper" if flip is None else flip,
        area_range=(low, high),
        aspect_range=(least, greatest),
    )


def evaluation_batches(
    split: Split, *, preprocessing: Preprocessing, batch_size: int
) -> tf.data.Dataset:
    """Return batches of undistorted images: every image once, in the split's order.

    Args:
        split: the images.
        preprocessing: of the network.
        batch_size: images of a batch; the last one may have fewer.

    Returns:
        A dataset of (images, labels): float32 (batch, height, width, 3) in the network's range,
        and int32 (batch,).

    Raises:
        InputError: if `batch_size` is less than 1.
    """
    import tensorflow as tf

    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but got {batch_size}.")

    def prepare(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = preprocessing(decode_image(example["image"]))
        image = tf.ensure_shape(image, (*preprocessing.size, 3))
        return image, tf.cast(example["label"], tf.int32)

    return (
        split.examples()
        .map(prepare, tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
