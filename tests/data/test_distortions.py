import colorsys

import numpy as np
import pytest
import tensorflow as tf

from keras_inception.data import distortions
from keras_inception.data.batches import AREA_RANGE, ASPECT_RANGE
from tests.data.pictures import encoded, picture

RGB = picture(24, 30).astype("float32")
# Changed by one distortion, these values stay within 0..255, where saturation is well defined.
MUTED = 80 + 0.35 * RGB


def seeds(count: int) -> np.ndarray:
    return np.stack([np.arange(count), np.full(count, 7)], 1)


def over_seeds(function, count: int) -> np.ndarray:
    """The results of `function(seed)`, stacked."""
    dataset = tf.data.Dataset.from_tensor_slices(seeds(count))
    return dataset.map(function, tf.data.AUTOTUNE).batch(count).get_single_element().numpy()


def crops(height, width, area_range=AREA_RANGE, aspect_range=ASPECT_RANGE, count=2000):
    def sample(seed):
        sides = tf.constant(height), tf.constant(width)
        ranges = {"area_range": area_range, "aspect_range": aspect_range}
        return distortions.sample_crop(*sides, seed=seed, **ranges)

    return over_seeds(sample, count).T


def test_crops_keep_the_papers_ranges():
    top, left, height, width = crops(375, 500)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 375).all() and (left + width <= 500).all()
    # Sides are whole pixels: half a pixel more or less of either side.
    area = np.array([(height - 0.5) * (width - 0.5), (height + 0.5) * (width + 0.5)]) / (375 * 500)
    assert (area[1] >= 0.08).all() and (area[0] <= 1).all()
    assert ((width + 0.5) / (height - 0.5) >= 3 / 4).all()
    assert ((width - 0.5) / (height + 0.5) <= 4 / 3).all()
    # Both ends are reached.
    assert area.mean(0).min() < 0.09 and area.mean(0).max() > 0.95
    assert (width / height).min() < 0.76 and (width / height).max() > 1.32


def test_area_place_and_aspect_are_evenly_distributed():
    top, left, height, width = crops(400, 400, area_range=(0.1, 0.5), count=4000)
    for values, low, high in (
        (height * width / 400**2, 0.1, 0.5),
        (np.log(width / height), np.log(3 / 4), np.log(4 / 3)),
        (top / (400 - height), 0, 1),
        (left / (400 - width), 0, 1),
    ):
        tenths, _ = np.histogram(values, 10, (low, high))
        # 400 expected, standard deviation 19; whole pixels move a few across.
        assert np.abs(tenths - 400).max() < 90


def test_largest_central_crop_where_none_fits():
    for height, width, largest in ((10, 1000, [0, 493, 10, 13]), (1000, 10, [493, 0, 13, 10])):
        found = crops(height, width, area_range=(0.9, 1.0), count=5).T
        np.testing.assert_array_equal(found, [largest] * 5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (8, 8)])
def test_tiny_images_have_crops(size):
    top, left, height, width = crops(*size, count=200)
    assert (height >= 1).all() and (width >= 1).all() and (top >= 0).all() and (left >= 0).all()
    assert (top + height <= size[0]).all() and (left + width <= size[1]).all()


def test_paper_mode_shows_such_a_crop(monkeypatch):
    """The pixels of this image say where they come from, so that the crop can be read off."""
    monkeypatch.setattr(distortions, "distort_colours", lambda pixels, seed: pixels)
    y, x = np.mgrid[:150, :200]
    image = tf.constant(np.stack([x, y, 0 * x], -1).astype("uint8"))

    def distort(seed):
        return distortions.paper(
            image, seed, size=(40, 40), area_range=(0.2, 0.6), aspect_range=(1.0, 1.2)
        )

    results = over_seeds(distort, 200)
    # The outermost pixels lie up to half an output pixel inside of the crop's border.
    width, height = (np.ptp(results[..., channel], axis=(1, 2)) for channel in (0, 1))
    area = width * height / (150 * 200)
    assert area.min() > 0.2 * 0.92 and area.max() < 0.6 * 1.04
    assert (width / height).min() > 0.93 and (width / height).max() < 1.2 * 1.07
    assert (np.diff(results[..., 0], axis=2) >= -1).all(), "not mirrored here"


