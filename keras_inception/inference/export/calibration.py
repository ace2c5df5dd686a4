"""Images that a quantiser watches the network on, to learn the range of every value."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from keras_inception.errors import InputError
from keras_inception.images import decode_image
from keras_inception.inference.export.network import Network
from keras_inception.preprocessing import Preprocessing

MOST_IMAGES = 256
"""How many calibration images are used at most."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Images to calibrate on.

    Attributes:
        images: one after the other: uint8 (height, width, 3) of any size, or what the network
            takes, float32.
        batch_size: of a call of the network.
    """

    images: tuple[np.ndarray, ...]
    batch_size: int

    def prepared(self, network: Network) -> list[np.ndarray]:
        """Return batches of what the network itself takes; a rest is left out."""
        return self._batches(network.preprocessing or (lambda image: image))

    def inputs(self, network: Network) -> list[np.ndarray]:
        """Return batches of what the file takes."""
        if network.inside == "none":
            return self.prepared(network)
        if network.inside == "values":
            return self._batches(_pixels(network.preprocessing))
        return [np.stack([image] * self.batch_size) for image in self.images]

    def _batches(self, prepare: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        images, size = [prepare(image) for image in self.images], self.batch_size
        return [
            np.stack(images[start : start + size])
            for start in range(0, len(images) - size + 1, size)
        ]


def _pixels(preprocessing: Preprocessing) -> Callable[[np.ndarray], np.ndarray]:
    """Return what resizes and crops likewise, but leaves pixels uint8."""
    resize = dataclasses.replace(preprocessing, mean=(0,) * 3, std=(1,) * 3, channel_order="RGB")
    return lambda image: np.round(resize(image)).astype("uint8")


def read(source: Any, network: Network) -> Calibration:
    """Read the calibration images that a user gave.

    Args:
        source: as for `export`.
        network: that will see them.

    Returns:
        At most `MOST_IMAGES` of them: evenly spread ones, since images are often sorted by class;
        of an iterable the first.

    Raises:
        InputError: if it is None or holds nothing; if the images are raw and there is no
            preprocessing, or prepared already and there is one; if there are fewer than a batch.
    """
    if source is None:
        raise InputError(
            'precision="int8" needs calibration=: some hundred images like those that the network '
            "will see (an array, an iterable of batches, or a split of keras_inception.data)."
        )
    images = tuple(itertools.islice(_images(source), MOST_IMAGES))
    size = network.batch_size or 1
    if len(images) < size:
        raise InputError(f"There are {len(images)} calibration images; expected at least {size}.")
    for image in images:
        _check(image, network)
    if network.preprocessing is None:
        images = tuple(image.astype("float32") for image in images)
    return Calibration(images, size)


def _images(source: Any) -> Iterator[np.ndarray]:
    if hasattr(source, "examples"):
        for example in source.select(_spread(len(source))).examples():
            yield decode_image(example["image"]).numpy()
    elif hasattr(source, "shape"):
        images = _batch(source)
        yield from images[_spread(len(images))]
    elif isinstance(source, Iterable):
        for batch in source:
            yield from _batch(batch[0] if isinstance(batch, tuple) else batch)
    else:
        raise InputError(
            f"calibration is {source!r}; expected an array of images, an iterable of batches, or a "
            "split of keras_inception.data."
        )


def _spread(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int)


def _batch(batch: Any) -> np.ndarray:
    batch = np.asarray(batch)
    if batch.ndim != 4:
        raise InputError(
            "Calibration images come in batches (images, height, width, channels), but got shape "
            f"{batch.shape}."
        )
    return batch


def _check(image: np.ndarray, network: Network) -> None:
    raw = image.dtype == "uint8"
    if network.preprocessing is None and raw:
        raise InputError(
            "The calibration images are raw uint8 pixels; say how they are prepared for the "
            "network with preprocessing=, or prepare them."
        )
    if network.preprocessing is not None and not raw:
        raise InputError(
            f"The calibration images are {image.dtype}, so prepared already; expected raw uint8 "
            "pixels, which the given preprocessing prepares."
        )
    wanted = (None, None, 3) if raw else network.input_shape[1:]
    if any(w not in (None, got) for w, got in zip(wanted, image.shape, strict=True)):
        raise InputError(
            f"A calibration image has shape {image.shape}, but {network.model.name} takes {wanted}."
        )
