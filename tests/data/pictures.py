"""Small pictures, encoded and in folders, for the tests of datasets."""

import io
import itertools
from pathlib import Path

import numpy as np
from PIL import Image


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth coloured picture, so that JPEG barely changes it: uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), "uint8")
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def encoded(image: np.ndarray | Image.Image, file_format: str = "JPEG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if file_format == "JPEG":
        options = {"quality": 95} | options
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def fill(folder: Path, counts: dict[str, int], height: int = 12, width: int = 16) -> Path:
    """Write `counts[class]` JPEGs into each class folder; no two of them are equal."""
    seeds = itertools.count(1000 * len(str(folder)))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            data = encoded(picture(height, width, next(seeds)))
            (folder / name / f"{i:03d}.jpg").write_bytes(data)
    return folder


def names_of(split) -> list[str]:
    return [example["name"].decode() for example in split.examples().as_numpy_iterator()]


def labels_of(split) -> list[int]:
    return [int(example["label"]) for example in split.examples().as_numpy_iterator()]
