"""Evaluating networks as the papers did: crops, ensembles, every image counted once."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.evaluation.crops import Protocol, protocol
from keras_inception.evaluation.ensembles import Ensemble
from keras_inception.evaluation.examples import examples
from keras_inception.evaluation.exclusion import exclusions
from keras_inception.evaluation.metrics import Counts
from keras_inception.evaluation.pipeline import Batch, batches
from keras_inception.evaluation.report import Report
from keras_inception.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf


def evaluate(
    model_or_models: keras.Model | Sequence[keras.Model],
    dataset: Any,
    crops: int = 1,
    weights: Sequence[float] | None = None,
    *,
    preprocessing: Preprocessing | Sequence[Preprocessing | None] | None = None,
    scales: Sequence[float] | None = None,
    outputs: str | Sequence[str] = "auto",
    exclude: Iterable[str | int] | str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int = 32,
    strategy: tf.distribute.Strategy | None = None,
    progress: bool = False,
) -> Report:
    """Measure the error of a network or an ensemble of them.

    The class probabilities of an image are averaged over its crops and over the networks
    (GoogLeNet paper, section 7). Memory depends on `batch_size` and on the largest network, not on
    the number of crops, images or networks.

    Args:
        model_or_models: a network, or several. Those with several outputs answer with the one
            called "predictions".
        dataset: a split of `keras_inception.data`, or an unbatched `tf.data.Dataset` of
            (image, label) or of dicts with "image", "label" and perhaps "name". Images are uint8
            (height, width, 3 or 1) or encoded files, of any size, not yet preprocessed.
        crops: 1 (as the preprocessing cuts it), 10, 12 or 144 (see `crops`).
        weights: weight of each network in the average, any unit; default: the same for all.
        preprocessing: of all networks or of each. The default, None, is the papers' at the
            network's input size; public weights may need theirs.
        scales: shorter sides of the resized image as multiples of the crop's side, one for 10 and
            12 crops, four for 144; default: the paper's 256/224 (288/224, 320/224, 352/224).
        outputs: of all networks or of each: "probabilities", "logits" (softmax is applied), or
            "auto": told apart by their values.
        exclude: images to leave out: names, numbers n for `ILSVRC2012_val_<n>` (the n-th image if
            the dataset gives no names), or the path of a file with one of them per line, such as
            the blacklist in the development kit of the ImageNet challenge 2014, without which the
            v4 paper computes its single-crop errors. The list itself is not part of this package.
            It is an error if the dataset has none of them.
        class_names: for the report; default: the classes' numbers.
        batch_size: crops in one pass through a network, over all replicas.
        strategy: `tf.distribute` strategy whose replicas share each batch (TensorFlow backend);
            default: the one under which the first network was built.
        progress: show a progress bar.

    Returns:
        The report.

    Raises:
        InputError: if an argument does not serve, an image cannot be read, a label is not a class
            of the networks, the networks' classes differ, outputs are not finite, none of the
            images to exclude is there, or no image was counted. The message names what and how to
            mend it.

    Example:
        >>> report = evaluate([v4, *three_resnets], ki.data.load("imagenet2012").validation, 144)
        >>> print(report)
    """
    started = time.perf_counter()
    ensemble = Ensemble(model_or_models, preprocessing, weights, outputs, strategy)
    plan = _plan(crops, scales, ensemble)
    left_out = exclusions(exclude)
    length = _length(dataset)
    bar = keras.utils.Progbar(length, unit_name="image") if progress else None
    counts, counted = None, 0
    for answer in _answers(ensemble, examples(dataset, left_out), plan, batch_size):
        classes = len(answer.probabilities)
        if counts is None:
            class_names = _class_names(class_names, classes)
            counts = Counts(classes)
        if not 0 <= answer.label < classes:
            raise InputError(
                f"The image {answer.name} has the label {answer.label}, but {ensemble.names[0]} "
                f"knows {classes} classes, 0 to {classes - 1}."
            )
        counts.add(answer.probabilities[None], np.array([answer.label]))
        counted += 1
        if bar:
            bar.update(counted)
    if counts is None:
        raise InputError(
            f"No image to evaluate on: the dataset gave {left_out.met}, all of them excluded."
        )
    if bar:
        bar.update(counted, finalize=True)
    report = Report(
        confusion=counts.confusion,
        in_top5=counts.in_top5,
        excluded=left_out.met,
        exclusions_listed=left_out.listed,
        crops=crops,
        scales=plan.scales if plan else (),
        models=ensemble.names,
        weights=ensemble.weights,
        preprocessing=ensemble.preprocessing,
        class_names=class_names,
        seconds=time.perf_counter() - started,
    )
    if length is not None and report.images + report.excluded != length:
        raise InputError(
            f"The dataset says that it has {length} images, but it gave "
            f"{report.images + report.excluded}."
        )
    return report


def predict(
    model_or_models: keras.Model | Sequence[keras.Model],
    images: Iterable[Any],
    crops: int = 1,
    weights: Sequence[float] | None = None,
    *,
    preprocessing: Preprocessing | Sequence[Preprocessing | None] | None = None,
    scales: Sequence[float] | None = None,
    outputs: str | Sequence[str] = "auto",
    batch_size: int = 32,
    strategy: tf.distribute.Strategy | None = None,
) -> np.ndarray:
    """Return the class probabilities of images, averaged over crops and networks.

    Args:
        model_or_models: as for `evaluate`.
        images: uint8 arrays (height, width, 3 or 1), of any size each. They are read one by one.
        crops: as for `evaluate`.
        weights: as for `evaluate`.
        preprocessing: as for `evaluate`.
        scales: as for `evaluate`.
        outputs: as for `evaluate`.
        batch_size: as for `evaluate`.
        strategy: as for `evaluate`.

    Returns:
        float64 array (images, classes).

    Raises:
        InputError: as `evaluate`, if an image is of another kind, or if there are no images.
    """
    import tensorflow as tf

    ensemble = Ensemble(model_or_models, preprocessing, weights, outputs, strategy)
    plan = _plan(crops, scales, ensemble)
    signature = tf.TensorSpec((None, None, None), tf.uint8)
    refused: list[InputError] = []  # raised in the dataset, they would become TensorFlow's
    dataset = tf.data.Dataset.from_generator(
        lambda: _until_refused(images, refused), output_signature=signature
    )
    dataset = examples(dataset.map(lambda image: (image, 0)), exclusions(None))
    answers = _answers(ensemble, dataset, plan, batch_size)
    probabilities = [answer.probabilities for answer in answers]
    if refused:
        raise refused[0]
    if not probabilities:
        raise InputError("No image to predict: the list is empty.")
    return np.stack(probabilities)


def _until_refused(images: Iterable[Any], refused: list[InputError]) -> Iterator[np.ndarray]:
    """Yield images up to the first that is not of pixels; append the error for that one."""
    for number, image in enumerate(images, 1):
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or not _is_image(pixels.shape):
            refused.append(
                InputError(
                    f"The image {number} is {pixels.dtype} {pixels.shape}; expected uint8 (height, "
                    "width, 3 or 1), not yet scaled: each network's preprocessing does that."
                )
            )
            return
        yield pixels


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in (1, 3) and 0 not in shape


@dataclasses.dataclass
class _Answer:
    """An image and the class probabilities that the crops gave it."""

    index: int
    name: str
    label: int
    probabilities: np.ndarray


def _answers(
    ensemble: Ensemble, dataset: tf.data.Dataset, plan: Protocol | None, batch_size: int
) -> Iterator[_Answer]:
    """Yield each image's answer, averaged over crops and networks, in the order of the dataset."""
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    stream = batches(
        dataset, ensemble.inputs, plan, batch_size=batch_size, replicas=ensemble.replicas
    )
    views = plan.views if plan else 1
    current = None
    for batch in stream:
        shares = batch.fold(ensemble(batch.inputs)) / views
        for part in _parts(batch, shares):
            if current is None:
                current = part
            elif current.index == part.index:
                current.probabilities += part.probabilities
            else:
                yield current
                current = part
    if current is not None:
        yield current


