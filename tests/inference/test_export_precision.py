"""16-bit and 8-bit exports find as many digits as the model does."""

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.inference.export import BOUNDS, FORMATS, export
from keras_inception.inference.export import calibration as calibrations
from keras_inception.inference.folding import fold_batch_norm
from keras_inception.inference.runtimes import open_runtime
from keras_inception.preprocessing import Preprocessing
from tests import scripts
from tests.inference.exports import PATHS, pixels, tiny

BATCH = 64
POINTS = 0.005  # accuracy that may be lost
BY_NAME = [
    pytest.param(form, precision, id=f"{form}-{precision}")
    for form, facts in FORMATS.items()
    for precision in facts.precisions
    if precision != "float32"
]

NNCF = ("openvino", "int8")


class Digits:
    """A model trained on the digits, and its accuracy on the images that it has not seen."""

    def __init__(self, model, epochs, size, rate=1e-2):
        self.preprocessing = Preprocessing(size=(size, size), crop_fraction=1.0, resize="squash")
        self.dataset = ki.data.load("digits")
        self.model = model
        self.unseen = (self.dataset.validation, self.dataset.test)
        arrays = [self._arrays(split) for split in self.unseen]
        self.images, self.labels = (np.concatenate(parts) for parts in zip(*arrays, strict=True))
        images, labels = self._arrays(self.dataset.train)
        steps = epochs * -(-len(images) // BATCH)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9
        decay = keras.optimizers.schedules.CosineDecay(rate, steps)
        model.compile(keras.optimizers.Adam(decay), "sparse_categorical_crossentropy")
        model.fit(images, labels, BATCH, epochs, verbose=0)
        self.accuracy = self.score(model.predict(self.images, verbose=0))

    def _arrays(self, split):
        batches = ki.data.evaluation_batches(
            split, preprocessing=self.preprocessing, batch_size=len(split)
        )
        ((images, labels),) = batches
        return images.numpy(), labels.numpy()

    def score(self, outputs):
        return float((outputs.argmax(1) == self.labels).mean())


def exported_accuracy(digits, form, precision, folder):
    calibration = {}
    if precision == "int8":
        calibration = {"calibration": digits.dataset.train, "preprocessing": digits.preprocessing}
    done = export(
        digits.model,
        folder / PATHS[form],
        format=form,
        precision=precision,
        include_preprocessing=False,
        **calibration,
    )
    assert 1e-5 < done.difference <= done.bound == BOUNDS[precision]  # so it was rounded
    with open_runtime(done.path) as runtime:
        batches = np.array_split(digits.images, 4)
        outputs = [runtime.run(batch)["predictions"] for batch in batches]
    return digits.score(np.concatenate(outputs)), done


@pytest.fixture(scope="session")
def digits():
    keras.utils.set_random_seed(1)
    return Digits(tiny(size=(16, 16)), epochs=12, size=16)


@pytest.mark.parametrize(
    ("form", "precision"),
    [
        # Importing NNCF takes longer than all the rest.
        pytest.param(*pair.values, id=pair.id, marks=[pytest.mark.slow] * (pair.values == NNCF))
        for pair in BY_NAME
    ],
)
def test_digits_are_found(digits, form, precision, tmp_path):
    assert digits.accuracy > 0.95
    accuracy, _ = exported_accuracy(digits, form, precision, tmp_path)
    assert digits.accuracy - accuracy <= POINTS


def test_16_bit_folding_leaves_images_their_first_class(digits):
    folded = fold_batch_norm(digits.model, "bfloat16")
    given = np.asarray(folded(digits.images), "float32")
    exact = digits.model.predict(digits.images, verbose=0)
    assert np.abs(given - exact).max() > 1e-4  # so it was rounded
    assert (given.argmax(1) == exact.argmax(1)).mean() >= 0.99
    assert digits.accuracy - digits.score(given) <= POINTS


def test_a_convolution_after_a_pool_keeps_in_int8_what_is_below_zero(tmp_path):
    """If folding moved it before the pool, LiteRT would give it the range of the concatenation."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.AveragePooling2D(3, 1, "same")(inputs)
    branches = [keras.layers.ReLU()(keras.layers.Conv2D(2, 1)(x)) for x in (pooled, inputs)]
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Concatenate()(branches))
    model = keras.Model(inputs, x)
    images = np.random.default_rng(0).uniform(-1, 1, (64, 16, 16, 3)).astype("float32")
    path = tmp_path / "pools.tflite"
    export(model, path, format="litert", precision="int8", calibration=images, tolerance=1.0)
    with open_runtime(path) as runtime:
        (found,) = runtime.run(images).values()
    exact = model.predict(images, verbose=0)
    assert 1e-3 < np.abs(found - exact).max() / exact.max() < 0.02  # 0.7 otherwise


@pytest.mark.slow
def test_a_network_trained_by_its_recipe_finds_digits_in_every_precision(tmp_path, monkeypatch):
    """By the commands of the documentation; this network has pools before convolutions, too."""
    keras.utils.set_random_seed(1)
    record = tmp_path / "export_accuracy.json"
    monkeypatch.setattr(scripts.load("benchmarks", "export_accuracy"), "RESULT", record)
    for name, arguments in (
        ("seven_recipes", [tmp_path / "runs", tmp_path / "seven_recipes.json"]),
        ("export_accuracy", [tmp_path / "runs"]),
    ):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--only", "BNInception"])
        with pytest.raises(SystemExit) as ended:
            scripts.load("benchmarks", name).main()
        assert ended.value.code == 0, ended.value.code
    (line,) = json.loads(record.read_text())["results"]
    assert line["accuracy"] > 0.95
    assert set(line["exports"]) == {" ".join(pair.values) for pair in BY_NAME}


def test_calibration_sources_agree(tmp_path):
    """An array, an iterable of batches and one of pairs, raw or prepared, are the same images."""
    model = tiny()
    raw = pixels(6, 32, 32, 3)
    preprocessing = Preprocessing(size=(32, 32), crop_fraction=1.0)
    prepared = preprocessing(raw)
    sources = [
        {"calibration": prepared},
        {"calibration": [prepared[:4], prepared[4:]]},
        {"calibration": iter([(prepared[:3], 0), (prepared[3:], 1)])},
        {"calibration": raw, "preprocessing": preprocessing, "include_preprocessing": False},
    ]
    images = prepared[:2]
    outputs = []
    for number, source in enumerate(sources):
        path = tmp_path / f"{number}.tflite"
        export(model, path, format="litert", precision="int8", **source)
        with open_runtime(path) as runtime:
            outputs.append(runtime.run(images)["predictions"])
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], atol=1e-6)


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_raw_images_in_int8(digits, form, tmp_path):
    path = tmp_path / PATHS[form]
    export(
        digits.model,
        path,
        format=form,
        precision="int8",
        preprocessing=digits.preprocessing,
        calibration=digits.dataset.train,
    )
    raw = np.stack(
        [example["image"].numpy() for split in digits.unseen for example in split.examples()]
    )
    if form == "litert":  # takes pixels of the network's own size
        resize = dataclasses.replace(digits.preprocessing, mean=(0,) * 3, std=(1,) * 3)
        raw = np.round(resize(raw)).astype("uint8")
    with open_runtime(path) as runtime:
        outputs = runtime.run(raw)["predictions"]
    assert digits.accuracy - digits.score(outputs) <= POINTS


@pytest.mark.parametrize("batch_size", [None, 64, 48])
def test_int8_is_checked_on_64_images_of_all_classes(batch_size, tmp_path, monkeypatch):
    """Also where every call takes a batch of one size; of images that are sorted by class."""
    from keras_inception.inference.export import checking

    seen = []

    def noted(found, name, expected, where):
        seen.append(len(expected))
        return np.zeros(len(expected))

    monkeypatch.setattr(checking, "_differences", noted)
    raw = np.stack([np.full((40, 40, 3), number, "uint8") for number in range(200)])
    calibration = calibrations.Calibration(tuple(raw), batch_size or 1)
    chosen = [image[0, 0, 0] for image in calibration.some(64).images]
    assert len(set(chosen)) == 64 and (chosen[0], chosen[-1]) == (0, 199)
    export(
        tiny(), tmp_path / "a.onnx", format="onnx", precision="int8", calibration=raw,
        preprocessing=Preprocessing(size=(32, 32)), batch_size=batch_size, tolerance=1,
    )  # fmt: skip
    assert sum(seen) == 64


def test_a_batch_has_images_of_one_size():
    sizes = [(4, 5), (6, 6), (4, 5), (6, 6), (4, 5)]
    images = tuple(np.full((*size, 3), n, "uint8") for n, size in enumerate(sizes))
    found = calibrations.Calibration(images, 2)._batches(lambda image: image)
    assert [(batch[:, 0, 0, 0].tolist(), new) for batch, new in found] == [
        ([0, 2], 2),
        ([4, 4], 1),
        ([1, 3], 2),
    ]


def test_prepared_images_calibrate_a_network_of_public_weights(tmp_path):
    """The id tells how images are prepared, but does not say that they are not."""
    prepared = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    arguments = {"format": "onnx", "precision": "int8", "weights_id": "keras.inception_v3"}
    done = export(tiny(), tmp_path / "a.onnx", calibration=prepared, **arguments, tolerance=1)
    assert done.metadata["weights"] == "keras.inception_v3"
    with pytest.raises(InputError, match="so prepared already; expected raw uint8"):
        export(
            tiny(), tmp_path / "b.onnx", calibration=prepared, **arguments,
            preprocessing=Preprocessing(size=(32, 32)), include_preprocessing=False,
        )  # fmt: skip
    mixed = [prepared[:1], pixels(1, 32, 32, 3)]
    with pytest.raises(InputError, match="Some calibration images are raw uint8 pixels and some"):
        export(tiny(), tmp_path / "b.onnx", calibration=mixed, **arguments)
