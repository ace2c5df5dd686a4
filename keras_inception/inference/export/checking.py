"""Running an exported file in its own runtime, and comparing it with Keras."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.inference.export.calibration import Calibration
from keras_inception.inference.export.network import Network
from keras_inception.inference.runtimes import open_runtime
from keras_inception.preprocessing import preprocess_input

BOUNDS = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.05, "int8": 0.25}
"""By precision: the difference that is accepted, as a share of the largest output.

For "int8" it is the mean of the images' differences, for the others the largest: 8 bits decide an
image between two classes either way, and such an image says nothing about the file.
"""

_BATCH = 2
_CALIBRATION_IMAGES = 64
_FREE_SIZES = ((128, 151), (173, 128))  # tried where the file takes images of any size
_TILE = 5  # pixels; finer noise would leave nothing after the first pools


class ExportError(InputError):
    """An export that failed, or whose outputs are not the model's; nothing was written."""


def check(path: Path, network: Network, bound: float, calibration: Calibration | None) -> float:
    """Compare what a file computes with what the model computes.

    Args:
        path: the exported file or folder.
        network: what was exported.
        bound: difference that is accepted.
        calibration: images to compare on, of which the mean counts; None: fixed random pictures,
            of which the worst does.

    Returns:
        The difference of the outputs, as a share of the largest output of the model.

    Raises:
        ExportError: if the difference is above the bound, or the outputs have other names or
            shapes.
    """
    differences = []
    with open_runtime(path) as runtime:
        for images in _inputs(network, calibration):
            prepared = network.prepare(images)
            expected = keras.ops.convert_to_numpy(network.reference(prepared, training=False))
            found = runtime.run(images)
            shapes = {name: values.shape for name, values in found.items()}
            if shapes != {network.output_name: expected.shape}:
                raise ExportError(
                    f"The exported file gives {shapes} in {runtime.name}; expected "
                    f"{network.output_name!r} of {expected.shape}. Nothing was written."
                )
            errors = np.abs(found[network.output_name] - expected)
            of_images = errors.max(axis=tuple(range(1, errors.ndim)))
            differences.extend(of_images / np.abs(expected).max())
    difference = float(np.max(differences) if calibration is None else np.mean(differences))
    if not difference <= bound:  # NaN is none either
        raise ExportError(
            f"The exported file differs from the model by {difference:.3g} of the largest output "
            f"in {runtime.name}; the bound is {bound:g}. Nothing was written. If it is good "
            "enough, say so with tolerance=."
        )
    return difference


def _inputs(network: Network, calibration: Calibration | None) -> Iterator[np.ndarray]:
    """Yield batches of what the file takes."""
    if calibration is not None:
        batches = -(-_CALIBRATION_IMAGES // calibration.batch_size)
        yield from itertools.islice(calibration.inputs(network), batches)
        return
    for shape in _shapes(network):
        pixels = _pictures(shape)
        yield pixels if network.input_dtype == "uint8" else preprocess_input(pixels)


def _shapes(network: Network) -> list[tuple[int, ...]]:
    """Return input shapes to try: two if height or width is free."""
    batch, *size, channels = network.input_shape
    tried = _FREE_SIZES if None in size else (size,)
    return [
        (batch or _BATCH, *(s or free for s, free in zip(size, sides, strict=True)), channels)
        for sides in tried
    ]


def _pictures(shape: tuple[int, ...]) -> np.ndarray:
    """Return fixed pictures of random coloured tiles, uint8."""
    images, height, width, channels = shape
    tiles = np.random.default_rng(0).integers(
        0, 256, (images, -(-height // _TILE), -(-width // _TILE), channels), "uint8"
    )
    return tiles.repeat(_TILE, 1).repeat(_TILE, 2)[:, :height, :width]
