"""A network that is ready for use: with the preprocessing and the class names that belong to it."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_inception import models
from keras_inception.class_names import imagenet_classes
from keras_inception.errors import InputError
from keras_inception.files import CONFIG_FILE, MODEL_FILE, SETTINGS_FILE
from keras_inception.inference.graph import main_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import info, list_weights, origin
from keras_inception.weights.manifest import unknown_weights

_OF_A_RUN = {"preprocessing", "class_names", "seed"}


@dataclass(frozen=True)
class Trained:
    """A network and what it takes to use it.

    Attributes:
        name: for reports.
        model: gives class probabilities.
        preprocessing: of its images.
        class_names: one a class.
        seed: of the split that it was trained on; None if that is not known.
        dataset: name of what it was trained on; "" if that is not known.
        splits: for each part of that dataset the digest of its images (`data.Split.digest`).
    """

    name: str
    model: keras.Model
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    seed: int | None = None
    dataset: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)


def load_trained(source: str | os.PathLike) -> Trained:
    """Load a network from a run folder, a `.keras` file, or by the id of public weights.

    Args:
        source: a folder that `keras-inception train` left; a `.keras` file of a classifier, with
            the preprocessing that the run's config.json or training.json beside it has, else the
            papers' at its input size; or an id that `ki.list_weights()` knows.

    Returns:
        The network, its preprocessing and its class names (if nothing names them: ImageNet's for
        1000 classes, else "0", "1", ...).

    Raises:
        InputError: if it is none of these, or the file cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        path = path / MODEL_FILE
        if not path.is_file():
            raise InputError(f"{source} is no run folder: it holds no {MODEL_FILE}.")
    if path.is_file():
        return _from_file(path)
    if any(entry.id == str(source) for entry in list_weights()):
        return _from_weights(str(source))
    raise InputError(
        f"There is no run folder or .keras file {source}. {unknown_weights(str(source))}"
    )


def with_defaults(
    model: keras.Model, name: str, preprocessing: Preprocessing | None = None
) -> Trained:
    """Give a network what nothing else says: preprocessing and class names.

    Args:
        model: a classifier.
        name: for reports.
        preprocessing: None: that of the public weights that the network was built with, else the
            papers'; at the network's input size.

    Returns:
        The network with them; ImageNet's names if it has 1000 classes, else "0", "1", ...

    Raises:
        InputError: if the network has no graph from one batch of images to one main output, or
            takes images of any size and nothing says which.
    """
    main = main_model(model)
    built_with = origin(model)
    if preprocessing is None and built_with is not None:
        preprocessing = built_with.preprocessing.sized(main.input_shape[1:3])
    if preprocessing is None:
        preprocessing = papers_preprocessing(name, main.input_shape[1:3])
    return Trained(name, model, preprocessing, class_names(main.output_shape[-1]))


def papers_preprocessing(name: str, size: Sequence[int | None]) -> Preprocessing:
    """Return the papers' preprocessing for a network that says nothing of its own.

    Args:
        name: of the network, for the error.
        size: height and width of the images that it takes.

    Raises:
        InputError: if it takes images of any size.
    """
    if None in size:
        raise InputError(
            f"{name} takes images of any size and nothing says which to use; pass "
            "preprocessing=ki.preprocessing(...) or another Preprocessing."
        )
    return Preprocessing(size=tuple(size))


def class_names(classes: int) -> tuple[str, ...]:
    """Return ImageNet's names for 1000 classes, numbers for any other count."""
    if classes == len(imagenet_classes()):
        return tuple(name for _, name in imagenet_classes())
    return tuple(map(str, range(classes)))


def _from_file(path: Path) -> Trained:
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise InputError(
            f"{path} is no .keras file that can be read; give one, or a run folder. Keras says: "
            f"{error}"
        ) from error
    facts = _facts(path.with_name(CONFIG_FILE))
    if facts.keys() >= _OF_A_RUN:  # other programs have a file of that name, too
        return Trained(
            str(path),
            model,
            Preprocessing(**facts["preprocessing"]),
            tuple(facts["class_names"]),
            facts["seed"],
            facts.get("dataset", ""),
            facts.get("splits", {}),
        )
    found = _facts(path.with_name(SETTINGS_FILE)).get("data.preprocessing")
    return with_defaults(model, str(path), Preprocessing(**found) if found else None)


def _facts(path: Path) -> dict[str, Any]:
    """Return what a run noted in a file; nothing if it is not there, or no object in JSON."""
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _from_weights(weights_id: str) -> Trained:
    entry = info(weights_id)
    classes = entry.classes - bool(entry.background_class) if entry.classes else 0
    if not classes:
        raise InputError(f"Weights {weights_id!r} have no classes to predict.")
    model = models.build(entry.model, weights=weights_id, classes=classes)
    return with_defaults(model, weights_id, entry.preprocessing)
