"""The main job, start to finish: load data, train, evaluate, save, export, draw.

The run folder appears when the run has succeeded. Until then its files are in a folder beside it,
from where the same command goes on after an interruption.
"""

import dataclasses
import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception import data, evaluation, models, pictures
from keras_inception._version import __version__
from keras_inception.data.digits import DIGITS
from keras_inception.errors import InputError, import_extra
from keras_inception.files import CONFIG_FILE, MODEL_FILE, atomic_path
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.training import fit
from keras_inception.training.strategies import resolve
from keras_inception.training_job import TrainingJob

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class TrainingResult:
    """What a training job came to.

    Attributes:
        folder: the run folder.
        report: the evaluation on the test images; None in a process that is not the first of
            several.
        skipped: names of the unreadable images that were left out.
    """

    folder: Path
    report: evaluation.Report | None
    skipped: tuple[str, ...]


def train(job: TrainingJob, announce: Callable[[str], None] = lambda text: None) -> TrainingResult:
    """Run a training job.

    Args:
        job: what to do.
        announce: is told what is about to be done: the plan before the first step, and what goes
            on after the last one.

    Returns:
        The result; its folder holds model.keras, saved_model/, history.csv, curves.png,
        config.json, predictions.png, report.json, classes.csv and what `ki.training.fit` leaves.

    Raises:
        InputError: for any argument that cannot work; if `out` holds a finished run and
            `overwrite` is False.
        MissingExtra: if the extra "train" is not installed.
        OSError: if a file cannot be written; what is there stays.
    """
    import_extra("matplotlib", "train")
    out = Path(job.out)
    _check_target(out, job.overwrite)
    cluster = resolve(job.strategy)
    _check_network(job)
    dataset = data.load(job.data, seed=job.seed, skip_broken=job.skip_broken, data_dir=job.data_dir)
    preprocessing = _preprocessing(job)
    batches = data.training_batches(
        dataset.train,
        preprocessing=preprocessing,
        global_batch_size=job.batch_size,
        mode=job.recipe.augmentation,
        seed=job.seed,
    )
    announce(_summary(job, dataset))
    announce(str(_shown_recipe(job).plan(batches.images, job.batch_size)))
    unfinished = out.with_name(f"{out.name}.unfinished")
    if job.resume == "never":
        shutil.rmtree(unfinished, ignore_errors=True)
    fit(
        lambda: _build(job, len(dataset.class_names)),
        job.recipe,
        batches,
        data.evaluation_batches(
            dataset.validation, preprocessing=preprocessing, batch_size=_EVALUATION_BATCH
        ),
        run_dir=unfinished,
        strategy=cluster,
        batch_statistics=job.batch_statistics,
        rematerialize=job.rematerialize,
        resume=job.resume,
        seed=job.seed,
        deterministic=job.deterministic,
        verbose=job.verbose,
    )
    if not cluster.is_chief:
        return TrainingResult(out, None, dataset.skipped)
    announce(f"evaluating {len(dataset.test):,} test images")
    model = keras.saving.load_model(unfinished / MODEL_FILE)
    report = evaluation.evaluate(
        model,
        dataset.test,
        preprocessing=preprocessing,
        class_names=dataset.class_names,
        batch_size=_EVALUATION_BATCH,
        progress=job.verbose == 1,
    )
    announce("exporting the network and drawing its predictions")
    _write_results(unfinished, job, model, report, dataset, preprocessing)
    with atomic_path(out) as finished:
        os.replace(unfinished, finished)
    return TrainingResult(out, report, dataset.skipped)


def _check_target(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder that does not exist yet.")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(
            f"{out} is not empty. Name another folder, or replace it with overwrite=True; it is "
            "replaced only once the new run has succeeded."
        )
    out.parent.mkdir(parents=True, exist_ok=True)


def _check_network(job: TrainingJob) -> None:
    """Build the network one filter wide, which is quick: what cannot work is told at once."""
    _build(dataclasses.replace(job, width=min(job.width, 1e-9)), classes=1)


def _shown_recipe(job: TrainingJob) -> Recipe:
    """Return the recipe as it acts on this network: without heads there is no weight of them."""
    return job.recipe if job.aux_heads else dataclasses.replace(job.recipe, auxiliary_weight=0.0)


def _preprocessing(job: TrainingJob) -> Preprocessing:
    whole = 1.0 if job.data == DIGITS else Preprocessing.crop_fraction
    return Preprocessing(
        size=(job.image_size, job.image_size), crop_fraction=job.crop_fraction or whole
    )


def _build(job: TrainingJob, classes: int) -> keras.Model:
    return models.build(
        job.model,
        weights=None,
        input_shape=(job.image_size, job.image_size, 3),
        classes=classes,
        width=job.width,
        aux_heads=job.aux_heads,
    )


def _summary(job: TrainingJob, dataset: data.Dataset) -> str:
    parts = ((len(dataset.train), "train"), (len(dataset.validation), "validation"))
    counts = ", ".join(f"{count} {part}" for count, part in (*parts, (len(dataset.test), "test")))
    return (
        f"{job.model}, width {job.width:g}, {job.image_size}x{job.image_size} pixels, on "
        f"{dataset.name}: {len(dataset.class_names)} classes, images: {counts}"
    )


def _write_results(
    folder: Path,
    job: TrainingJob,
    model: keras.Model,
    report: evaluation.Report,
    dataset: data.Dataset,
    preprocessing: Preprocessing,
) -> None:
    report.to_json(folder / "report.json")
    report.to_csv(folder / "classes.csv")
    _export(model, folder / "saved_model")
    images, labels = _first_images(dataset.test, preprocessing, count=40)
    predicted = np.argmax(model.predict(images, verbose=0), axis=-1)
    pictures.predictions(images, labels, predicted, dataset.class_names, folder / "predictions.png")
    with atomic_path(folder / CONFIG_FILE) as path:
        path.write_text(json.dumps(_config(job, report, dataset, preprocessing), indent=2) + "\n")


def _export(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    try:
        with atomic_path(path) as exported:
            model.export(exported, format="tf_saved_model", verbose=False)
    except tf.errors.OpError as error:  # a full disk is no OSError to TensorFlow
        raise OSError(f"{path} cannot be written: {error.message}") from error


def _first_images(
    split: data.Split, preprocessing: Preprocessing, count: int
) -> tuple[np.ndarray, Sequence[int]]:
    batches = data.evaluation_batches(split, preprocessing=preprocessing, batch_size=count)
    images, labels = next(iter(batches))
    return images.numpy(), labels.numpy()


def _config(
    job: TrainingJob,
    report: evaluation.Report,
    dataset: data.Dataset,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """Everything that it takes to repeat a run, and to use its model."""
    settings = {
        setting.name: getattr(job, setting.name)
        for setting in dataclasses.fields(job)
        if setting.name not in ("recipe", "strategy", "overwrite", "resume", "verbose")
    }
    return {
        **{name: str(v) if isinstance(v, os.PathLike) else v for name, v in settings.items()},
        "recipe": dataclasses.asdict(job.recipe),
        "preprocessing": dataclasses.asdict(preprocessing),
        "class_names": dataset.class_names,
        "images": {
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
            "skipped": len(dataset.skipped),
        },
        "test_accuracy": 1 - report.top1_error,
        "versions": {
            "keras_inception": __version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }
