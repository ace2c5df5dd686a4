"""`keras.applications` and our networks give the same numbers with the same weights."""

import h5py
import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.weights.assign import assign
from keras_inception.weights.readers import read_checkpoint

SIZES = {True: 299, False: 139}
NETWORKS = ("InceptionV3", pytest.param("InceptionResNetV2", marks=pytest.mark.slow))
ARCHITECTURES = {"InceptionV3": "paper", "InceptionResNetV2": "slim"}


def random_model(network, include_top):
    """A model of Keras whose layer numbers start anywhere, with other than initial statistics."""
    for _ in range(2):
        keras.layers.Conv2D(1, 1)
    keras.layers.BatchNormalization()
    size = SIZES[include_top]
    model = getattr(keras.applications, network)(
        weights=None, include_top=include_top, input_shape=(size, size, 3)
    )
    first = {kind: next(la.name for la in model.layers if la.name.startswith(kind))
             for kind in ("conv2d", "batch_normalization")}  # fmt: skip
    assert "conv2d" not in first.values()
    assert first["conv2d"].rpartition("_")[2] != first["batch_normalization"].rpartition("_")[2]
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name == "moving_variance":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name != "kernel":
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model


def save_h5(model, path):
    model.save(path)


def save_h5_weights(model, path):
    """The layout of the files that Keras publishes: what `.h5` holds below "model_weights"."""
    full = path.with_name("full.h5")
    model.save(full)
    with h5py.File(full) as source, h5py.File(path, "w") as target:
        weights = source["model_weights"]
        target.attrs.update(weights.attrs)
        for name in weights:
            weights.copy(name, target)


def save_keras_3(model, path):
    model.save_weights(path)


@pytest.mark.parametrize("include_top", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.filterwarnings("ignore:.*HDF5 file")
def test_outputs_are_those_of_keras(network, include_top, tmp_path):
    theirs = random_model(network, include_top)
    image = np.random.default_rng(1).uniform(-1, 1, (1, *theirs.input_shape[1:])).astype("float32")
    expected = np.asarray(theirs(image))
    ours = getattr(ki, network)(
        weights=None,
        include_top=include_top,
        input_shape=theirs.input_shape[1:],
        architecture=ARCHITECTURES[network],
    )
    files = {
        "a.h5": save_h5,
        "b.h5": save_h5_weights,
        "c.weights.h5": save_keras_3,
        "d.keras": save_h5,
    }
    for name, save in files.items():
        for variable in ours.weights:
            variable.assign(np.zeros(variable.shape))
        save(theirs, tmp_path / name)
        assignment = assign(ours, read_checkpoint(tmp_path / name), "keras")
        assert not assignment.dropped and not assignment.adapted
        limit = 1e-6 if include_top else 1e-4
        assert np.ptp(expected) > 100 * limit  # or agreement would mean little
        assert np.abs(np.asarray(ours(image)) - expected).max() < limit, name


@pytest.mark.slow
def test_a_file_with_the_top_fits_a_trunk(tmp_path):
    theirs = random_model("InceptionV3", include_top=True)
    theirs.save_weights(tmp_path / "a.weights.h5")
    ours = ki.InceptionV3(weights=None, include_top=False, pooling="avg")
    assignment = assign(ours, read_checkpoint(tmp_path / "a.weights.h5"), "keras")
    assert set(assignment.dropped) == {"predictions/kernel", "predictions/bias"}
    image = np.random.default_rng(1).uniform(-1, 1, (1, 299, 299, 3)).astype("float32")
    expected = keras.Model(theirs.input, theirs.get_layer("avg_pool").output)(image)
    assert np.abs(np.asarray(ours(image)) - np.asarray(expected)).max() < 1e-4
