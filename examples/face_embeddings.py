"""Tells whether two pictures show the same face.

    python examples/face_embeddings.py one.jpg other.jpg
    python examples/face_embeddings.py one.jpg other.jpg --weights facenet.weights.h5

The pictures should show aligned, cropped faces. Inception-ResNet-v1 of FaceNet turns each into 512
numbers of length 1; the same face is near, another one far. The default weights need the extra
`torch`: `pip install ".[torch,train]"`. It runs offline with a file of this package; and without
pictures: noise and random weights, and then of course a distance that means nothing.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_inception as ki

DEFAULT = "facenet_pytorch.20180402-114759-vggface2"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("images", nargs="*", help="two pictures")
parser.add_argument("--weights", default=DEFAULT, help="id or file")
parser.add_argument("--threshold", type=float, default=1.1, help="distance of another face")
options = parser.parse_args()

embedding = {"include_top": False, "pooling": "embedding", "architecture": "facenet"}
if options.images:
    faces = [np.asarray(keras.utils.load_img(path)) for path in options.images]
    is_file = Path(options.weights).is_file()
    if is_file:
        print(f"weights of the file {options.weights}; faces are prepared as for {DEFAULT}")
    prepare = ki.preprocessing(DEFAULT if is_file else options.weights)
    shape = (*prepare.size, 3)
    model = ki.InceptionResNetV1(weights=options.weights, input_shape=shape, **embedding)
else:
    print("noise and random weights: the distance means nothing")
    faces = list(np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), "uint8"))
    prepare = ki.preprocess_input
    model = ki.InceptionResNetV1(weights=None, width=0.1, input_shape=(160, 160, 3), **embedding)

if len(faces) != 2:
    raise SystemExit(f"{len(faces)} pictures were given; expected two")
first, second = (model.predict(np.asarray(prepare(face))[None], verbose=0)[0] for face in faces)
distance = float(np.linalg.norm(first - second))
print(f"distance {distance:.3f}: {'the same' if distance < options.threshold else 'another'} face")
