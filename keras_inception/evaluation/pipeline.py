"""From a dataset's images to the batches of crops that the networks see.

The crops of all images are one stream, cut into batches of equal size: the crops of an image may
straddle batches, and the last batch is padded. Memory depends on the size of a batch, not on the
number of crops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_inception.evaluation.crops import (
    MIRRORS,
    Protocol,
    resize_shorter_side,
    square_views,
    with_mirrors,
)
from keras_inception.evaluation.examples import pixels
from keras_inception.images import cannot_read
from keras_inception.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

# Of each stage. If TensorFlow tuned the number, memory would grow with the machine. The order is
# asked for because the options of a dataset that gives it up hold for what is made of it, too.
_IN_PARALLEL = {"num_parallel_calls": 4, "deterministic": True}


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some crops, in the order of the dataset; the crops of an image follow one another.

    Attributes:
        index: int64 array (views,): the number of the image that each view is cut from; rises.
        names: bytes array (views,): the names of these images.
        labels: int64 array (views,): the labels of these images.
        inputs: for each `Preprocessing` a float32 tensor (rows, height, width, 3) for the network.
            Every batch has as many rows: views, padding, then the mirrors of both if there are.
        mirrors: 2 if there are mirrors, else 1.
    """

    index: np.ndarray
    names: np.ndarray
    labels: np.ndarray
    inputs: tuple[tf.Tensor, ...]
    mirrors: int

    def fold(self, outputs: np.ndarray) -> np.ndarray:
        """Average each view with its mirror, drop the padding: (rows, c) -> (views, c)."""
        halves = outputs.reshape(self.mirrors, -1, outputs.shape[-1])
        return halves.mean(axis=0)[: len(self.index)]


def batches(
    examples: tf.data.Dataset,
    preprocessing: Sequence[Preprocessing],
    protocol: Protocol | None,
    *,
    batch_size: int,
    replicas: int,
) -> Iterator[Batch]:
    """Cut the images and batch the crops.

    Args:
        examples: as `examples.examples` makes them.
        preprocessing: one for each kind of input that the networks need.
        protocol: what to cut, or None for the single crop that a `Preprocessing` makes.
        batch_size: rows of a batch, rounded up so that every replica gets as many.
        replicas: devices that share a batch.

    Yields:
        The batches.

    Raises:
        InputError: if an image cannot be decoded; names it.
    """
    import tensorflow as tf

    mirrors = MIRRORS if protocol else 1
    views = -(-batch_size // (mirrors * replicas)) * replicas

    def give_facts_to_each_view(image: dict) -> dict:
        facts = {key: image[key] for key in ("index", "name", "label")}
        count = image["inputs"][0].shape[0]
        return {**image, **{key: tf.repeat(fact, count) for key, fact in facts.items()}}

    def complete(batch: dict) -> dict:
        missing = views - tf.shape(batch["index"])[0]
        inputs = [tf.pad(rows, [[0, missing], *[[0, 0]] * 3]) for rows in batch["inputs"]]
        return {**batch, "inputs": tuple(map(with_mirrors, inputs) if protocol else inputs)}

    images = examples.map(pixels, **_IN_PARALLEL)
    if protocol:
        cut = _many_crops(images, preprocessing, protocol)
    else:
        cut = _single_crop(images, preprocessing)
    stream = cut.map(give_facts_to_each_view).rebatch(views).map(complete).prefetch(1)
    last = -1
    try:
        for batch in stream:
            facts = {key: batch[key].numpy() for key in ("index", "name", "label")}
            yield Batch(facts["index"], facts["name"], facts["label"], batch["inputs"], mirrors)
            last = facts["index"][-1]
    except tf.errors.OpError:
        _name_unreadable(examples, last)
        raise


def _single_crop(
    images: tf.data.Dataset, preprocessing: Sequence[Preprocessing]
) -> tf.data.Dataset:
    """Replace "image" by "inputs": (1, height, width, 3) for every preprocessing."""

    def cut(image: dict) -> dict:
        whole = image.pop("image")
        return {**image, "inputs": tuple(prepare(whole)[None] for prepare in preprocessing)}

    return images.map(cut, **_IN_PARALLEL)


def _many_crops(
    images: tf.data.Dataset, preprocessing: Sequence[Preprocessing], protocol: Protocol
) -> tf.data.Dataset:
    """Replace "image" by "inputs": (5 or 6, size, size, 3) for every preprocessing.

    Each image becomes as many elements as the protocol has squares. It is resized once for each
    scale and size of crop.
    """
    import tensorflow as tf

    sizes = {prepare.size[0]: None for prepare in preprocessing}
    scales = tf.data.Dataset.from_tensor_slices(np.float64(protocol.scales))
    positions = tf.data.Dataset.from_tensor_slices(np.float64(protocol.squares))

    def resize(image: dict, scale: tf.Tensor) -> dict:
        whole = image.pop("image")
        return {**image, "scaled": tuple(resize_shorter_side(whole, size, scale) for size in sizes)}

    def cut(image: dict, position: tf.Tensor) -> dict:
        views = {
            size: square_views(scaled, size, position, protocol.whole_square)
            for size, scaled in zip(sizes, image.pop("scaled"), strict=True)
        }
        inputs = tuple(prepare.normalize(views[prepare.size[0]]) for prepare in preprocessing)
        return {**image, "inputs": inputs}

    for options, stage in ((scales, resize), (positions, cut)):
        images = images.flat_map(
            lambda image, options=options: options.map(lambda option: (image, option))
        ).map(stage, **_IN_PARALLEL)
    return images


def _name_unreadable(examples: tf.data.Dataset, last: int) -> None:
    """Raise `InputError` for the first image after `last` that cannot be decoded, if any."""
    import tensorflow as tf

    name = str(last + 2)
    try:
        for example in examples.filter(lambda example: example["index"] > last):
            name = example["name"].numpy().decode("utf-8", "replace")
            pixels(example)
            name = f"after {name}"
    except tf.errors.OpError as error:
        raise cannot_read(name, error) from error
