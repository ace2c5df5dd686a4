"""Small networks and datasets for the tests of the evaluation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

SHAPES = [(20, 24), (31, 17), (16, 16), (40, 22), (18, 18)]


@pytest.fixture
def network():
    """A function that builds a small network whose answers depend on where things lie."""

    def build(size=16, classes=7, seed=0, activation="softmax", name=None, wrap=None):
        start = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        inputs = keras.Input((size, size, 3))
        x = keras.layers.Conv2D(4, 5, strides=3, kernel_initializer=start)(inputs)
        x = keras.layers.BatchNormalization()(keras.layers.ReLU()(x))
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(classes, activation, kernel_initializer=start)(x / 10.0)
        return keras.Model(inputs, wrap(x) if wrap else x, name=name)

    return build


@pytest.fixture
def images():
    """A function that makes uint8 images of different sizes."""

    def make(count, seed=0):
        random = np.random.default_rng(seed)
        shapes = [SHAPES[i % len(SHAPES)] for i in range(count)]
        return [random.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in shapes]

    return make


@pytest.fixture
def dataset():
    """A function that makes an unbatched tf.data.Dataset of (image, label)."""

    def make(images, labels):
        signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
        pairs = list(zip(images, labels, strict=True))
        return tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)

    return make
