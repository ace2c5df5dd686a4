"""Small data and networks for the tests of training, in this process and in others."""

import dataclasses
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_inception as ki
from keras_inception import recipes

CLASSES = 7
SIDE = 12


@dataclasses.dataclass(frozen=True)
class Batches:
    """Stands in for `TrainingBatches`: data of an epoch depends on (seed, epoch, position)."""

    images: int = 64
    global_batch_size: int = 16
    seed: int = 0
    scale: float = 1.0
    side: int = SIDE

    @property
    def steps_per_epoch(self):
        return self.images // self.global_batch_size

    def arrays(self, epoch):
        rng = np.random.default_rng([self.seed, epoch])
        labels = rng.integers(0, CLASSES, self.images).astype("int32")
        noise = rng.normal(size=(self.images, self.side, self.side, 3))
        ramp = np.linspace(0, SIDE - 1, self.side)[:, None, None]
        pixels = noise + ramp * labels[:, None, None, None] / 9
        return (pixels * self.scale).astype("float32"), labels

    def epoch(self, epoch, first_step=0, shard=(0, 1)):
        index, count = shard
        images, labels = self.arrays(epoch)
        steps, rows = self.steps_per_epoch, self.global_batch_size // count

        def part(array):
            whole = array[: steps * self.global_batch_size]
            split = whole.reshape(steps, count, rows, *array.shape[1:])
            return split[first_step:, index]

        return tf.data.Dataset.from_tensor_slices((part(images), part(labels)))


def validation(images=27, batch=8, side=SIDE):
    pixels, labels = Batches(images=images, global_batch_size=1, seed=99, side=side).arrays(0)
    return tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(batch)


def plain_net(dropout=0.0):
    """GoogLeNet in small: no batch norm, two auxiliary heads."""
    layers = keras.layers
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv1")(x)
    branches = [layers.Conv2D(6, k, padding="same", activation="relu")(x) for k in (1, 3)]
    x = aux1 = layers.Concatenate()(branches)
    x = aux2 = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="last")(x)

    def head(x, name):
        x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
        x = layers.Dense(CLASSES, name=f"{name}_logits")(x)
        return layers.Activation("softmax", name=name)(x)

    heads = {"predictions": head(x, "predictions")}
    heads |= {"aux1": head(aux1, "aux1"), "aux2": head(aux2, "aux2")}
    return keras.Model(inputs, heads, name="plain")


def norm_net(dropout=0.0, logits=False):
    """Batch norm, dropout, one head."""
    layers = keras.layers
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(CLASSES, name="logits")(x)
    if not logits:
        x = layers.Activation("softmax", name="predictions")(x)
    return keras.Model(inputs, x, name="norm")


def tiny_net():
    """The least that can be trained."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="logits")(x), name="tiny")


def fixed_net(dropout=0.0):
    """The plain net with weights that every backend starts from."""
    model = plain_net(dropout)
    rng = np.random.default_rng(5)
    for weight in model.weights:
        fan_in = max(1, np.prod(weight.shape[:-1]))
        weight.assign(rng.normal(size=weight.shape) / np.sqrt(fan_in))
    return model


def googlenet(dropout=0.0):
    """The printed network, narrow; its auxiliary heads would drop units."""
    return _ours(ki.GoogLeNet, 32, dropout)


def blocks_net(dropout=0.0):
    """Named blocks with the fused batch norm, as `ki.endpoints` lists them."""
    layers = keras.layers
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for name, filters in (("conv2d_1a", 8), ("conv2d_2a", 8), ("mixed_5b", 16), ("mixed_5c", 16)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU(name=name)(ki.layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="avg_pool")(x))
    x = layers.Dense(CLASSES, name="logits")(x)
    return keras.Model(inputs, layers.Activation("softmax", name="predictions")(x), name="blocks")


def inception_v3(dropout=0.0):
    """The printed network, narrow."""
    return _ours(ki.InceptionV3, 75, dropout)


def _ours(builder, side, dropout):
    return builder(
        weights=None,
        input_shape=(side, side, 3),
        classes=CLASSES,
        width=0.1,
        dropout=dropout,
    )


def recipe(**changes):
    values = {
        "name": "small",
        "learning_rate": 0.05,
        "epochs": 3,
        "clip_norm": 0.5,
        "batch_norm_momentum": 0.9,
        "average_decay": 0.9,
        "l2": 1e-3,
    }
    return dataclasses.replace(recipes.inception_v3, **(values | changes))


def weights_of(model):
    return [weight.numpy() for weight in model.weights]


def log(*words):
    print(*words, file=sys.stderr, flush=True)
