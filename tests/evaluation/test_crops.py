"""The crops against the GoogLeNet paper's text, carried out with NumPy and Pillow."""

import numpy as np
import pytest
from PIL import Image

from keras_inception.errors import InputError
from keras_inception.evaluation import crops as cut
from keras_inception.evaluation.crops import stream

PAPER_SIDES = (256, 288, 320, 352)
SHAPES = {"landscape": (150, 201), "portrait": (500, 375), "square": (300, 300)}


def photograph(height, width, seed=0):
    """A smooth picture with some noise, so that neither edges nor areas are missing."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC), np.int64)
    return np.clip(smooth + random.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def resize_rounded(image, width, height):
    """With Pillow, in a file's whole grey levels."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR))


def resize_exactly(image, width, height):
    """With Pillow, channel by channel in floating point."""
    channels = [
        Image.fromarray(image[..., c].astype(np.float32)).resize((width, height), Image.BILINEAR)
        for c in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def squares_of(image, side, positions, resize):
    """Resize the shorter side to `side`; cut the squares at `positions`, in order."""
    height, width = image.shape[:2]
    if height <= width:
        image = resize(image, round(width * side / height), side)
        return [image[:, start : start + side] for start in starts(image.shape[1], side, positions)]
    image = resize(image, side, round(height * side / width))
    return [image[start : start + side] for start in starts(image.shape[0], side, positions)]


def starts(length, side, positions):
    places = {"first": 0, "middle": (length - side) // 2, "last": length - side}
    return [places[position] for position in positions]


def corners_and_centre(square, size):
    end, middle = len(square) - size, (len(square) - size) // 2
    places = [(0, 0), (0, end), (end, 0), (end, end), (middle, middle)]
    return [square[top : top + size, left : left + size] for top, left in places]


def as_the_paper_says(image, size, sides, resize):
    """4 scales x 3 squares x (4 corners, centre, square resized) x 2 mirrors."""
    crops = []
    for side in sides:
        for square in squares_of(image, side, ("first", "middle", "last"), resize):
            crops += [*corners_and_centre(square, size), resize(square, size, size)]
    return np.stack(crops + [crop[:, ::-1] for crop in crops]).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_144_crops_are_those_of_the_paper(shape):
    image = photograph(*shape)
    ours = cut(image, 224, 144).numpy()
    assert ours.shape == (144, 224, 224, 3)
    exact = as_the_paper_says(image, 224, PAPER_SIDES, resize_exactly)
    np.testing.assert_allclose(ours, exact, atol=0.01)
    # In a file's whole grey levels each resizing adds an error of up to one level.
    rounded = as_the_paper_says(image, 224, PAPER_SIDES, resize_rounded)
    difference = np.abs(np.rint(ours) - rounded)
    resized_twice = np.arange(144) % 6 == 5
    assert difference[~resized_twice].max() <= 1
    assert difference[resized_twice].max() <= 2


def test_scales_keep_their_proportion_to_the_crop():
    image = photograph(120, 90)
    exact = as_the_paper_says(image, 299, (342, 384, 427, 470), resize_exactly)
    np.testing.assert_allclose(cut(image, 299, 144), exact, atol=0.01)


def test_scales_can_be_chosen():
    image = photograph(80, 111)
    scales = [side / 60 for side in (60, 75, 81, 90)]
    exact = as_the_paper_says(image, 60, (60, 75, 81, 90), resize_exactly)
    np.testing.assert_allclose(cut(image, 60, 144, scales=scales), exact, atol=0.01)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_10_and_12_crops_are_the_first_scales_centre_square(shape):
    image = photograph(*shape)
    (square,) = squares_of(image, 256, ["middle"], resize_exactly)
    five = corners_and_centre(square, 224)
    six = [*five, resize_exactly(square, 224, 224)]
    for count, views in ((10, five), (12, six)):
        expected = np.stack(views + [view[:, ::-1] for view in views])
        np.testing.assert_allclose(cut(image, 224, count), expected, atol=0.01)


def test_stream_gives_one_square_at_a_time_without_mirrors():
    image = photograph(40, 50)
    chunks = [chunk.numpy() for chunk in stream(image, 28, 144)]
    assert [chunk.shape for chunk in chunks] == [(6, 28, 28, 3)] * 12
    np.testing.assert_array_equal(np.concatenate(chunks), cut(image, 28, 144)[:72])


def test_an_image_of_one_pixel_fills_every_crop():
    crops = cut(np.full((1, 1, 3), (1, 2, 3), np.uint8), 8, 144).numpy()
    np.testing.assert_allclose(crops, np.broadcast_to([1.0, 2.0, 3.0], (144, 8, 8, 3)), atol=1e-5)


def test_unresized_integers_become_floats():
    """tf.image.resize leaves integers as they are if nothing is to be resized."""
    crops = cut(np.zeros((8, 8, 3), np.uint8), 8, 10, scales=[1.0])
    assert crops.dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crops": 11}, "No protocol has 11 crops; the papers have 1, 10, 12, 144."),
        ({"crops": 1}, "The single crop is cut by a Preprocessing"),
        ({"scales": [1.2]}, r"144 crops need 4 scales, got 1: \(1.2,\)."),
        ({"crops": 10, "scales": [0.9]}, r"must be at least 1; got \(0.9,\)."),
        ({"crops": 12, "scales": [float("nan")]}, r"must be at least 1; got \(nan,\)."),
        ({"size": 0}, "must be at least 1 pixel, got 0."),
        ({"image": np.zeros((8, 8), np.uint8)}, r"\(height, width, 3\), got the shape \(8, 8\)."),
        ({"image": np.zeros((8, 8, 4), np.uint8)}, r"got the shape \(8, 8, 4\)."),
        ({"image": np.zeros((0, 8, 3), np.uint8)}, r"got the shape \(0, 8, 3\)."),
    ],
)
def test_mistakes_are_named(arguments, message):
    arguments = {"image": np.zeros((8, 8, 3), np.uint8), "size": 4, **arguments}
    with pytest.raises(InputError, match=message):
        cut(**arguments)
