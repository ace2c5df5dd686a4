"""Images per second of the papers' distortion, and how long train steps wait for them.

Our side is `keras_inception.data.training_batches(mode="paper")`. The other is
`keras.utils.image_dataset_from_directory` followed by Keras's preprocessing layers. Keras has no
layer for a random crop of random size; `RandomZoom` after resizing to the final size stands for it,
which chooses neither a place nor an interpolation, so that side is asked for less. Then a network
is trained on our batches.

    python benchmarks/input_pipeline.py

Prints medians and writes `benchmarks/input_pipeline.json`; takes about three minutes on two CPU
cores. It fails if our side is less than twice as fast, or if more than a tenth of the train steps'
time is spent waiting for images. The photographs are synthetic JPEGs of 500x375 pixels; their mean
size is among the figures.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_inception as ki
from keras_inception import data
from keras_inception.data import distortions
from keras_inception.files import atomic_path
from keras_inception.jobs.benchmark.results import machine
from keras_inception.preprocessing import Preprocessing

RESULT = Path(__file__).with_suffix(".json")
CLASSES = 2
OURS, STOCK = "keras_inception", "keras layers"
LEAST_RATIO = 2.0
LARGEST_WAITING_SHARE = 0.1


def write_photographs(folder: Path, count: int) -> float:
    """Write JPEGs into class folders.

    Args:
        folder: where to.
        count: how many, over all classes.

    Returns:
        Their mean size in bytes.
    """
    random = np.random.default_rng(0)
    sizes = []
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), "uint8"))
        pixels = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
        noisy = np.clip(pixels + random.normal(0, 12, pixels.shape), 0, 255).astype("uint8")
        file = folder / f"class{i % CLASSES}" / f"{i:05d}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy).save(file, quality=95)
        sizes.append(file.stat().st_size)
    return statistics.mean(sizes)


def our_batches(folder: Path, size: int, batch_size: int) -> data.TrainingBatches:
    """Return our batches, of every photograph."""
    split = data.load(folder).train
    every = data.Split(split.read, np.arange(len(list(folder.glob("*/*.jpg")))))
    preprocessing = Preprocessing(size=(size, size))
    return data.training_batches(
        every, preprocessing=preprocessing, global_batch_size=batch_size, mode="paper"
    )


def keras_batches(folder: Path, size: int, batch_size: int) -> tf.data.Dataset:
    """Return endless batches of the same distortions by Keras layers."""
    least_side = data.batches.AREA_RANGE[0] ** 0.5
    low, high = distortions.SATURATION
    layers = [
        keras.layers.RandomZoom((least_side - 1, 0.0), (least_side - 1, 0.0)),
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomBrightness(distortions.BRIGHTNESS / 255),
        # Half of this layer's factor is a factor of 1.
        keras.layers.RandomSaturation((low / (1 + low), high / (1 + high))),
        keras.layers.RandomHue((0.0, distortions.HUE)),
        keras.layers.RandomContrast(high - 1),
        keras.layers.Rescaling(1 / 127.5, -1.0),
    ]

    def distort(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for layer in layers:
            images = layer(images, training=True) if layer is not layers[-1] else layer(images)
        return images, labels

    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=batch_size, seed=0, verbose=False
    )
    distorted = dataset.repeat().map(distort, num_parallel_calls=tf.data.AUTOTUNE)
    return distorted.prefetch(tf.data.AUTOTUNE)


def images_per_second(dataset: tf.data.Dataset, batch_size: int, steps: int) -> float:
    """Take batches for a while, after two that fill the buffers."""
    batches = iter(dataset)
    for _ in range(2):
        next(batches)
    start = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return steps * batch_size / (time.perf_counter() - start)


def compare(folder: Path, options: argparse.Namespace) -> dict:
    """Return the images per second of both sides, measured in turns, and their ratio."""
    ours = our_batches(folder, options.size, options.batch)
    epochs = (options.steps + 2) // ours.steps_per_epoch + 1
    sides = {
        OURS: ours.dataset(epochs),
        STOCK: keras_batches(folder, options.size, options.batch),
    }
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _, side in itertools.product(range(options.rounds), sides):
        rates[side].append(images_per_second(sides[side], options.batch, options.steps))
    medians = {side: statistics.median(found) for side, found in rates.items()}
    for side, found in rates.items():
        print(f"{side:<16} {medians[side]:7.1f} images/s, {min(found):.1f} to {max(found):.1f}")
    ratio = medians[OURS] / medians[STOCK]
    print(f"{ratio:.2f} times as fast", flush=True)
    return {"images_per_second": medians, "rounds": rates, "ratio": ratio}


def train(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Train, and see how long each step waits for its images.

    Returns:
        Median seconds of a step, and the share of all steps' time spent waiting.
    """
    batches = our_batches(folder, options.size, options.batch)
    model = ki.build(
        options.network,
        weights=None,
        input_shape=(options.size, options.size, 3),
        classes=CLASSES,
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    found = waiting(batches, model, options.train_steps)
    print(
        f"{options.network}: {found['step_seconds']:.2f} s a step, {found['waiting_share']:.1%} of "
        "it waiting for images"
    )
    return found


def waiting(batches: data.TrainingBatches, model: keras.Model, steps: int) -> dict[str, float]:
    """Make some train steps, and two before that are not counted; see `train`."""
    epochs = (steps + 2) // batches.steps_per_epoch + 1
    source = iter(batches.dataset(epochs))
    waited, whole = [], []
    for _ in range(steps + 2):
        start = time.perf_counter()
        images, labels = next(source)
        waited.append(time.perf_counter() - start)
        model.train_on_batch(images, labels)
        whole.append(time.perf_counter() - start)
    return {
        "step_seconds": statistics.median(whole[2:]),
        "waiting_share": sum(waited[2:]) / sum(whole[2:]),
    }


def failures(figures: dict) -> list[str]:
    """Return what does not hold."""
    wrong = []
    if figures["ratio"] < LEAST_RATIO:
        wrong.append(f"{figures['ratio']:.2f} times as fast; expected {LEAST_RATIO:g}.")
    share = figures["training"]["waiting_share"]
    if share > LARGEST_WAITING_SHARE:
        wrong.append(f"{share:.1%} of the time waiting; expected {LARGEST_WAITING_SHARE:.0%}.")
    return wrong


def main() -> None:
    """Measure, print, write the figures, and fail if they are not good."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256, help="photographs to make")
    parser.add_argument("--size", type=int, default=299, help="side of the network's input")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="batches of a measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, in turns")
    parser.add_argument("--network", default="InceptionV3", help="to train")
    parser.add_argument("--train-steps", type=int, default=8)
    parser.add_argument("--result", type=Path, default=RESULT, help="the JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mean_bytes = write_photographs(folder, options.images)
        figures = compare(folder, options)
        figures["training"] = train(folder, options)
    settings = {key: value for key, value in vars(options).items() if key != "result"}
    record = {"machine": machine(), **settings, "photograph_bytes": mean_bytes, "results": figures}
    with atomic_path(options.result) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit("\n".join(failures(figures)) or 0)


if __name__ == "__main__":
    main()
