"""The main job, start to finish: load data, train, evaluate, save, export, draw.

The run folder appears when the run has succeeded. Until then its files are in a folder beside it,
from where the same command goes on after an interruption.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception import data, evaluation, models, pictures
from keras_inception._version import __version__
from keras_inception.data.digits import DIGITS
from keras_inception.data.splits import PARTS
from keras_inception.errors import InputError, import_extra
from keras_inception.files import CONFIG_FILE, MODEL_FILE, atomic_path, move_into_place
from keras_inception.networks import NETWORKS
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.training import WorkerLostError, fit
from keras_inception.training.checkpoints import Checkpoints
from keras_inception.training.strategies import resolve
from keras_inception.training_job import TrainingJob
from keras_inception.weights.loading import NamedWeights, OwnFile, find

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
            on after the last one; of several processes in the first one only.

    Returns:
        The result; its folder holds model.keras, saved_model/, history.csv, curves.png,
        config.json, predictions.png, report.json, classes.csv and what `ki.training.fit` leaves.

    Raises:
        InputError: for any argument that cannot work; if `out` holds a finished run and
            `overwrite` is False; if there is an unfinished one and `resume` is "never".
        TrainingError: as `ki.training.fit`.
        MissingExtra: if the extra "train" is not installed.
        OSError: if a file cannot be written; what is there stays.
    """
    import_extra("matplotlib", "train")
    out = _run_folder(job)
    unfinished = out.with_name(f"{out.name}.unfinished")
    cluster = resolve(job.strategy)
    if cluster.is_chief:
        _check_target(job, out, unfinished)
    job = _with_heads_decided(job)
    preprocessing = _preprocessing(job)
    dataset = data.load(
        job.data,
        seed=job.seed,
        skip_broken=job.skip_broken,
        check=job.check,
        label_offset=job.label_offset,
        data_dir=job.data_dir,
    )
    batches = data.training_batches(
        dataset.train,
        preprocessing=preprocessing,
        global_batch_size=job.batch_size,
        mode=job.recipe.augmentation,
        seed=job.seed,
    )
    if cluster.is_chief:
        announce(_summary(job, dataset))
        announce(str(_shown_recipe(job).plan(batches.images, job.batch_size)))
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
        facts=_facts(job, dataset),
        deterministic=job.deterministic,
        checkpoint_steps=job.checkpoint_steps,
        verbose=job.verbose,
    )
    if not cluster.is_chief:
        cluster.sum_over_workers(0.0)
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
    move_into_place(unfinished, out)
    with contextlib.suppress(WorkerLostError):  # nothing is left that it could spoil
        cluster.sum_over_workers(0.0)
    return TrainingResult(out, report, dataset.skipped)


def _run_folder(job: TrainingJob) -> Path:
    """Return where the run shall stand, if a folder can be put there."""
    out = Path(job.out)
    if out.is_symlink():
        out = out.resolve()
    if os.path.ismount(out) or Path.cwd().is_relative_to(out.resolve()):
        raise InputError(
            f"{out} cannot be replaced by the finished run: a disk is mounted there, or this "
            f"process runs in it. Name a folder in it, such as {out / 'run'}."
        )
    return out


def _check_target(job: TrainingJob, out: Path, unfinished: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder that does not exist yet.")
    if out.exists() and any(out.iterdir()) and not job.overwrite:
        what = "holds a finished run" if (out / CONFIG_FILE).is_file() else "is not empty"
        raise InputError(
            f"{out} {what}. Name another folder, or replace it with overwrite=True; it is "
            "replaced only once the new run has succeeded."
        )
    if job.resume == "never" and Checkpoints(unfinished / "checkpoints").files():
        raise InputError(
            f"{unfinished} holds a run that was interrupted. Go on with it by resume='auto', or "
            "remove that folder to start anew."
        )
    out.parent.mkdir(parents=True, exist_ok=True)


def _with_heads_decided(job: TrainingJob) -> TrainingJob:
    """Say whether there are auxiliary heads; build the network, so that mistakes are told at once.

    It is built one filter wide, which is quick.
    """
    weighted = job.recipe.auxiliary_weight > 0
    heads = job.aux_heads
    if heads is None:
        heads = weighted and _has_heads(job.model) and job.weights is None
    narrow = dataclasses.replace(job, weights=None, width=min(job.width, 1e-9), aux_heads=heads)
    try:
        _build(narrow, classes=1)
    except InputError as error:
        if not heads or job.aux_heads:
            raise
        _build(dataclasses.replace(narrow, aux_heads=False), classes=1)
        raise InputError(
            f"{error} Or leave the heads out, which the recipe {job.recipe.name!r} weights: "
            "aux_heads=False."
        ) from None
    if heads and not weighted:
        raise InputError(
            f"aux_heads=True, but the recipe {job.recipe.name!r} gives the heads no weight: they "
            "would not be trained. Say auxiliary_weight=0.3, as GoogLeNet's paper does, or name a "
            "recipe that weights them."
        )
    return dataclasses.replace(job, aux_heads=heads)


def _has_heads(model: str) -> bool:
    known = models.BUILDERS.get(model)
    return known is not None and bool(NETWORKS[known.__name__].architectures["paper"].aux)


def _shown_recipe(job: TrainingJob) -> Recipe:
    """Return the recipe as it acts on this network: without heads there is no weight of them."""
    return job.recipe if job.aux_heads else dataclasses.replace(job.recipe, auxiliary_weight=0.0)


def _preprocessing(job: TrainingJob) -> Preprocessing:
    weights = _weights(job)
    own = weights.entry.preprocessing if isinstance(weights, NamedWeights) else Preprocessing()
    whole = 1.0 if job.data == DIGITS else own.crop_fraction
    return dataclasses.replace(
        own.sized((job.image_size, job.image_size)), crop_fraction=job.crop_fraction or whole
    )


def _weights(job: TrainingJob) -> NamedWeights | OwnFile | None:
    """Return the source of the weights to start from; mistakes are told, nothing is fetched."""
    return find(job.weights, models.BUILDERS[job.model].__name__, None, job.width)


def _build(job: TrainingJob, classes: int) -> keras.Model:
    return models.build(
        job.model,
        weights=job.weights,
        input_shape=(job.image_size, job.image_size, 3),
        classes=classes,
        width=job.width,
        aux_heads=job.aux_heads,
    )


def _facts(job: TrainingJob, dataset: data.Dataset) -> dict[str, Any]:
    """Return what an interrupted run cannot go on without, of what `fit` does not see."""
    names = ("model", "weights", "width", "aux_heads", "label_offset")
    classes = "\n".join(dataset.class_names).encode()
    return {name: _plain(getattr(job, name)) for name in names} | {
        "dataset": dataset.name,
        "classes": f"{len(dataset.class_names)}, {hashlib.sha256(classes).hexdigest()[:16]}",
    }


def _summary(job: TrainingJob, dataset: data.Dataset) -> str:
    parts = ((len(dataset.train), "train"), (len(dataset.validation), "validation"))
    counts = ", ".join(f"{count} {part}" for count, part in (*parts, (len(dataset.test), "test")))
    heads = ", with auxiliary heads" if job.aux_heads else ""
    if job.recipe.auxiliary_weight and not job.aux_heads:
        heads = ", without the auxiliary heads that the recipe weights"
    start = f", from {job.weights}" if job.weights else ""
    return (
        f"{job.model}{start}{heads}, width {job.width:g}, {job.image_size}x{job.image_size} "
        f"pixels, on {dataset.name}: {len(dataset.class_names)} classes, images: {counts}"
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


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, os.PathLike) else value


def _config(
    job: TrainingJob,
    report: evaluation.Report,
    dataset: data.Dataset,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """Everything that it takes to repeat a run, and to use its model."""
    backend = keras.backend.backend()
    settings = {
        setting.name: getattr(job, setting.name)
        for setting in dataclasses.fields(job)
        if setting.name not in ("recipe", "strategy", "overwrite", "resume", "verbose")
    }
    return {
        **{name: _plain(value) for name, value in settings.items()},
        "recipe": dataclasses.asdict(job.recipe),
        "preprocessing": dataclasses.asdict(preprocessing),
        "class_names": dataset.class_names,
        "dataset": dataset.name,
        "splits": {part: getattr(dataset, part).digest for part in PARTS},
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
            backend: importlib.import_module(backend).__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
