"""Preprocessing against Pillow, TensorFlow's own resizing, NumPy, and itself on every path."""

import dataclasses
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_inception.errors import InputError
from keras_inception.preprocessing import Preprocessing, PreprocessingLayer, preprocess_input

MODULE = sys.modules[Preprocessing.__module__]
PIXELS = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3)  # leaves 0..255
LANDSCAPE, PORTRAIT, SMALL = (61, 97), (97, 60), (20, 31)
SIZE = (40, 40)


def photo(sides, seed=0):
    """A random uint8 image with smooth parts and noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: sides[0], : sides[1]]
    waves = [np.sin(rows / (5 + c)) * np.cos(columns / (9 - c)) for c in range(3)]
    image = 127 + 90 * np.stack(waves, -1) + rng.normal(0, 25, (*sides, 3))
    return np.clip(image, 0, 255).astype("uint8")


def as_pillow(image, resized, size, kind):
    """Resize with Pillow, in floating point, then cut the centre as torchvision does."""
    channels = [Image.fromarray(image[..., c].astype("float32")) for c in range(3)]
    image = np.stack([np.asarray(c.resize(resized[::-1], kind)) for c in channels], -1)
    top, left = (round((big - small) / 2) for big, small in zip(resized, size, strict=True))
    return np.clip(image[top : top + size[0], left : left + size[1]], 0, 255)


@pytest.fixture(autouse=True)
def not_warned(monkeypatch):
    monkeypatch.setattr(MODULE, "_warned_about_range", False)


# ------------------------------------------------------------------------------ resizing


@pytest.mark.parametrize("sides", [LANDSCAPE, PORTRAIT, SMALL])
@pytest.mark.parametrize(
    ("interpolation", "kind"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)]
)
@pytest.mark.parametrize(("rounding", "shorter"), [("floor", 45), ("ceil", 46)])
def test_shorter_side_agrees_with_pillow(sides, interpolation, kind, rounding, shorter):
    # 40 / 0.875 = 45.7
    resized = tuple(int(shorter * side / min(sides)) for side in sides)
    prepare = dataclasses.replace(PIXELS, size=SIZE, interpolation=interpolation, rounding=rounding)
    expected = as_pillow(photo(sides), resized, SIZE, kind)
    np.testing.assert_allclose(prepare(photo(sides)), expected, atol=1e-3)


def test_shorter_side_covers_a_size_that_is_no_square():
    prepare = dataclasses.replace(PIXELS, size=(24, 40), crop_fraction=0.8)  # covers 30 x 50
    for sides, resized in [((60, 120), (30, 60)), ((90, 60), (75, 50))]:
        expected = as_pillow(photo(sides), resized, (24, 40), Image.BILINEAR)
        np.testing.assert_allclose(prepare(photo(sides)), expected, atol=1e-3)


def test_squash_ignores_proportions_and_cuts_the_centre():
    prepare = dataclasses.replace(PIXELS, size=(28, 35), resize="squash")  # 32 x 40 before
    expected = as_pillow(photo(LANDSCAPE), (32, 40), (28, 35), Image.BILINEAR)
    np.testing.assert_allclose(prepare(photo(LANDSCAPE)), expected, atol=1e-3)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("sides", [LANDSCAPE, SMALL])
def test_squash_agrees_with_tensorflow(sides, method, antialias):
    prepare = dataclasses.replace(
        PIXELS,
        size=SIZE,
        resize="squash",
        crop_fraction=1,
        interpolation=method,
        antialias=antialias,
    )
    expected = tf.image.resize(photo(sides), SIZE, method, antialias=antialias)
    # Without antialiasing TensorFlow takes its cubic weights from a table of 1024 entries.
    tolerance = 0.1 if method == "bicubic" and not antialias else 1e-3
    np.testing.assert_allclose(prepare(photo(sides)), np.clip(expected, 0, 255), atol=tolerance)


@pytest.mark.parametrize("sides", [LANDSCAPE, PORTRAIT, SMALL])
def test_central_crop_squash_agrees_with_tf_slim(sides):
    # The steps of preprocess_for_eval: central_crop of the whole image, then TF1's resizing.
    prepare = Preprocessing(
        SIZE, "central_crop_squash", interpolation="bilinear_tf1", antialias=False
    )
    image = tf.image.convert_image_dtype(photo(sides), tf.float32)
    image = tf.image.central_crop(image, 0.875)
    image = tf.compat.v1.image.resize_bilinear(image[None], SIZE, align_corners=False)[0]
    np.testing.assert_allclose(prepare(photo(sides)), (image - 0.5) * 2, atol=1e-4)


def test_bilinear_tf1_differs_from_bilinear():
    legacy = dataclasses.replace(
        PIXELS, size=SIZE, resize="squash", interpolation="bilinear_tf1", antialias=False
    )
    modern = dataclasses.replace(legacy, interpolation="bilinear")
    assert np.abs(legacy(photo(LANDSCAPE)) - modern(photo(LANDSCAPE))).mean() > 5


def test_bilinear_against_plain_numpy():
    image, (height, width) = photo(LANDSCAPE).astype(float), (13, 17)
    expected = np.zeros((height, width, 3))
    for row in range(height):
        for column in range(width):
            y = (row + 0.5) * image.shape[0] / height - 0.5
            x = (column + 0.5) * image.shape[1] / width - 0.5
            top, left = int(y), int(x)
            patch = image[top : top + 2, left : left + 2]
            weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left])
            expected[row, column] = (patch * weights[..., None]).sum((0, 1))
    prepare = dataclasses.replace(
        PIXELS, size=(height, width), resize="squash", crop_fraction=1, antialias=False
    )
    np.testing.assert_allclose(prepare(photo(LANDSCAPE)), expected, atol=1e-3)


@pytest.mark.parametrize("resize", ["shorter_side", "squash", "central_crop_squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "bilinear_tf1"])
def test_constant_image_stays_constant(resize, interpolation):
    antialias = interpolation != "bilinear_tf1"
    prepare = dataclasses.replace(
        PIXELS, size=SIZE, resize=resize, interpolation=interpolation, antialias=antialias
    )
    for sides in [(1, 1), (7, 300)]:
        image = np.full((*sides, 3), 200, "uint8")
        np.testing.assert_allclose(prepare(image), np.full((*SIZE, 3), 200), rtol=1e-5)


def test_bicubic_stays_within_pixel_values():
    stripes = np.zeros((64, 64, 3), "uint8")
    stripes[:, ::7] = 255
    result = dataclasses.replace(PIXELS, size=(90, 90), interpolation="bicubic")(stripes)
    assert result.min() == 0 and result.max() <= 255


def test_image_of_the_right_size_is_only_scaled():
    image = photo(SIZE)
    for resize in ("none", "shorter_side", "squash", "central_crop_squash"):
        fraction = 0.875 if resize == "none" else 1
        prepare = Preprocessing(SIZE, resize, fraction)
        np.testing.assert_allclose(prepare(image), image / 127.5 - 1, atol=1e-5)


# ------------------------------------------------------------------------------ values


def test_default_is_the_papers_range():
    prepare = Preprocessing()
    assert prepare.size == (299, 299)
    values = np.float32([[0, 127.5, 255]])
    np.testing.assert_allclose(prepare.normalize(values), [[-1, 0, 1]])


def test_mean_and_deviation_are_in_channel_order():
    caffe = Preprocessing(mean=(104, 117, 123), std=(1, 2, 4), channel_order="BGR")
    red_green_blue = np.float32([10, 20, 30])
    expected = [(30 - 104) / 1, (20 - 117) / 2, (10 - 123) / 4]
    np.testing.assert_allclose(caffe.normalize(red_green_blue), expected, rtol=1e-6)
    np.testing.assert_allclose(caffe.normalize(tf.constant(red_green_blue)), expected, rtol=1e-6)


@pytest.mark.parametrize("contrast", [1, 0])
def test_whitening_by_each_image_itself(contrast):
    images = np.stack([photo(SIZE, seed) for seed in (1, 2)]) * contrast + 3.0 * (1 - contrast)
    result = Preprocessing(SIZE, "none", mean=None, std=None)(images)
    for image, whitened in zip(images, result, strict=True):
        deviation = max(np.std(image), 1 / np.sqrt(image.size))
        np.testing.assert_allclose(whitened, (image - np.mean(image)) / deviation, atol=1e-5)


def test_preprocess_input_agrees_with_keras_applications():
    image = photo(LANDSCAPE).astype("float32")
    expected = keras.applications.inception_v3.preprocess_input(image.copy())
    np.testing.assert_allclose(preprocess_input(image), expected, atol=1e-6)
    symbolic = preprocess_input(keras.Input((8, 8, 3), dtype="uint8"))
    assert symbolic.shape == (None, 8, 8, 3) and symbolic.dtype == "float32"


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64"])
def test_argument_is_never_changed(dtype):
    prepare = Preprocessing(SIZE, "none")
    for function in (prepare, prepare.normalize, preprocess_input):
        image = photo(SIZE).astype(dtype)
        result = function(image)
        assert result.dtype == "float32" and not np.shares_memory(result, image)
        np.testing.assert_array_equal(image, photo(SIZE).astype(dtype))
        np.testing.assert_allclose(function(image), result)


# ------------------------------------------------------------------------------ every path

VARIANTS = [
    Preprocessing(SIZE),
    Preprocessing(SIZE, interpolation="bicubic", rounding="round", std=(58.0, 57.0, 56.0)),
    Preprocessing(SIZE, "squash", mean=(104, 117, 123), std=(1, 1, 1), channel_order="BGR"),
    Preprocessing(SIZE, "central_crop_squash", interpolation="bilinear_tf1", antialias=False),
    Preprocessing(SIZE, mean=None, std=None),
]


@pytest.mark.parametrize("prepare", VARIANTS, ids=range(len(VARIANTS)))
def test_every_path_gives_the_same(prepare):
    image = photo(LANDSCAPE)
    expected = prepare(image)
    assert isinstance(expected, np.ndarray) and expected.shape == (*SIZE, 3)
    any_size = tf.TensorSpec((None, None, 3), tf.uint8)
    dataset = tf.data.Dataset.from_generator(lambda: [image], output_signature=any_size)
    mapped = dataset.map(prepare)
    assert mapped.element_spec.shape == (*SIZE, 3)
    unbatched = {
        "a Pillow image": prepare(Image.fromarray(image)),
        "an eager tensor": prepare(tf.constant(image)),
        "tf.data": next(iter(mapped)),
        "a compiled function": tf.function(prepare, input_signature=[any_size])(image),
        "XLA": tf.function(prepare, jit_compile=True)(tf.constant(image)),
    }
    for path, result in unbatched.items():
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4, err_msg=path)
    images = np.stack([image, photo(LANDSCAPE, 5)])
    batched = {"an array": prepare(images), "a layer": prepare.as_layer()(images)}
    for path, result in batched.items():
        assert result.shape == (2, *SIZE, 3)
        np.testing.assert_allclose(result[0], expected, rtol=1e-4, atol=1e-4, err_msg=path)
        second = prepare(images[1])
        np.testing.assert_allclose(result[1], second, rtol=1e-4, atol=1e-4, err_msg=path)


def test_one_unknown_side_is_enough_for_the_dynamic_path():
    image = photo(LANDSCAPE)
    signature = [tf.TensorSpec((61, None, 3), tf.uint8)]
    result = tf.function(VARIANTS[0], input_signature=signature)(image)
    np.testing.assert_allclose(result, VARIANTS[0](image), atol=1e-5)


def test_saved_and_exported_model_takes_raw_images(tmp_path):
    prepare = VARIANTS[2]
    pixels = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(prepare(pixels)))
    images = photo(LANDSCAPE)[None]
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(expected, prepare(images).mean((1, 2)), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[1].preprocessing == prepare
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), expected)
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(images), expected, rtol=1e-5)


def test_layer_stays_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = VARIANTS[0].as_layer(name="prepare")
        symbolic = layer(keras.Input((None, None, 3)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert symbolic.dtype == "float32"
    images = photo(LANDSCAPE)[None]
    np.testing.assert_allclose(layer(images.astype("float32")), VARIANTS[0](images), atol=1e-5)
    again = PreprocessingLayer.from_config(layer.get_config())
    assert again.preprocessing == VARIANTS[0] and again.name == "prepare"


BACKEND = """
import numpy as np, keras, tensorflow as tf
from keras_inception.preprocessing import Preprocessing, preprocess_input
images = np.load("images.npy")
for prepare, name in (
    (Preprocessing((40, 40)), "plain"),
    (Preprocessing((40, 40), interpolation="bicubic", channel_order="BGR"), "bgr"),
    (Preprocessing((40, 40), mean=None, std=None), "white"),
):
    model = keras.Sequential([keras.Input((61, 97, 3), dtype="uint8"), prepare.as_layer()])
    tensor = prepare(keras.ops.convert_to_tensor(images))
    assert keras.ops.is_tensor(tensor)
    dataset = tf.data.Dataset.from_tensors(images).map(prepare)
    np.savez(
        name, eager=keras.ops.convert_to_numpy(tensor), tf_data=next(iter(dataset)).numpy(),
        layer=model.predict(images, verbose=0),
    )
