"""16-bit and 8-bit exports find as many digits as the model does."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.inference.export import BOUNDS, FORMATS, export
from keras_inception.inference.folding import fold_batch_norm
from keras_inception.inference.runtimes import open_runtime
from keras_inception.preprocessing import Preprocessing
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


@pytest.mark.slow
def test_inception_resnet_finds_digits(tmp_path):
    """One test of all exports, so that one process trains."""
    keras.utils.set_random_seed(1)
    model = ki.InceptionResNetV1(weights=None, width=0.1, input_shape=(75, 75, 3), classes=10)
    digits = Digits(model, epochs=8, size=75, rate=3e-3)
    assert digits.accuracy > 0.95
    lost = {}
    for pair in BY_NAME:
        (folder := tmp_path / pair.id).mkdir()
        accuracy, _ = exported_accuracy(digits, *pair.values, folder)
        lost[pair.id] = digits.accuracy - accuracy
    assert max(lost.values()) <= POINTS, lost


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