def test_all_four_methods_are_used_alike(monkeypatch):
    monkeypatch.setattr(distortions, "distort_colours", lambda pixels, seed: pixels)
    image = tf.constant(picture(31, 31))
    methods = [
        tf.cast(tf.image.resize(image, (47, 47), method), tf.float32)
        for method in ("bilinear", "nearest", "bicubic", "area")
    ]

    def distances(seed):
        whole = {"area_range": (1.0, 1.0), "aspect_range": (1.0, 1.0)}
        result = distortions.paper(image, seed, size=(47, 47), **whole)
        return tf.stack([tf.reduce_max(tf.abs(result - other)) for other in methods])

    found = over_seeds(distances, 400) == 0
    assert (found.sum(1) == 1).all()
    assert np.abs(found.mean(0) - 0.25).max() < 0.08


def only(monkeypatch, **amounts):
    """Switch the photometric distortions off, except for those given."""
    off = {"BRIGHTNESS": 0.0, "SATURATION": (1.0, 1.0), "HUE": 0.0, "CONTRAST": (1.0, 1.0)}
    for name, value in (off | amounts).items():
        monkeypatch.setattr(distortions, name, value)


def distorted(count: int, pixels=MUTED) -> np.ndarray:
    return over_seeds(lambda seed: distortions.distort_colours(tf.constant(pixels), seed), count)


def test_brightness(monkeypatch):
    only(monkeypatch, BRIGHTNESS=distortions.BRIGHTNESS)
    added = distorted(300) - MUTED
    assert np.ptp(added, axis=(1, 2, 3)).max() < 0.1
    amounts = added.mean((1, 2, 3))
    assert -32 <= amounts.min() < -28 and 28 < amounts.max() <= 32


def test_contrast(monkeypatch):
    only(monkeypatch, CONTRAST=distortions.CONTRAST)
    mean = MUTED.mean((0, 1))
    results = distorted(300) - mean
    factors = (results * (MUTED - mean)).sum((1, 2, 3)) / ((MUTED - mean) ** 2).sum()
    np.testing.assert_allclose(results, factors[:, None, None, None] * (MUTED - mean), atol=0.1)
    assert 0.5 <= factors.min() < 0.55 and 1.45 < factors.max() <= 1.5


def hsv(pixels: np.ndarray) -> np.ndarray:
    return np.array([colorsys.rgb_to_hsv(*(p / 255)) for p in pixels.reshape(-1, 3)])


def test_saturation(monkeypatch):
    only(monkeypatch, SATURATION=distortions.SATURATION)
    before = hsv(MUTED)
    factors = []
    for result in distorted(60):
        after = hsv(np.clip(result, 0, 255))
        free = (before[:, 1] > 0.05) & (after[:, 1] < 0.99)  # saturation ends at 1
        factors.append(np.median(after[free, 1] / before[free, 1]))
        np.testing.assert_allclose(after[free, 1], factors[-1] * before[free, 1], atol=0.01)
        np.testing.assert_allclose(after[:, 2], before[:, 2], atol=0.01)
    assert 0.5 <= min(factors) < 0.6 and 1.4 < max(factors) <= 1.5


def test_hue(monkeypatch):
    only(monkeypatch, HUE=distortions.HUE)
    before = hsv(MUTED)
    coloured = before[:, 1] > 0.05
    turns = []
    for result in distorted(60):
        after = hsv(np.clip(result, 0, 255))
        turn = (after[coloured, 0] - before[coloured, 0] + 0.5) % 1 - 0.5
        turns.append(np.median(turn))
        np.testing.assert_allclose(turn, turns[-1], atol=0.01)
        np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=0.01)
    assert -0.2 <= min(turns) < -0.15 and 0.15 < max(turns) <= 0.2


