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

    def some(self, count: int) -> "Calibration":
        """Return so many of the images, evenly spread, at least a batch of them."""
        chosen = _spread(len(self.images), max(count, self.batch_size))
        return dataclasses.replace(self, images=tuple(self.images[index] for index in chosen))

    def prepared(self, network: Network) -> list[np.ndarray]:
        """Return batches of what the network itself takes; a rest is left out."""
        batches = self._batches(self._prepare(network))
        return [batch for batch, new in batches if new == self.batch_size]

    def inputs(self, network: Network) -> list[tuple[np.ndarray, int]]:
        """Return batches of what the file takes, and how many images of each come first in it.

        Images of one size make a batch, which is filled up with the last of them.
        """
        if network.inside == "none":
            return self._batches(self._prepare(network))
        if network.inside == "values":
            return self._batches(_pixels(network.preprocessing))
        return self._batches(lambda image: image)

    def _prepare(self, network: Network) -> Callable[[np.ndarray], np.ndarray]:
        is_raw = self.images[0].dtype == "uint8"
        return network.preprocessing if is_raw else lambda image: image

    def _batches(self, prepare: Callable[[np.ndarray], np.ndarray]) -> list[tuple[np.ndarray, int]]:
        by_shape: dict[tuple[int, ...], list[np.ndarray]] = {}
        for image in map(prepare, self.images):
            by_shape.setdefault(image.shape, []).append(np.asarray(image))
        size, batches = self.batch_size, []
        for alike in by_shape.values():
            for start in range(0, len(alike), size):
                new = alike[start : start + size]
                batches.append((np.stack(new + new[-1:] * (size - len(new))), len(new)))
        return batches


def _pixels(preprocessing: Preprocessing) -> Callable[[np.ndarray], np.ndarray]:
    """Return what resizes and crops likewise, but leaves pixels uint8."""
    resize = dataclasses.replace(preprocessing, mean=(0,) * 3, std=(1,) * 3, channel_order="RGB")
    return lambda image: np.round(resize(image)).astype("uint8")


def read(source: Any, network: Network, *, raw_only: bool) -> Calibration:
    """Read the calibration images that a user gave.

    Args:
        source: as for `export`.
        network: that will see them.
        raw_only: whether they have to be raw, because the user said how they are prepared.

    Returns:
        At most `MOST_IMAGES` of them: evenly spread ones, since images are often sorted by class;
        of an iterable the first.

    Raises:
        InputError: if it is None or holds nothing; if the images are raw and there is no
            preprocessing, or prepared already where they have to be raw; if some are raw and some
            not, or there are fewer than a batch.
    """
    if source is None:
        raise InputError(
            "precision='int8' needs calibration= to be given: some hundred images like those that "
            "the network will see (an array, an iterable of batches, or a split of "
            "keras_inception.data)."
        )
    images = tuple(itertools.islice(_images(source), MOST_IMAGES))
    size = network.batch_size or 1
    if len(images) < size:
        raise InputError(f"There are {len(images)} calibration images; expected at least {size}.")
    for image in images:
        _check(image, network, raw_only)
    if len({image.dtype == "uint8" for image in images}) == 2:
        raise InputError("Some calibration images are raw uint8 pixels and some are not.")
    if images[0].dtype != "uint8":
        images = tuple(image.astype("float32") for image in images)
    return Calibration(images, size)


def _images(source: Any) -> Iterator[np.ndarray]:
    if hasattr(source, "examples"):
        for example in source.select(_spread(len(source), MOST_IMAGES)).examples():
            yield decode_image(example["image"]).numpy()
    elif hasattr(source, "shape"):
        images = _batch(source)
        yield from images[_spread(len(images), MOST_IMAGES)]
    elif isinstance(source, Iterable):
        for batch in source:
            yield from _batch(batch[0] if isinstance(batch, tuple) else batch)
    else:
        raise InputError(
            f"calibration is {source!r}; expected an array of images, an iterable of batches, or a "
            "split of keras_inception.data."
        )


def _spread(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def _batch(batch: Any) -> np.ndarray:
    batch = np.asarray(batch)
    if batch.ndim != 4:
        raise InputError(
            "Calibration images come in batches (images, height, width, channels), but got shape "
            f"{batch.shape}."
        )
    return batch


def _check(image: np.ndarray, network: Network, raw_only: bool) -> None:
    raw = image.dtype == "uint8"
    if network.preprocessing is None and raw:
        raise InputError(
            "The calibration images are raw uint8 pixels; say how they are prepared for the "
            "network with preprocessing=, or prepare them."
        )
    if not raw and (raw_only or network.inside != "none"):
        raise InputError(
            f"The calibration images are {image.dtype}, so prepared already; expected raw uint8 "
            "pixels, which the given preprocessing prepares."
        )
    wanted = (None, None, 3) if raw else network.model.input_shape[1:]
    if any(w not in (None, got) for w, got in zip(wanted, image.shape, strict=True)):
        raise InputError(
            f"A calibration image has shape {image.shape}, but {network.model.name} takes {wanted}."
        )
