"""A network that is exported in a second, and what its tests share."""

import keras
import numpy as np

import keras_inception as ki
from keras_inception.preprocessing import Preprocessing
from tests.inference.small import lively

PATHS = {
    "tf_saved_model": "saved_model",
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "openvino": "openvino",
}
PREPROCESSING = Preprocessing(size=(32, 32), crop_fraction=0.8)


def tiny(size=(32, 32), classes=10, activation="softmax", aux=False, top=True, channels=3):
    """A trunk convolution, a module of two branches and a scaled residual, all batch-normalised."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    images = keras.Input((*size, channels), name="images")

    def conv(x, filters, kernel, name, strides=1, activation="relu"):
        x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False, name=name)(x)
        x = ki.layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.Activation(activation, name=f"{name}_act")(x)

    x = conv(images, 16, 3, "conv2d_1a", strides=2)
    branches = [conv(x, 16, 1, "branch0"), conv(x, 16, 3, "branch1")]
    x = layers.Concatenate(name="mixed")(branches)
    x = layers.MaxPooling2D(3, 2, "same", name="pool")(x)
    up = layers.Conv2D(32, 1, name="up")(conv(x, 16, 3, "residual"))
    x = ki.layers.ScaledResidual(0.5, name="block")([x, up])
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if not top:
        return lively(keras.Model(images, x, name="tiny"))
    x = layers.Dropout(0.2, name="dropout")(x)
    outputs = layers.Dense(classes, activation, name="predictions")(x)
    if aux:
        outputs = {"predictions": outputs, "aux": layers.Dense(classes, name="aux_logits")(x)}
    return lively(keras.Model(images, outputs, name="tiny"))


def pixels(*shape, seed=0):
    """Smooth random uint8 pictures."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (*shape[:-3], -(-shape[-3] // 8), -(-shape[-2] // 8), shape[-1]))
    large = small.repeat(8, -3).repeat(8, -2)[..., : shape[-3], : shape[-2], :]
    return (large * 0.9 + rng.integers(0, 26, shape)).astype("uint8")
