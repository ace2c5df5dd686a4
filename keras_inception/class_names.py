"""The names of the ImageNet classes, and predictions put into words."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the 1000 classes of ILSVRC 2012, (synset id, name), in the order of all weights here.

    The order is that of the ids. The names are the first lemma of each synset, with underscores
    for spaces, as in `keras.applications`; "crane" and "maillot" name two classes each.

    Example:
        >>> imagenet_classes()[386]
        ('n02504458', 'African_elephant')
    """
    listed = json.loads(Path(__file__).with_name("imagenet_classes.json").read_text("utf-8"))
    return tuple((synset, name) for synset, name in listed)


def decode_predictions(
    predictions: Any, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[str, str, float]]]:
    """Name the classes with the highest scores; works offline.

    Args:
        predictions: (batch, classes) scores, probabilities or logits: array or tensor. Without
            `class_names`, 1000 classes of ImageNet, or 1001 with a background class first, which
            is never among the results (its share stays missing from the scores).
        top: how many classes to name, the best first; all of them if there are fewer. Of equal
            scores the class that stands first wins.
        class_names: one name per column, for other classes than ImageNet's.

    Returns:
        For every row a list of (id, name, score). The id is the synset, such as "n02504458"; with
        `class_names` it is the number of the column, as a string, so that ids stay unique where
        names do not.

    Raises:
        InputError: if the predictions are not (batch, classes) with as many columns as there are
            names, if a score is not finite, or if `top` is below 1.

    Example:
        >>> decode_predictions(np.eye(1000)[[386]], top=1)
        [[('n02504458', 'African_elephant', 1.0)]]
    """
    if isinstance(predictions, dict):
        raise InputError(
            f"decode_predictions takes one array, but got a dict with {', '.join(predictions)}: "
            'a model with auxiliary heads gives one; pass predictions["predictions"].'
        )
    if keras.ops.is_tensor(predictions):
        predictions = keras.ops.convert_to_numpy(predictions)
    scores = np.asarray(predictions)
    if scores.ndim != 2:
        raise InputError(f"Predictions have shape (batch, classes), but got {scores.shape}.")
    columns = scores.shape[1]
    if class_names is not None:
        classes = [(str(index), name) for index, name in enumerate(class_names)]
        if columns != len(classes):
            raise InputError(f"Got {columns} columns of predictions for {len(classes)} names.")
    else:
        classes = imagenet_classes()
        if columns not in (len(classes), len(classes) + 1):
            raise InputError(
                f"Predictions for ImageNet have {len(classes)} or {len(classes) + 1} columns, but "
                f"got {columns}; name other classes with class_names=[...]."
            )
        scores = scores[:, columns - len(classes) :]
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise InputError(f"Row {row} of the predictions has NaN or infinite scores.")
    if top < 1:
        raise InputError(f"top is at least 1, but got {top}.")
    # In floats: the negative of an unsigned integer is none.
    best = np.argsort(-scores.astype("float64"), axis=1, kind="stable")[:, :top]
    return [
        [(*classes[column], float(row[column])) for column in order]
        for row, order in zip(scores, best, strict=True)
    ]
