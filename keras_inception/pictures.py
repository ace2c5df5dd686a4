"""Pictures of results, drawn with matplotlib (extra "train")."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from keras_inception.errors import import_extra
from keras_inception.files import atomic_path

_RIGHT, _WRONG = "#1a7f37", "#cf222e"


def predictions(
    images: np.ndarray,
    labels: Sequence[int],
    predicted: Sequence[int],
    class_names: Sequence[str],
    path: str | os.PathLike,
    columns: int = 8,
) -> None:
    """Draw a grid of images, each with its predicted and its true class.

    Args:
        images: float (images, height, width, 3), in any range; each is stretched to its own.
        labels: the true classes.
        predicted: the predicted classes.
        class_names: by number.
        path: of the PNG, replaced if it exists.
        columns: images in a row.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    figures = import_extra("matplotlib.figure", "train")
    rows = -(-len(images) // columns)
    figure = figures.Figure(figsize=(1.4 * columns, 1.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, label, guess in zip(grid.flat, images, labels, predicted, strict=False):
        low, high = float(image.min()), float(image.max())
        axes.imshow((image - low) / max(high - low, 1e-6))
        text = f"{class_names[guess]}\nis {class_names[label]}"
        axes.set_title(text, fontsize=9, color=_RIGHT if guess == label else _WRONG)
    wrong = int(np.sum(np.asarray(labels) != np.asarray(predicted)))
    figure.suptitle(f"Predicted and true class of {len(images)} test images, {wrong} wrong")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def curves(
    runs: Mapping[str, Sequence[tuple[float, float]]], value: str, path: str | os.PathLike
) -> None:
    """Draw a value by epoch, a line for each run.

    Args:
        runs: name of the run to its (epoch, value) points.
        value: what it is, for the axis.
        path: of the PNG, replaced if it exists.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    figures = import_extra("matplotlib.figure", "train")
    figure = figures.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, points in runs.items():
        axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.set(xlabel="epoch", ylabel=value.replace("_", " "))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
