"""Running an exported file in its own runtime, and comparing it with Keras."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.inference.export.calibration import Calibration
from keras_inception.inference.export.network import ENCODED, FEATURES, PREDICTIONS, Network
from keras_inception.inference.export.saved_model import FILE
from keras_inception.inference.runtimes import open_runtime
from keras_inception.preprocessing import preprocess_input

BOUNDS = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1, "int8": 0.25}
"""By precision: the difference that is accepted, as a share of the largest output.

For `OF_MEAN` it is the mean of the images' differences, for the others the largest: 8 significant
bits decide an image between two classes either way, and such an image says nothing about the file.
"""

OF_MEAN = ("bfloat16", "int8")

AGREEMENT = 0.9
"""The share of the calibration images whose first class an "int8" file must leave as it is."""

_BATCH = 2
_PICTURES_FOR_MEAN = 16
_CALIBRATION_IMAGES = 64
_FREE_SIZES = ((128, 151), (173, 128))  # tried where the file takes images of any size
_TILE = 5  # pixels; finer noise would leave nothing after the first pools


class ExportError(InputError):
    """An export that failed, or whose outputs are not the model's; nothing was written."""


def check(
    path: Path,
    network: Network,
    precision: str,
    bound: float,
    calibration: Calibration | None,
    agreement: float = AGREEMENT,
) -> float:
    """Compare what a file computes with what the model computes.

    Args:
        path: the exported file or folder.
        network: what was exported.
        precision: in which; it says whether the mean or the largest of the differences counts.
        bound: difference that is accepted.
        calibration: images to compare on; None: fixed random pictures.
        agreement: share of the calibration images whose first class must stay.

    Returns:
        The difference of the outputs, as a share of the largest output of the model.

    Raises:
        ExportError: if a difference is above the bound, the outputs have other names or shapes, or
            fewer calibration images than wanted keep their first class.
    """
    combined = np.mean if precision in OF_MEAN else np.max
    pictures = _PICTURES_FOR_MEAN if precision in OF_MEAN else _BATCH
    differences, agree = [], []
    with open_runtime(path) as runtime:
        for images, new in _inputs(network, calibration, pictures):
            expected = _expected(network.reference, network.prepare(images))[:new]
            found = {name: values[:new] for name, values in runtime.run(images).items()}
            differences.extend(_differences(found, network.output_name, expected, runtime.name))
            first = found[network.output_name].argmax(-1)
            agree.extend(np.ravel(first == expected.argmax(-1)))
    difference = float(combined(differences))
    _check_bound(difference, bound, runtime.name)
    if calibration is not None and network.output_name == PREDICTIONS:
        if np.mean(agree) < agreement:
            raise ExportError(
                f"The exported file gives {np.mean(agree):.0%} of {len(agree)} calibration images "
                f"the first class that the model gives them, in {runtime.name}; expected "
                f"{agreement:.0%}. Nothing was written. Calibrate on more images, or on images "
                "nearer to those that the model was trained on; tolerance= does without this."
            )
    elif calibration is None and (path / FILE).is_file():
        _check_signatures(path, network, bound, combined)
    return difference


def _check_signatures(
    path: Path, network: Network, bound: float, combined: Callable[[Any], Any]
) -> None:
    """Compare what a SavedModel's other signatures compute."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(path)).signatures
    images, _ = next(_inputs(network, None, _BATCH))
    inputs = {FEATURES: (images, network.reference_features, FEATURES)}
    if ENCODED in signatures:
        files = tf.stack([tf.io.encode_png(image) for image in images])
        inputs[ENCODED] = (files, network.reference, network.output_name)
    prepared = network.prepare(images)
    for name, (given, model, output) in inputs.items():
        (argument,) = signatures[name].structured_input_signature[1]
        found = signatures[name](**{argument: tf.constant(given)})
        found = {key: keras.ops.convert_to_numpy(values) for key, values in found.items()}
        where = f"TensorFlow, signature {name!r}"
        differences = _differences(found, output, _expected(model, prepared), where)
        _check_bound(float(combined(differences)), bound, where)


def _expected(model: keras.Model, prepared: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(prepared, training=False))


def _differences(
    found: dict[str, np.ndarray], name: str, expected: np.ndarray, where: str
) -> np.ndarray:
    """Return the largest difference of each image, as a share of the largest output."""
    shapes = {key: values.shape for key, values in found.items()}
    if shapes != {name: expected.shape}:
        raise ExportError(
            f"The exported file gives {shapes} in {where}; expected {name!r} of "
            f"{expected.shape}. Nothing was written."
        )
    errors = np.abs(found[name] - expected)
    return errors.max(axis=tuple(range(1, errors.ndim))) / np.abs(expected).max()


def _check_bound(difference: float, bound: float, where: str) -> None:
    if not difference <= bound:  # NaN is none either
        raise ExportError(
            f"The exported file differs from the model by {difference:.3g} of the largest output "
            f"in {where}; the bound is {bound:g}. Nothing was written. If it is good "
            "enough, say so with tolerance=."
        )


def _inputs(
    network: Network, calibration: Calibration | None, pictures: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield batches of what the file takes, and how many of their images count.

    They are calibration images, or so many random pictures.
    """
    if calibration is not None:
        yield from calibration.some(_CALIBRATION_IMAGES).inputs(network)
        return
    for batch, *shape in _shapes(network):
        rng = np.random.default_rng(0)
        for _ in range(-(-pictures // batch)):
            pixels = _pictures(rng, (batch, *shape))
            yield (pixels if network.input_dtype == "uint8" else preprocess_input(pixels)), batch


def _shapes(network: Network) -> list[tuple[int, ...]]:
    """Return input shapes to try: two if height or width is free."""
    batch, *size, channels = network.input_shape
    tried = _FREE_SIZES if None in size else (size,)
    return [
        (batch or _BATCH, *(s or free for s, free in zip(size, sides, strict=True)), channels)
        for sides in tried
    ]


def _pictures(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return pictures of random coloured tiles, uint8."""
    images, height, width, channels = shape
    tiles = rng.integers(
        0, 256, (images, -(-height // _TILE), -(-width // _TILE), channels), "uint8"
    )
    return tiles.repeat(_TILE, 1).repeat(_TILE, 2)[:, :height, :width]
