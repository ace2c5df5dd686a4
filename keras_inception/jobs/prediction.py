"""Class probabilities of image files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError
from keras_inception.evaluation.crops import crops as cut_crops
from keras_inception.evaluation.crops import protocol
from keras_inception.evaluation.ensembles import are_logits, softmax
from keras_inception.inference.predictor import Prediction, Predictor, Views
from keras_inception.inference.reading import sources
from keras_inception.preprocessing import Preprocessing


@dataclass(frozen=True)
class Answer:
    """What the networks say of an image file.

    Attributes:
        path: of the file.
        classes: the likeliest classes, likeliest first, with their probabilities.
        error: why the file could not be read, or a network refused it; None if all is well.
    """

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def image_files(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """List image files, and those of folders at any depth in the order of their names.

    Raises:
        InputError: if a folder holds no image. (A file that does not exist is listed.)
    """
    return [Path(name) for path in paths for name, _ in sources(path)]


def predict(
    networks: Sequence[Predictor],
    paths: Iterable[str | os.PathLike],
    *,
    crops: int = 1,
    top: int = 5,
) -> Iterator[Answer]:
    """Predict the classes of image files, one answer a file, in order.

    Args:
        networks: one, or an ensemble over the same classes, whose probabilities are averaged.
            Outputs that leave 0 to 1 are logits, and go through softmax first.
        paths: image files, or folders whose images at any depth are taken in order of their names.
        crops: 1, 10, 12 or 144, over which probabilities are averaged.
        top: how many classes an answer names.

    Yields:
        The answers; a file that cannot be read, or is not there, has an error, and the rest is
        done.

    Raises:
        InputError: if the networks have not the same classes, crops or top do not serve, or a
            folder holds no image; before the first answer.
    """
    names = networks[0].class_names
    if any(network.class_names != names for network in networks):
        raise InputError(
            "The networks of an ensemble must have the same classes in the same order, but "
            f"{networks[0].name} and another have not."
        )
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}.")
    views = None if crops == 1 else _crops(networks, crops)
    files = image_files(paths)
    streams = (network.predict(files, views, _probabilities) for network in networks)
    for answers in zip(*streams, strict=True):
        yield _answer(answers, names, top)


def _answer(answers: Sequence[Prediction], names: Sequence[str] | None, top: int) -> Answer:
    path = Path(answers[0].name)
    error = next((answer.error for answer in answers if answer.error is not None), None)
    if error is not None:
        return Answer(path, error=error)
    row = np.mean([answer.outputs for answer in answers], axis=0)
    best = np.argsort(-row, kind="stable")[:top]
    return Answer(path, tuple((names[i] if names else str(i), float(row[i])) for i in best))


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    return softmax(outputs) if are_logits(outputs) else outputs


def _crops(networks: Sequence[Predictor], crops: int) -> Views:
    protocol(crops)  # refuses other numbers of crops before anything is read
    for network in networks:
        size = network.preprocessing and network.preprocessing.size
        if size is None or size[0] != size[1]:
            found = f"{size[0]} x {size[1]} pixels" if size else "images as they are"
            raise InputError(
                f"{crops} crops are squares, but {network.name} takes {found}; use 1 crop."
            )

    def views(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
        return preprocessing.normalize(cut_crops(image, preprocessing.size[0], crops))

    return views
