import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.training import DeadNetworkError, NonFiniteError, health
from tests.training import small


def test_features_are_those_before_the_main_heads_pool():
    model = small.plain_net()
    assert health.features_before_pool(model) is model.get_layer("last").output
    probed = health.with_features(model)
    images = np.random.default_rng(0).normal(size=(2, small.SIDE, small.SIDE, 3))
    outputs = probed(images.astype("float32"))
    assert set(outputs["heads"]) == {"predictions", "aux1", "aux2"}
    share = float(health.alive_share(outputs))
    assert share == pytest.approx((outputs["features"].numpy() != 0).mean())
    assert 0 < share < 1


def test_a_model_without_a_pool_counts_as_alive():
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    assert health.features_before_pool(model) is None
    assert float(health.alive_share(health.with_features(model)(np.ones((1, 4, 4, 3))))) == 1.0


RESIDUAL = {"weights": None, "width": 0.1, "classes": 7}


@pytest.mark.parametrize(
    ("builder", "architecture", "watched"),
    [
        (ki.InceptionV3, "paper", "mixed_7c"),
        (ki.InceptionResNetV1, "paper", "block8_5"),
        (ki.InceptionResNetV1, "facenet", "block8_5"),
        (ki.InceptionResNetV2, "slim", "conv2d_7b"),
    ],
)
def test_the_last_relu_before_the_pool_is_watched(builder, architecture, watched):
    model = builder(architecture=architecture, **RESIDUAL)
    assert health.features_before_pool(model) is model.get_layer(watched).output


def test_death_shows_where_the_last_block_has_no_relu():
    model = ki.InceptionResNetV1(architecture="facenet", input_shape=(75, 75, 3), **RESIDUAL)
    images = np.random.default_rng(0).normal(size=(2, 75, 75, 3)).astype("float32")
    probed = health.with_features(model)
    assert float(health.alive_share(probed(images))) > 0
    for weight in model.weights:  # every normed convolution is then below zero
        if weight.path.endswith("beta"):
            weight.assign(keras.ops.full(weight.shape, -1e3))
    assert float(health.alive_share(probed(images))) == 0


def test_without_a_relu_the_input_of_the_pool_is_watched():
    x = inputs = keras.Input((8, 8, 3))
    x = convolved = keras.layers.Conv2D(4, 3, activation="silu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    assert health.features_before_pool(model) is convolved


def failed(images=1.0, label=1, loss=0.5, weight=0.0):
    weights = [keras.Variable([1.0], name="first"), keras.Variable([weight], name="second")]
    vector = health.failed_checks(
        np.full((2, 2), images, "float32"), np.array([0, label]), 3, np.float32(loss), weights
    )
    return keras.ops.convert_to_numpy(vector), weights


def test_nothing_is_raised_when_all_is_well():
    vector, weights = failed()
    assert not vector.any()
    health.raise_if_failed(vector, weights, step=1)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"images": np.nan, "loss": np.nan}, NonFiniteError, "Step 3: NaN .* in the images. Look"),
        ({"loss": np.inf, "weight": np.nan}, NonFiniteError, "Step 3: NaN or infinity in the loss"),
        ({"weight": np.inf}, NonFiniteError, "infinity in the weight second. Lower learning_rate"),
        ({"label": 3}, InputError, "Step 3: a label is below 0 or not below the model's number"),
        ({"label": -1}, InputError, "Step 3: a label is below 0 or not"),
    ],
)
def test_the_first_bad_tensor_is_named(values, error, message):
    with pytest.raises(error, match=message):
        health.raise_if_failed(*failed(**values), step=3)


def test_labels_of_the_validation_are_checked():
    health.check_labels(np.array([0, 6]), 7)
    with pytest.raises(InputError, match="The label 7 is not one of the model's 7 classes, 0 to 6"):
        health.check_labels(np.array([0, 7]), 7)


def test_death_is_many_dead_steps_in_a_row():
    health.raise_if_dead(health.DEAD_STEPS - 1, step=59)
    with pytest.raises(DeadNetworkError, match="Step 60: the network has died: .* only zeros"):
        health.raise_if_dead(health.DEAD_STEPS, step=60)
