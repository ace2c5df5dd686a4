"""Image files: which are readable, and how they become RGB pixels.

JPEG, PNG, BMP, GIF and WebP are told apart by their content, whatever their names say.

- Grey and palette images become RGB. CMYK becomes RGB; colour profiles are ignored.
- Transparency is dropped: the colours beneath it count.
- Of 16 bits per channel the upper 8 are used.
- The orientation that a camera noted (EXIF) is ignored, as in `tf.io` and in Keras's own loader, so
  that a picture is the same from a folder, a record or a server. Turn such pictures upright first.
- An image with several frames is refused.
"""

from __future__ import annotations

import io
import itertools
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from keras_inception.errors import InputError, import_extra

if TYPE_CHECKING:
    import tensorflow as tf

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_SUSPECTS = (b"BM", b"GI", b"RI")  # how BMP, GIF and WebP files begin
_PLAIN_BMP = b"\x18\x00\x00\x00\x00\x00"  # 24 bits per pixel, no compression; at byte 28
_SHOWN = 5  # broken images that an error names
_GRAPH_NOISE = re.compile(r"\{\{.*?\}\}| \[Op:.*")  # where in a graph an error came up

T = TypeVar("T")


def decode_image(image: tf.Tensor) -> tf.Tensor:
    """Return an example's image as RGB pixels.

    Args:
        image: an encoded file (scalar string), or pixels (height, width, 1 or 3) uint8.

    Returns:
        uint8 tensor (height, width, 3).
    """
    import tensorflow as tf

    if image.dtype == tf.string:
        pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
    else:
        pixels = tf.broadcast_to(image, tf.concat([tf.shape(image)[:2], [3]], 0))
    return tf.ensure_shape(pixels, (None, None, 3))


def decode_crop(image: tf.Tensor, choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Return a part of an example's image; of a JPEG, nothing else is decoded.

    Args:
        image: as for `decode_image`.
        choose: takes the image's height and width (scalar int32), returns the crop: top, left,
            height and width (int32 tensor (4,)).

    Returns:
        uint8 tensor (height, width, 3).
    """
    import tensorflow as tf

    def from_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)
        return tf.io.decode_and_crop_jpeg(image, choose(shape[0], shape[1]), channels=3)

    def from_pixels() -> tf.Tensor:
        pixels = decode_image(image)
        shape = tf.shape(pixels)
        top, left, height, width = tf.unstack(choose(shape[0], shape[1]))
        return pixels[top : top + height, left : left + width]

    if image.dtype != tf.string:
        return from_pixels()
    pixels = tf.cond(tf.io.is_jpeg(image), from_jpeg, from_pixels)
    return tf.ensure_shape(pixels, (None, None, 3))


def readable(data: tf.Tensor) -> tf.Tensor:
    """Return an encoded image (scalar string) such that `tf.io.decode_image` reads it rightly.

    That takes the palette of a BMP for grey values, knows only some depths of BMP, decodes what is
    transparent in a GIF to another colour, and fails on a WebP with transparency: Pillow rewrites
    these as plain BMPs. Everything else stays as it is. What Pillow cannot read becomes empty, so
    that it is the decoding that fails, where the image's name is known.
    """
    import tensorflow as tf

    def rewrite() -> tf.Tensor:
        return tf.numpy_function(_plain, [data], tf.string, stateful=False)

    suspects = tf.reduce_any(tf.strings.substr(data, 0, 2) == _SUSPECTS)
    data = tf.cond(suspects, rewrite, lambda: data)
    return tf.ensure_shape(data, ())


def problem(data: bytes) -> str | None:
    """Return what is wrong with an encoded image, or None. JPEGs are decoded at 1/8 of their size.

    Raises:
        MissingExtra: if Pillow is not installed.
    """
    pillow = import_extra("PIL.Image", "train")
    try:
        with pillow.open(io.BytesIO(data), formats=_FORMATS) as image:
            # MPO is a JPEG with another view behind it, which TensorFlow does not see.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if frames > 1:
                return f"animated, {frames} frames; expected a single picture"
            image.draft("RGB", (1, 1))
            image.load()
            if image.format == "PNG":  # TensorFlow minds checksums and a missing end, `load` not
                pillow.open(io.BytesIO(data)).verify()
                if not 0 < data.rfind(b"IEND") <= len(data) - 8:
                    return "a truncated PNG"
    except pillow.UnidentifiedImageError:
        return "not a JPEG, PNG, BMP, GIF or WebP image" if data else "an empty file"
    except Exception as error:  # Pillow raises what its decoders happen to raise on broken data
        return " ".join(str(error).split()) or type(error).__name__
    return None


def cannot_read(name: str, error: tf.errors.OpError) -> InputError:
    """Return the error for an image that TensorFlow failed to read or decode.

    Args:
        name: of the image.
        error: what TensorFlow raised.
    """
    reason = error.message.splitlines()[0] if error.message else type(error).__name__
    reason = _GRAPH_NOISE.sub("", reason).strip().rstrip(".")
    return InputError(
        f"The image {name} cannot be read: {reason}. Mend or remove it; of a folder or of TFRecord "
        "files, skip_broken=True leaves such images out."
    )


def in_threads(function: Callable[[int], T], count: int) -> list[T]:
    """Return `function(0)` to `function(count - 1)`, computed in parallel."""
    threads = min(32, 2 * (os.cpu_count() or 1))
    stride = -(-count // (16 * threads)) or 1  # some turns for each, but not millions of tasks

    def turn(start: int) -> list[T]:
        return [function(i) for i in range(start, min(start + stride, count))]

    with ThreadPoolExecutor(threads) as pool:
        turns = pool.map(turn, range(0, count, stride))
        return list(itertools.chain.from_iterable(turns))


def without_broken(
    names: list[str], problems: list[str | None], where: str, skip_broken: bool
) -> np.ndarray:
    """Return which images are sound, or raise.

    Args:
        names: of all images.
        problems: what is wrong with each, or None.
        where: what to call the dataset in the error.
        skip_broken: leave broken images out instead of raising.

    Returns:
        Boolean array (images,).

    Raises:
        InputError: if an image is broken and `skip_broken` is False, or all are; names the first.
    """
    broken = [f"{names[i]} ({found})" for i, found in enumerate(problems) if found]
    if broken and (not skip_broken or len(broken) == len(names)):
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise InputError(
            f"{where}: {len(broken)} of {len(names)} images cannot be read: "
            f"{', '.join(broken[:_SHOWN])}{more}. Mend or remove them, or leave them out with "
            "skip_broken=True."
        )
    return np.array([found is None for found in problems], bool)


def _plain(data: bytes | np.ndarray) -> bytes:
    """Return an opaque WebP or a plain BMP as it is, any other image as a plain BMP."""
    data = np.asarray(data, object).item()  # eagerly, TensorFlow wraps it in an array
    if data.startswith(b"BM") and data[28:34] == _PLAIN_BMP:
        return data
    pillow = import_extra("PIL.Image", "train")
    buffer = io.BytesIO()
    try:
        with pillow.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.format == "WEBP" and image.mode == "RGB":
                return data
            image.convert("RGB").save(buffer, "BMP")
    except Exception:  # Pillow raises what its decoders happen to raise on broken data
        return b""
    return buffer.getvalue()
