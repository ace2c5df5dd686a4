"""The embedded default dataset: the handwritten digits that scikit-learn ships."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from keras_inception.data.splits import Dataset, Split, host_tensor, three_splits
from keras_inception.errors import import_extra

if TYPE_CHECKING:
    import tensorflow as tf

DIGITS = "digits"

_SPLIT_SEED = 0  # fixed: results on the digits can be compared whatever seed they were trained with
_BRIGHTEST = 16  # the images' values run from 0 to this


def load_digits() -> Dataset:
    """Return the 1,797 digits as 8x8x3 uint8 images, with a fixed stratified split.

    They are white on black: the test part of "Optical recognition of handwritten digits"
    (E. Alpaydin, C. Kaynak, UCI 1998), as `sklearn.datasets.load_digits` gives it.

    Raises:
        MissingExtra: if scikit-learn is not installed.
    """
    bunch = import_extra("sklearn.datasets", "train").load_digits()
    grey = np.round(bunch.images * (255 / _BRIGHTEST)).astype("uint8")
    labels = bunch.target.astype("int64")
    split = Split(_Arrays(np.repeat(grey[..., None], 3, -1), labels), np.arange(len(labels)))
    return Dataset(
        name=DIGITS,
        class_names=tuple(str(name) for name in bunch.target_names),
        **three_splits({"train": split}, labels, _SPLIT_SEED, DIGITS),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Arrays:
    """Reads images from memory (see `Split.read`): uint8 (n, h, w, 3) and int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __call__(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the example with this number."""
        import tensorflow as tf

        return {
            "image": tf.gather(host_tensor(self.images), number),
            "label": tf.gather(host_tensor(self.labels), number),
            "name": tf.strings.join([f"{DIGITS}/", tf.strings.as_string(number)]),
        }
