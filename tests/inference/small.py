"""Small models whose normalisations do something, and images for them."""

import keras
import numpy as np
from keras import layers


def images(count, size, seed=0, channels=3):
    shape = (count, size, size, channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def lively(model, seed=0):
    """Give the model the statistics and biases that training might have given it."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model


def small_convnet(linear, norm=None, name="small", relu="relu"):
    """A model: 8x8 images, the linear layer, a normalisation `norm`, a ReLU."""
    inputs = keras.Input((8, 8, 3))
    x = (norm or layers.BatchNormalization(name="norm"))(linear(inputs))
    return lively(keras.Model(inputs, layers.ReLU(name=relu)(x), name=name))


def relative_difference(given, expected):
    """The largest difference, relative to the largest expected value."""
    given, expected = (np.asarray(keras.ops.convert_to_numpy(a)) for a in (given, expected))
    if given.shape != expected.shape:
        raise ValueError(f"Shapes differ: {given.shape} and {expected.shape}.")
    given, expected = given.astype("float64"), expected.astype("float64")
    return np.abs(given - expected).max() / np.abs(expected).max()
