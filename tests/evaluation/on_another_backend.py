"""Average 12 crops of each image with whatever backend is set. Run by test_backends.

Reads images and weights from the file that is its argument; prints JSON.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_inception.evaluation import predict

data = np.load(sys.argv[1])
inputs = keras.Input((16, 16, 3))
x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(inputs))
model = keras.Model(inputs, {"aux": x, "predictions": keras.layers.Dense(5, "softmax")(x)})
model.set_weights([data["kernel"], data["bias"]])
try:
    predict(model, data["images"], strategy=tf.distribute.get_strategy())
    refusal = None
except ValueError as error:
    refusal = str(error)
probabilities = predict(model, data["images"], 12, batch_size=10).tolist()
print(json.dumps({"probabilities": probabilities, "refusal": refusal}))