def _parts(batch: Batch, shares: np.ndarray) -> Iterator[_Answer]:
    """Sum the shares of each image of a batch: (views, classes) -> (classes,)."""
    starts = np.flatnonzero(np.diff(batch.index, prepend=-1))
    for start, end in pairwise([*starts, len(batch.index)]):
        yield _Answer(
            index=batch.index[start],
            name=batch.names[start].decode("utf-8", "replace"),
            label=batch.labels[start],
            probabilities=shares[start:end].sum(axis=0),
        )


def _plan(crops: int, scales: Sequence[float] | None, ensemble: Ensemble) -> Protocol | None:
    """Return what to cut, None for the preprocessing's own crop."""
    if crops == 1:
        if scales is not None:
            raise InputError(
                "scales are for 10, 12 and 144 crops; the single crop is cut as the preprocessing "
                f"says. Got {scales}."
            )
        return None
    plan = protocol(crops, scales)
    for preprocessing in ensemble.inputs:
        height, width = preprocessing.size
        if height != width:
            raise InputError(
                f"{crops} crops are squares, but the preprocessing makes {height} x {width} "
                "pixels; use crops=1."
            )
    return plan


def _class_names(names: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """Return a name for each class."""
    names = tuple(map(str, range(classes) if names is None else names))
    if len(names) != classes:
        raise InputError(f"{len(names)} class names were given, but there are {classes} classes.")
    return names


def _length(dataset: Any) -> int | None:
    """Return how many images the dataset has, if it knows."""
    try:
        return len(dataset)
    except TypeError:
        return None
