"""Names what is in a picture.

    python examples/classify_image.py picture.jpg
    python examples/classify_image.py picture.jpg --weights keras.inception_v3
    python examples/classify_image.py picture.jpg --weights none

The weights are downloaded once and verified. With `--weights none` it runs offline: random weights,
and then of course random answers.
"""

import argparse

import keras
import numpy as np

import keras_inception as ki

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("image", nargs="?", help="default: a grey square")
parser.add_argument("--weights", default="timm.inception_v4.tf_in1k", help="an id, or none")
options = parser.parse_args()

if options.image:
    image = np.asarray(keras.utils.load_img(options.image))
else:
    image = np.full((400, 300, 3), 128, "uint8")

if options.weights == "none":
    print("random weights: the answers mean nothing")
    model, prepare = ki.InceptionV4(weights=None, width=0.1), ki.preprocess_input
    image = np.asarray(keras.ops.image.resize(image.astype("float32"), (299, 299)))
else:
    entry = ki.weights.info(options.weights)
    model, prepare = ki.build(entry.model, weights=entry.id), entry.preprocessing

probabilities = model.predict(np.asarray(prepare(image[None])), verbose=0)
for _, name, probability in ki.decode_predictions(probabilities)[0]:
    print(f"{probability:6.1%}  {name}")
