"""Images from wherever they are: files, folders, encoded bytes, arrays."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import images as image_files
from keras_inception.errors import InputError


def sources(source: Any) -> Iterator[tuple[str, Any]]:
    """Yield the images of a source one by one, each with a name, none of them read yet.

    Args:
        source: an image file; a folder, whose images at any depth are taken in the order of their
            names; encoded bytes; an array (height, width, 3) or (images, height, width, 3); or an
            iterable of any of these, which is gone through only as far as needed.

    Yields:
        The name (the path, or "image 1", "image 2", ... for what has none) and the path, bytes or
        array; for an item of an iterable that is none of these the `InputError` that says so, which
        `pixels` raises.

    Raises:
        InputError: if the source itself is a folder without images, or nothing of the kind.
    """
    for number, (name, image) in enumerate(_flat(source), 1):
        yield name or f"image {number}", image


def pixels(image: str | os.PathLike | bytes | bytearray | np.ndarray | InputError) -> np.ndarray:
    """Return the pixels of one image that `sources` gave.

    Returns:
        (height, width, 3), uint8 from files and bytes; arrays as they are.

    Raises:
        InputError: if it is broken, or no image; says why.
        OSError: if the file cannot be read.
    """
    if isinstance(image, InputError):
        raise image
    if isinstance(image, str | os.PathLike):
        return _decoded(_content(Path(image)))
    if isinstance(image, bytes | bytearray | memoryview):
        return _decoded(bytes(image))
    (pixels,) = _images(np.asarray(image))
    if not pixels.size:
        raise InputError(f"The image has no pixels: its shape is {pixels.shape}.")
    return pixels


def _content(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    return path.read_bytes()


def _decoded(content: bytes) -> np.ndarray:
    import tensorflow as tf

    trouble = image_files.problem(content)
    if trouble:
        raise InputError(trouble)
    try:
        with tf.device("CPU"):
            return image_files.decode_image(image_files.readable(tf.constant(content))).numpy()
    except tf.errors.OpError as error:  # what Pillow reads and TensorFlow does not
        raise InputError(error.message.splitlines()[0]) from error


def _flat(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, str | os.PathLike):
        yield from _files(Path(source))
    elif isinstance(source, bytes | bytearray | memoryview):
        yield "", bytes(source)
    elif hasattr(source, "__array__"):
        yield from (("", image) for image in _images(np.asarray(source)))
    elif isinstance(source, Iterable):
        for item in source:
            try:
                yield from _flat(item)
            except InputError as error:  # of this item; the others may be images
                yield "", error
    else:
        raise InputError(
            "Images come as paths, folders, encoded bytes, arrays, or an iterable of these; got "
            f"a {type(source).__name__}."
        )


def _images(array: np.ndarray) -> Iterable[np.ndarray]:
    if array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise InputError(
            "Images have shape (height, width, 3) or (images, height, width, 3), but got "
            f"{array.shape}."
        )
    return array if array.ndim == 4 else array[None]


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield str(path), path
        return
    endings = image_files.ENDINGS
    inside = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file()
    )
    if not inside:
        raise InputError(f"The folder {path} holds no image ({', '.join(endings)}).")
    yield from ((str(file), file) for file in inside)
