"""Computes the Frechet inception distance between two folders of images.

    python examples/fid_features.py real/ generated/
    python examples/fid_features.py real/ generated/ --weights fid.weights.h5

The features are the 2048 numbers before the classes of the 2015 network that the distance is
defined with. It runs offline with a file of this package; and without folders: two sets of noise
and random weights, which shows the computation, not a distance to compare with anybody's.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np

import keras_inception as ki
from keras_inception.images import ENDINGS

BATCH = 16
DEFAULT = "pytorch_fid.pt_inception-2015-12-05"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folders", nargs="*", help="two folders of images")
parser.add_argument("--weights", default=DEFAULT, help="id or file")
options = parser.parse_args()


def read(folder: str) -> Iterator[np.ndarray]:
    """Read a folder's images in batches, resized as the network's preprocessing says."""
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in ENDINGS)
    if len(paths) < 2:
        raise SystemExit(f"{folder} holds {len(paths)} images; expected at least 2")
    for first in range(0, len(paths), BATCH):
        batch = paths[first : first + BATCH]
        yield np.stack([np.asarray(prepare(np.asarray(keras.utils.load_img(p)))) for p in batch])


def statistics(batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the features."""
    features = np.concatenate([model.predict_on_batch(images) for images in batches])
    return features.mean(axis=0, dtype="float64"), np.cov(features, rowvar=False, dtype="float64")


def distance(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Frechet distance of two normal distributions (Heusel et al. 2017, arXiv:1706.08500)."""
    (mean_1, covariance_1), (mean_2, covariance_2) = one, other
    values, vectors = np.linalg.eigh(covariance_1)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    both = np.linalg.eigvalsh(root @ covariance_2 @ root)
    traces = (
        np.trace(covariance_1) + np.trace(covariance_2) - 2 * np.sqrt(np.clip(both, 0, None)).sum()
    )
    return float(np.sum((mean_1 - mean_2) ** 2) + traces)


trunk = {"include_top": False, "pooling": "avg", "architecture": "fid"}
if options.folders:
    if len(options.folders) != 2:
        raise SystemExit(f"{len(options.folders)} folders were given; expected two")
    is_file = Path(options.weights).is_file()
    if is_file:
        print(f"weights of the file {options.weights}; images are prepared as for {DEFAULT}")
    prepare = ki.preprocessing(DEFAULT if is_file else options.weights)
    model = ki.InceptionV3(weights=options.weights, **trunk)
    sets = [read(folder) for folder in options.folders]
else:
    print("noise and random weights: not a distance to compare")
    model = ki.InceptionV3(weights=None, width=0.05, input_shape=(75, 75, 3), **trunk)
    noise = np.random.default_rng(0)
    sets = [[noise.uniform(-1, top, (32, 75, 75, 3)).astype("float32")] for top in (1, 0.5)]
print(f"Frechet inception distance: {distance(*map(statistics, sets)):.4g}")
