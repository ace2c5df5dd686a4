"""The compiled function gives what the model gives."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_inception.errors import InputError
from keras_inception.inference.folding import fold_batch_norm, refresh_folded
from keras_inception.inference.tensorflow_function import compiled
from tests.inference.small import images, lively, relative_difference, small_convnet


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_it_gives_what_the_model_gives(batch_size, freeze):
    model = small_convnet(layers.Conv2D(4, 3))
    run = compiled(fold_batch_norm(model), batch_size=batch_size, freeze=freeze)
    for count in (batch_size,) if batch_size else (1, 2):
        x = images(count, 8, seed=count)
        given = run(x)
        assert type(given) is np.ndarray
        assert relative_difference(given, model(x, training=False)) < 1e-5


@pytest.mark.parametrize("freeze", [True, False])
def test_outputs_keep_their_structure_and_are_float32(freeze):
    model = small_convnet(layers.Conv2D(4, 3))
    outputs = {"z": model.output, "a": layers.Flatten(name="flat")(model.output)}
    folded = fold_batch_norm(keras.Model(model.input, outputs), "bfloat16")
    given = compiled(folded, freeze=freeze)(images(2, 8))
    assert {name: (value.shape, value.dtype) for name, value in given.items()} == {
        "z": ((2, 6, 6, 4), np.float32),
        "a": ((2, 144), np.float32),
    }
    np.testing.assert_array_equal(given["a"], given["z"].reshape(2, -1))


def test_only_a_function_that_is_not_frozen_follows_the_weights():
    model = small_convnet(layers.Conv2D(4, 3))
    folded = fold_batch_norm(model)
    frozen, following = compiled(folded, freeze=True), compiled(folded, freeze=False)
    x = images(2, 8)
    before = model(x, training=False)
    refresh_folded(folded, lively(model, seed=1))
    assert relative_difference(frozen(x), before) < 1e-5
    assert relative_difference(following(x), model(x, training=False)) < 1e-5


def test_mistakes_are_explained(monkeypatch):
    one, other = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, other], layers.Add()([one, other]), name="pair")
    with pytest.raises(InputError, match="'pair' has 2 inputs; expected a model of one"):
        compiled(model)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InputError, match="backend is jax. Set KERAS_BACKEND=tensorflow"):
        compiled(model)
