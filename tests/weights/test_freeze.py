"""What `freeze` freezes stays as it is, to the bit, whatever is trained above it."""

import warnings

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.weights.freeze import freeze


@pytest.fixture
def model():
    return ki.GoogLeNet(
        weights=None, architecture="slim", width=0.05, classes=3, input_shape=(64, 64, 3)
    )


def values(model, trainable):
    """Every variable of the layers that can, or cannot, be trained; statistics included."""
    return {
        f"{layer.name}/{variable.name}": np.asarray(variable).tobytes()
        for layer in model.layers
        for variable in layer.weights
        if layer.trainable == trainable
    }


def train(model):
    """One step far from the old optimum."""
    model.compile(
        keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True
    )  # fmt: skip
    images = np.random.default_rng(0).uniform(-1, 1, (6, 64, 64, 3)).astype("float32")
    model.fit(images, np.arange(6) % 3, batch_size=3, epochs=1, verbose=0)


def test_frozen_layers_are_those_below_the_endpoint(model):
    assert freeze(model, until="inception_4a") is model
    for layer in model.layers:
        if layer.weights:
            block = layer.name.partition("_branch")[0]
            below = block < "inception_4b" and block != "logits"
            assert layer.trainable == (not below), layer.name
    assert not model.get_layer("inception_4a").trainable


def test_frozen_statistics_do_not_move_in_training(model):
    freeze(model, until="inception_4a")
    frozen, free = values(model, trainable=False), values(model, trainable=True)
    train(model)
    assert values(model, trainable=False) == frozen
    moved = values(model, trainable=True)
    for statistics in ("inception_4b_branch0_conv1_bn/moving_mean", "logits/kernel"):
        assert moved[statistics] != free[statistics]
    assert "conv2d_1a_bn/moving_mean" in frozen and "conv2d_1a_bn/moving_variance" in frozen


def test_unfrozen_statistics_do_move(model):
    """The premise: without freezing, one step changes the first statistics."""
    before = np.asarray(model.get_layer("conv2d_1a_bn").moving_mean)
    train(model)
    assert not np.array_equal(model.get_layer("conv2d_1a_bn").moving_mean, before)


def test_a_lower_endpoint_thaws_what_lies_between(model):
    freeze(model, until="inception_5b")
    assert [v.path for v in model.trainable_weights] == ["logits/kernel", "logits/bias"]
    freeze(model, until="inception_5a")
    assert model.get_layer("inception_5b_branch0_conv1_bn").trainable
    assert not model.get_layer("inception_5a_branch0_conv1_bn").trainable


def test_a_model_frozen_as_a_whole_is_trained_above(model):
    model.trainable = False
    freeze(model, until="inception_5b")
    assert [v.path for v in model.trainable_weights] == ["logits/kernel", "logits/bias"]


def test_layers_of_other_origin_are_not_touched():
    base = ki.GoogLeNet(
        include_top=False, weights=None, width=0.05, input_shape=(64, 64, 3), pooling="avg"
    )
    fixed = keras.layers.Dense(4, name="fixed", trainable=False)
    scores = keras.layers.Dense(2, name="scores")
    model = freeze(keras.Model(base.input, scores(fixed(base.output))), until="inception_5b")
    assert [v.path for v in model.trainable_weights] == ["scores/kernel", "scores/bias"]


def test_an_auxiliary_head_below_the_endpoint_stays_trainable():
    model = ki.GoogLeNet(
        weights=None, width=0.05, classes=3, aux_heads=True, input_shape=(224, 224, 3)
    )
    freeze(model, until="inception_4d")
    assert model.get_layer("aux1_dense").trainable and model.get_layer("aux2_logits").trainable
    assert not model.get_layer("inception_4d_branch1_conv2").trainable


def test_unknown_endpoint(model):
    with pytest.raises(InputError, match="Unknown endpoint: 'inception_6a'. Did you mean"):
        freeze(model, until="inception_6a")
    with pytest.raises(InputError, match="Known: conv2d_1a, max_pool_2a"):
        freeze(model, until="conv2d_1a_conv")
    assert all(layer.trainable for layer in model.layers)


def test_a_compiled_model_must_be_compiled_again(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        freeze(model, until="inception_3a")
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(
        UserWarning, match=r"googlenet was compiled before .* call compile\(\) again"
    ):
        freeze(model, until="inception_3b")
