"""Unusual image files: what `tf.io` makes of them, against Pillow and NumPy."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_inception import data
from keras_inception.images import decode_crop, problem, readable
from tests.data.pictures import encoded, picture

RGB = picture(37, 50)
IMAGE = Image.fromarray(RGB)
GREY = np.asarray(IMAGE.convert("L"))
TRANSPARENT = Image.fromarray(np.dstack([RGB, 255 - GREY]))


def read(file: bytes) -> np.ndarray:
    return data.decode_image(readable(tf.constant(file))).numpy()


def with_pillow(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


ODD = {
    "JPEG": encoded(IMAGE),
    "progressive JPEG": encoded(IMAGE, progressive=True),
    "grey JPEG": encoded(IMAGE.convert("L")),
    "CMYK JPEG": encoded(IMAGE.convert("CMYK")),
    "MPO": encoded(IMAGE, "MPO", save_all=True, append_images=[IMAGE.rotate(180)], quality=95),
    "PNG": encoded(IMAGE, "PNG"),
    "palette PNG": encoded(IMAGE.quantize(16), "PNG"),
    "grey PNG": encoded(IMAGE.convert("L"), "PNG"),
    "black and white PNG": encoded(IMAGE.convert("1"), "PNG"),
    "24-bit BMP": encoded(IMAGE, "BMP"),
    "palette BMP": encoded(IMAGE.quantize(16), "BMP"),
    "grey BMP": encoded(IMAGE.convert("L"), "BMP"),
    "black and white BMP": encoded(IMAGE.convert("1"), "BMP"),
    "32-bit BMP": encoded(TRANSPARENT, "BMP"),
    "GIF": encoded(IMAGE, "GIF"),
    "GIF with a transparent colour": encoded(IMAGE.quantize(16), "GIF", transparency=3),
    "palette PNG with a transparent colour": encoded(IMAGE.quantize(16), "PNG", transparency=3),
    "WebP": encoded(IMAGE, "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_kinds_become_rgb_as_pillow_sees_them(kind):
    assert problem(ODD[kind]) is None
    pixels = read(ODD[kind])
    assert pixels.shape == (37, 50, 3) and pixels.dtype == "uint8"
    # TensorFlow's JPEG decoder is a fast, less exact one; everything else is exact.
    tolerance = 8 if kind == "MPO" or kind.endswith("JPEG") else 0
    assert np.abs(pixels.astype(int) - with_pillow(ODD[kind])).max() <= tolerance
    # The file is what it says: the picture has survived, in grey where it was made grey.
    if "black" not in kind:
        truth = GREY[..., None] if "grey" in kind else RGB
        assert np.abs(pixels.astype(int) - truth).mean() < 20


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_transparency_is_dropped(file_format):
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    np.testing.assert_array_equal(read(encoded(TRANSPARENT, file_format, **options)), RGB)


def test_16_bit_png_is_scaled():
    values = np.linspace(0, 65535, 37 * 50).reshape(37, 50).astype("uint16")
    file = encoded(Image.fromarray(values), "PNG")
    assert problem(file) is None
    assert np.abs(read(file) - values[..., None] / 257).max() <= 1


def test_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(encoded(IMAGE, exif=exif)).shape == (37, 50, 3)


def test_bmp_of_os2():
    """A header of 12 bytes, and what stands at the place of the others' bits per pixel."""
    rows = b"".join(RGB[y, :, ::-1].tobytes().ljust(152, b"\0") for y in range(36, -1, -1))
    header = struct.pack("<IHHHH", 12, 50, 37, 1, 24)
    file = b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + header + rows
    np.testing.assert_array_equal(read(file), RGB)


FRAMES = {"save_all": True, "append_images": [IMAGE.rotate(90), IMAGE.rotate(180)]}


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_animated_images_are_refused(file_format):
    file = encoded(IMAGE, file_format, **FRAMES)
    assert problem(file) == "animated, 3 frames; expected a single picture"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.5, 0.99, -2])
def test_what_the_check_passes_can_be_decoded(file_format, kept):
    whole = encoded(picture(100, 140), file_format)
    cut = whole[: kept if kept < 0 else int(len(whole) * kept)]
    if problem(cut) is None:
        assert read(cut).shape == (100, 140, 3)
    else:
        assert problem(whole) is None
    if kept == 0.5:
        assert problem(cut)


def test_damaged_png():
    """Pillow decodes it; TensorFlow would fail in the middle of training."""
    for damage in (lambda file: file[:-2], lambda file: file[:-40] + b"x" + file[-39:]):
        file = damage(encoded(IMAGE, "PNG"))
        with pytest.raises(tf.errors.InvalidArgumentError):
            read(file)
        assert problem(file)
    assert problem(encoded(IMAGE, "PNG") + b"bytes behind the end") is None


def test_pillow_reads_no_other_formats():
    assert problem(encoded(IMAGE, "TIFF")) == "not a JPEG, PNG, BMP, GIF or WebP image"


def test_decode_image_takes_pixels():
    np.testing.assert_array_equal(data.decode_image(tf.constant(RGB)), RGB)
    grey = data.decode_image(tf.constant(GREY[..., None]))
    np.testing.assert_array_equal(grey, np.repeat(GREY[..., None], 3, -1))


@pytest.mark.parametrize("kind", ["JPEG", "grey JPEG", "CMYK JPEG", "PNG", "palette BMP", "pixels"])
def test_decode_crop_is_a_part_of_the_whole(kind):
    image = tf.constant(RGB) if kind == "pixels" else readable(tf.constant(ODD[kind]))
    sizes = []

    def choose(height, width):
        sizes.append((height, width))
        return tf.constant([5, 7, 20, 30])

    crop = decode_crop(image, choose).numpy()
    assert [int(side) for side in sizes[0]] == [37, 50]
    whole = data.decode_image(image).numpy()[5:25, 7:37]
    # At a crop's border, JPEG's coarser colours are interpolated from the crop alone.
    inner = np.abs(crop.astype(int) - whole)[2:-2, 2:-2]
    assert crop.shape == (20, 30, 3) and inner.max() <= (8 if "JPEG" in kind else 0)