def test_order_of_the_colour_distortions(monkeypatch):
    """Contrast comes before saturation in one of the four orders."""
    only(monkeypatch, SATURATION=(1.5, 1.5), CONTRAST=(0.5, 0.5))
    pixels = tf.constant(MUTED)
    saturated_last = tf.image.adjust_saturation(tf.image.adjust_contrast(pixels, 0.5), 1.5)
    contrast_last = tf.image.adjust_contrast(tf.image.adjust_saturation(pixels, 1.5), 0.5)
    results = distorted(400)
    first = np.abs(results - saturated_last.numpy()).max((1, 2, 3)) < 0.1
    second = np.abs(results - contrast_last.numpy()).max((1, 2, 3)) < 0.1
    assert (first ^ second).all()
    assert abs(first.mean() - 0.25) < 0.08


def test_mirror():
    results = over_seeds(lambda seed: distortions.mirror(tf.constant(RGB), seed), 400)
    mirrored = (results == RGB[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (results == RGB).all((1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.5) < 0.1


def light(monkeypatch, count, pixels=RGB, **amounts):
    off = {"ZOOM": (1.0, 1.0), "SHIFT": 0.0, "BRIGHTNESS": 0.0, "CONTRAST": (1.0, 1.0)}
    for name, value in (off | amounts).items():
        monkeypatch.setattr(distortions, f"LIGHT_{name}", value)
    return over_seeds(lambda seed: distortions.light(tf.constant(pixels), seed), count)


@pytest.mark.parametrize("zoom", [0.9, 1.0, 1.1])
def test_light_zoom_is_bilinear_about_the_centre(monkeypatch, zoom):
    height, width, _ = RGB.shape
    result = light(monkeypatch, 1, ZOOM=(zoom, zoom))[0]

    def weights(side):
        places = (np.arange(side) + 0.5 - side / 2) * zoom + side / 2 - 0.5
        places = np.clip(places, 0, side - 1)
        return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side)))

    expected = np.einsum("yh,xw,hwc->yxc", weights(height), weights(width), RGB)
    np.testing.assert_allclose(result, expected, atol=0.01)


def test_light_shifts_by_a_tenth_at_most(monkeypatch):
    y, x = np.mgrid[:50, :80].astype("float32")
    ramp = np.stack([x, y, x], -1)
    shifts = light(monkeypatch, 300, ramp, SHIFT=distortions.LIGHT_SHIFT)[:, 25, 40] - ramp[25, 40]
    for shift, side in ((shifts[:, 0], 80), (shifts[:, 1], 50)):
        assert -0.1 * side <= shift.min() < -0.09 * side
        assert 0.09 * side < shift.max() <= 0.1 * side


def test_light_is_light(monkeypatch):
    amounts = {"BRIGHTNESS": distortions.LIGHT_BRIGHTNESS, "CONTRAST": distortions.LIGHT_CONTRAST}
    results = light(monkeypatch, 200, **amounts)
    bound = 16 + 0.1 * np.abs(RGB - RGB.mean((0, 1))).max()
    assert 10 < np.abs(results - RGB).max() <= bound + 0.1


def test_jpegs_are_distorted_like_their_pixels():
    file = encoded(picture(90, 120), quality=100, subsampling=0)
    pixels = tf.io.decode_jpeg(file, channels=3)
    for seed in seeds(10):
        ranges = {"area_range": AREA_RANGE, "aspect_range": ASPECT_RANGE}
        from_file = distortions.paper(tf.constant(file), seed, size=(33, 44), **ranges)
        from_pixels = distortions.paper(pixels, seed, size=(33, 44), **ranges)
        assert from_file.shape == (33, 44, 3)
        assert np.abs(from_file - from_pixels).mean() < 0.5