scaled = preprocess_input(keras.ops.convert_to_tensor(images))
np.savez("scaled", scaled=keras.ops.convert_to_numpy(scaled))
"""


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same(backend, tmp_path):
    images = photo(LANDSCAPE)[None]
    np.save(tmp_path / "images.npy", images)
    source = os.path.dirname(os.path.dirname(os.path.abspath(MODULE.__file__)))
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": source}
    command = [sys.executable, "-c", BACKEND]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    for prepare, name in (
        (Preprocessing(SIZE), "plain"),
        (Preprocessing(SIZE, interpolation="bicubic", channel_order="BGR"), "bgr"),
        (Preprocessing(SIZE, mean=None, std=None), "white"),
    ):
        results = np.load(tmp_path / f"{name}.npz")
        assert set(results) == {"eager", "tf_data", "layer"}
        for path in results:
            np.testing.assert_allclose(results[path], prepare(images), atol=1e-4, err_msg=path)
    scaled = np.load(tmp_path / "scaled.npz")["scaled"]
    np.testing.assert_allclose(scaled, preprocess_input(images), atol=1e-6)


# ------------------------------------------------------------------------------ warnings, errors


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 0.5, 1.0], "none is above 1: 0 to 1"),
        ([-1.0, 0.0, 1.0], "some lie outside: -1 to 1"),
        ([0.0, 10.0, 300.0], "some lie outside: 0 to 300"),
    ],
)
@pytest.mark.parametrize("convert", [np.float32, tf.constant])
def test_values_that_are_no_pixels_are_warned_about_once(values, words, convert):
    image = convert(np.float32(np.broadcast_to(values, (8, 8, 3))))
    prepare = Preprocessing((8, 8), "none")
    with pytest.warns(UserWarning, match=f"pixel values from 0 to 255, but {words}") as caught:
        prepare(image)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(image)
        preprocess_input(image)


def test_preprocess_input_warns_too():
    with pytest.warns(UserWarning, match="must not be scaled again"):
        preprocess_input(np.full((4, 4, 3), 0.5, "float32"))


def test_pixels_are_not_warned_about():
    prepare = Preprocessing((8, 8), "none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (np.zeros((8, 8, 3)), photo((8, 8)), np.ones((8, 8, 3), "uint8")):
            prepare(image)
        prepare(np.zeros((0, 8, 8, 3)))
        tf.data.Dataset.from_tensors(np.full((8, 8, 3), 0.5)).map(prepare)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resize": "squish"}, "Unknown value of resize: 'squish'. Did you mean squash"),
        ({"rounding": "up"}, "Unknown value of rounding: 'up'"),
        ({"interpolation": "area"}, "Unknown value of interpolation: 'area'"),
        ({"channel_order": "GBR"}, "Unknown value of channel_order: 'GBR'"),
        ({"size": 299}, "size is (height, width) in whole pixels, but got 299."),
        ({"size": (299, 0)}, "but got (299, 0)."),
        ({"size": (299.0, 299.0)}, "but got (299.0, 299.0)."),
        ({"crop_fraction": 0}, "crop_fraction is in (0, 1], but got 0."),
        ({"crop_fraction": 1.2}, "but got 1.2."),
        ({"interpolation": "bilinear_tf1"}, 'interpolation="bilinear_tf1" has no antialiasing'),
        ({"mean": None}, "or both None (those of each image), but got mean=None and std=(127.5,"),
        ({"mean": (1, 2)}, "mean and std are three numbers each"),
        ({"std": (1, 2, 0)}, "std above 0"),
    ],
)
def test_illegal_fields_are_refused(fields, words):
    with pytest.raises(InputError) as error:
        Preprocessing(**fields)
    assert words in str(error.value)


def test_lists_become_tuples():
    listed = Preprocessing([75, 80], mean=[1, 2, 3], std=[1, 1, 1])
    assert listed == Preprocessing((75, 80), mean=(1, 2, 3), std=(1, 1, 1))
    assert hash(listed)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((5, 5)), "but got (5, 5); convert them to RGB first"),
        (np.zeros((5, 5, 1)), "(batch, height, width, 3), but got (5, 5, 1)"),
        (np.zeros((1, 1, 5, 5, 3)), "but got (1, 1, 5, 5, 3)"),
        ("photo.jpg", "Images are arrays of numbers, but got <U9 values."),
    ],
)
def test_what_is_no_image_is_refused(images, words):
    with pytest.raises(InputError) as error:
        Preprocessing()(images)
    assert words in str(error.value)


def test_unknown_rank_is_refused():
    unknown = tf.TensorSpec(None, tf.uint8)
    with pytest.raises(InputError, match="number of axes is unknown; call set_shape"):
        tf.function(Preprocessing(), [unknown], autograph=False)(photo(SMALL))


def test_resize_none_wants_the_size():
    with pytest.raises(InputError) as error:
        Preprocessing((30, 31), "none")(photo(SMALL))
    assert 'resize="none" takes images of height and width (30, 31), but got (20, 31)' in str(
        error.value
    )
