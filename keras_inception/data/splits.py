"""What a dataset is: class names, and three splits of numbered images.

Loading a dataset runs no TensorFlow operation: a `MultiWorkerMirroredStrategy` can be made only
before the first one, and may be made after the data are loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_inception.errors import InputError
from keras_inception.images import cannot_read, decode_image

if TYPE_CHECKING:
    import tensorflow as tf

PARTS = ("train", "validation", "test")

# What folders and files call a dataset's parts, and what we do.
PART_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}

# The shares of a dataset that comes without splits of its own; the rest is for training.
VALIDATION_SHARE = 0.10
TEST_SHARE = 0.20


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with labels, in a fixed order, each of which can be read by itself.

    Attributes:
        read: takes the number of an image (scalar int64 tensor) and returns its example, a dict:
            "image" an encoded file that `tf.io.decode_image` reads (scalar string), or pixels
            (height, width, channels) uint8; "label" scalar int64; "name" scalar string. It
            consists of TensorFlow operations, so that `tf.data` runs it in parallel.
        numbers: int64 array (images,): the numbers of this split's images, in its order.
    """

    read: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    numbers: np.ndarray

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.numbers)

    @property
    def digest(self) -> str:
        """Text that is the same for the same choice of images, and for no other."""
        numbers = np.ascontiguousarray(self.numbers, "<i8")
        return hashlib.sha256(numbers).hexdigest()[:16]

    def __repr__(self) -> str:
        """Say how many images there are."""
        return f"Split({len(self)} images)"

    def select(self, positions: np.ndarray) -> Split:
        """Return the split of the images at these positions (an integer array), in this order."""
        return Split(self.read, self.numbers[positions])

    def reader(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """Return the function from a position in this split (scalar int64) to its example."""
        import tensorflow as tf

        numbers = host_tensor(self.numbers)
        return lambda position: self.read(tf.gather(numbers, position))

    def examples(self) -> tf.data.Dataset:
        """Return the examples (see `read`), one by one, in the split's order."""
        import tensorflow as tf

        positions = tf.data.Dataset.range(len(self))
        examples = positions.map(self.reader(), tf.data.AUTOTUNE, deterministic=True)
        return examples.with_options(pipeline_options())

    def raise_if_unreadable(self, positions: Iterable[int] | None = None) -> None:
        """Name the first image that cannot be read or decoded, if there is one.

        It is for when a pipeline has failed: TensorFlow does not say at which image.

        Args:
            positions: of the images to look at, in this order; None: of all.

        Raises:
            InputError: if there is one; says why TensorFlow cannot read it.
        """
        import tensorflow as tf

        read = self.reader()
        for position in range(len(self)) if positions is None else positions:
            name = f"at position {position}"
            try:
                example = read(tf.constant(position, tf.int64))
                name = example["name"].numpy().decode("utf-8", "replace")
                decode_image(example["image"])
            except tf.errors.OpError as error:
                raise cannot_read(name, error) from error


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset for classification.

    Attributes:
        name: what it is called in reports.
        class_names: one for each label, in the order of the labels.
        train: the images to train on.
        validation: the images to watch while training.
        test: the images for the final result. Where a dataset has only two parts (ImageNet: the
            test set's labels are secret), this is `validation` itself.
        skipped: names of broken images that were left out.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    skipped: tuple[str, ...] = ()


def three_splits(
    parts: dict[str, Split], labels: np.ndarray | None, seed: int, where: str
) -> dict[str, Split]:
    """Complete what a dataset has to train, validation and test.

    Without validation and test images, 10 and 20 % of the training images become these; without
    validation images only, 10 % of the training images become these; without test images only, the
    validation images serve as both.

    Args:
        parts: "train", and "validation" and "test" if there are; none is empty.
        labels: of the training images (integer array), for shares that are equal in every class;
            None: unknown, the shares are of the whole.
        seed: of the choice of images.
        where: what to call the dataset in the error.

    Returns:
        The splits named "train", "validation" and "test".

    Raises:
        InputError: if there are too few images to split.
    """
    if "validation" in parts:
        return {"test": parts["validation"]} | parts
    shares = {"validation": VALIDATION_SHARE}
    if "test" not in parts:
        shares["test"] = TEST_SHARE
    train = parts["train"]
    chosen = stratified(np.zeros(len(train)) if labels is None else labels, shares, seed)
    empty = [name for name, positions in chosen.items() if not len(positions)]
    if empty:
        raise InputError(
            f"{where}: its {len(train)} training images are too few to set some aside for "
            f"{' and '.join(empty)}; expected {len(shares) + 1} or more of some class."
        )
    return parts | {name: train.select(positions) for name, positions in chosen.items()}


def stratified(
    labels: Sequence[int] | np.ndarray, shares: dict[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Choose positions at random, the same share of every class.

    Args:
        labels: of all images.
        shares: names and shares of the parts to be set aside. Of every class a part gets one image
            at least, unless none would be left for training.
        seed: of the choice.

    Returns:
        The positions of each part, and of the rest as "train": rising int64 arrays.
    """
    labels = np.asarray(labels)
    random = np.random.default_rng(seed)
    chosen: dict[str, list[np.ndarray]] = {"train": []} | {name: [] for name in shares}
    for label in np.unique(labels):
        positions = random.permutation(np.flatnonzero(labels == label))
        images = len(positions)
        for name, share in shares.items():
            count = min(max(1, round(share * images)), len(positions) - 1)
            chosen[name].append(positions[:count])
            positions = positions[count:]
        chosen["train"].append(positions)
    return {name: np.sort(np.concatenate(parts)) for name, parts in chosen.items()}


def check_seed(seed: int) -> None:
    """Raise `InputError` unless a seed suits both NumPy and TensorFlow."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must lie between 0 and 2**32 - 1, but got {seed}.")


def host_tensor(values: Any) -> tf.Tensor:
    """Return an eager tensor in the host's memory, also while a function is traced.

    Functions refer to such a tensor; a NumPy array would be copied into the graph of each.
    """
    import tensorflow as tf

    with tf.init_scope(), tf.device("CPU:0"):
        return tf.constant(values)


def pipeline_options() -> tf.data.Options:
    """Return the options of every pipeline: a fixed order, and no sharding behind our back."""
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
