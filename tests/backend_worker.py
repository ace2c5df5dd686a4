"""Run under another backend, in a process of its own: forward passes and a train step.

`python -m tests.backend_worker FOLDER`: for every `<id>.npz` in FOLDER, with a network's weights
and its input, writes `<id>.out.npy` with the predictions and prints the loss before and after a
train step.
"""

import sys
from pathlib import Path

import keras
import numpy as np

from tests.zoo import PAPER_CASES


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    for case in PAPER_CASES:
        with np.load(folder / f"{case.id}.npz") as stored:
            x = stored["x"]
            weights = [stored[str(i)] for i in range(len(stored.files) - 1)]
        model = case.small(dropout=0.0)
        model.set_weights(weights)
        np.save(folder / f"{case.id}.out.npy", keras.ops.convert_to_numpy(model(x)))
        model.compile(
            keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True
        )
        y = np.arange(len(x)) % 5
        before = float(model.train_on_batch(x, y))
        trained = {id(weight) for weight in model.trainable_weights}
        moved = [
            bool(np.any(keras.ops.convert_to_numpy(weight) != old))
            for weight, old in zip(model.weights, weights, strict=True)
            if id(weight) in trained
        ]
        print(case.id, keras.backend.backend(), np.isfinite(before), np.mean(moved) > 0.9)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
