"""Evaluate on two logical CPU devices; print what was found as JSON. Run by test_replicas."""

import json

import keras
import numpy as np
import tensorflow as tf

from keras_inception.evaluation import evaluate, predict

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def build():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Flatten()(inputs))
    start = keras.initializers.RandomNormal(stddev=0.05, seed=1)
    x = keras.layers.Dense(13, "softmax", kernel_initializer=start)(x)
    return keras.Model(inputs, {"aux": x * 0, "predictions": x})


single = build()
with mirrored.scope():
    model = build()
model.set_weights(single.get_weights())

random = np.random.default_rng(0)
images = [random.integers(0, 256, (18 + i, 25, 3)).astype(np.uint8) for i in range(13)]
dataset = tf.data.Dataset.from_generator(
    lambda: ((image, label) for label, image in enumerate(images)),
    output_signature=(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
)
shapes = set()
inner = model.call
model.call = lambda x, **options: shapes.add(tuple(x.shape)) or inner(x, **options)


def run(crops, network, **options):
    report = evaluate(network, dataset, crops, batch_size=4, **options)
    return {"images": report.images, "confusion": report.confusion.tolist()}


runs = {
    crops: {
        "one": run(crops, single),
        "built in the scope": run(crops, model),
        "given": run(crops, single, strategy=mirrored),
    }
    for crops in (1, 12)
}
probabilities = [predict(network, images, 12).tolist() for network in (single, model)]
print(json.dumps({"runs": runs, "probabilities": probabilities, "shapes": sorted(shapes)}))
