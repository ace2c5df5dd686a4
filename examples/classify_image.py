"""Names what is in a picture.

    python examples/classify_image.py picture.jpg
    python examples/classify_image.py picture.jpg --weights keras.inception_v3
    python examples/classify_image.py picture.jpg --weights mine.weights.h5 --model InceptionV3
    python examples/classify_image.py picture.jpg --weights none

Weights of an id are downloaded once, and verified where a checksum is published. It runs offline
with a file of this package, and with `--weights none`: random weights, and then of course random
answers.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_inception as ki

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("image", nargs="?", help="default: a grey square")
parser.add_argument("--weights", default="timm.inception_v4.tf_in1k", help="id, file, or none")
parser.add_argument("--model", default="InceptionV4", help="the network of a file")
options = parser.parse_args()

if options.image:
    image = np.asarray(keras.utils.load_img(options.image))
else:
    image = np.full((400, 300, 3), 128, "uint8")

if options.weights == "none":
    print("random weights: the answers mean nothing")
    model, prepare = ki.InceptionV4(weights=None, width=0.1), ki.preprocess_input
    image = np.asarray(keras.ops.image.resize(image.astype("float32"), (299, 299)))
elif Path(options.weights).is_file():
    print(f"weights of the file {options.weights}; images are prepared as in the papers")
    model = ki.build(options.model, weights=options.weights)
    prepare = ki.Preprocessing(size=model.input_shape[1:3])
else:
    entry = ki.weights.info(options.weights)
    model, prepare = ki.build(entry.model, weights=entry.id), entry.preprocessing

probabilities = model.predict(np.asarray(prepare(image[None])), verbose=0)
for _, name, probability in ki.decode_predictions(probabilities)[0]:
    print(f"{probability:6.1%}  {name}")
