"""Runs that can be interrupted, in the small setting that all findings share.

A finding compares variants: networks, or ways to train one. Every variant is trained once for each
seed by `ki.training.fit`, in a folder of its own; what is finished is not trained again, so that a
script can be stopped and started at will, and findings share runs of the same name.
"""

import argparse
import csv
import dataclasses
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_inception as ki
from keras_inception import inspection
from keras_inception.errors import unknown
from keras_inception.files import atomic_path
from keras_inception.recipes import Recipe

RUN_FILE, PROBE_FILE = "run.json", "steps.csv"

# The papers' crops begin at 8 % of the area; of a picture of 32x32 pixels that would be 9x9.
AREA_RANGE = (0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the things that a finding compares.

    Attributes:
        name: in file names, tables and pictures.
        model: name of the builder.
        recipe: how it is trained.
        image_size: height and width of its images, in pixels.
        options: further arguments of the builder.
    """

    name: str
    model: str
    recipe: Recipe
    image_size: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def preprocessing(self) -> ki.Preprocessing:
        """The papers' preprocessing at this size."""
        return ki.Preprocessing(size=(self.image_size, self.image_size))

    def build(self, classes: int) -> keras.Model:
        """Build the network with random weights."""
        shape = (self.image_size, self.image_size, 3)
        return ki.build(
            self.model, weights=None, input_shape=shape, classes=classes, **self.options
        )


@dataclass(frozen=True)
class Run:
    """A training that ended.

    Attributes:
        folder: where its files are.
        facts: what its run.json says.
        history: a row for each epoch.
    """

    folder: Path
    facts: dict[str, Any]
    history: list[dict[str, float]]

    @property
    def failed(self) -> bool:
        """Whether the network died, or a loss or weight was not finite."""
        return self.facts["outcome"] != "finished"

    def errors(self, column: str = "val_accuracy") -> list[float]:
        """The validation error after each epoch."""
        return [1 - row[column] for row in self.history]


def parser(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """Return the arguments that all findings take; `defaults` replaces some defaults."""
    arguments = argparse.ArgumentParser(description=description)
    add = arguments.add_argument
    add("--data", default="cifar10", help="a folder of class folders, or a name of TFDS")
    add("--output", type=Path, default=Path("docs/findings"), help="folder for tables, pictures")
    add("--runs", type=Path, default=Path("runs/findings"), help="folder for the trainings")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--only", nargs="+", help="train these variants only; the report is of all that are there")
    add("--images", type=int, default=6_400, help="to train on")
    add("--validation-images", type=int, default=1_000)
    add("--image-size", type=int, default=75, help="height and width in pixels")
    add("--epochs", type=int, default=6)
    add("--batch-size", type=int, default=64)
    add(
        "--dtype",
        default="float32",
        help="Keras's dtype policy; mixed_bfloat16 is faster on processors that have bfloat16",
    )
    add("--report-only", action="store_true", help="train nothing")
    arguments.set_defaults(**defaults)
    return arguments


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe that decays as often as its paper's training, but in fewer epochs.

    The batch statistics and the running average follow a training of some thousand steps.
    """
    return dataclasses.replace(
        recipe,
        epochs=epochs,
        epochs_per_decay=recipe.epochs_per_decay * epochs / recipe.epochs,
        batch_norm_momentum=0.95,
        average_decay=0.99,
    )


class Trainings:
    """All runs of a finding: every variant with every seed.

    Args:
        options: the parsed arguments of `parser`.
        variants: what is compared.
        probe: also write what every step found, to steps.csv in the run's folder.

    Raises:
        InputError: if `--only` names a variant that there is not.
    """

    def __init__(
        self, options: argparse.Namespace, variants: Sequence[Variant], probe: bool = False
    ) -> None:
        self.options = options
        self.variants = variants
        self.probe = probe
        names = [variant.name for variant in variants]
        for name in options.only or []:
            if name not in names:
                raise unknown("variant in --only", name, names)
        keras.config.set_dtype_policy(options.dtype)

    def train(self) -> None:
        """Print the plan; train what is not finished, seed by seed.

        Raises:
            InputError: if a run is there that was trained in another setting.
        """
        self.ended()
        chosen = [v for v in self.variants if v.name in (self.options.only or [v.name])]
        pairs = [(variant, seed) for seed in self.options.seeds for variant in chosen]
        left = [pair for pair in pairs if not (self.folder(*pair) / RUN_FILE).exists()]
        print(f"{len(pairs)} runs of {len(chosen)} variants, {len(left)} of them to be trained")
        if not left or self.options.report_only:
            return
        for variant in chosen:
            print(f"{variant.name}: {variant.model} {dict(variant.options)}")
            print(variant.recipe.plan(self.options.images, self.options.batch_size))
        data = load_data(self.options)
        for variant, seed in left:
            print(f"{variant.name}, seed {seed}", flush=True)
            self._train_one(variant, seed, data)
            keras.utils.clear_session()

    def folder(self, variant: Variant, seed: int) -> Path:
        """Return the folder of a run."""
        return self.options.runs / f"{variant.name}-{seed}"

    def ended(self) -> dict[str, list[Run]]:
        """Return the runs of every variant that has some, also failed ones, by their seeds.

        Raises:
            InputError: if a run was trained in another setting than the arguments say.
        """
        runs = {}
        for variant in self.variants:
            folders = self.options.runs.glob(f"{variant.name}-*")
            found = [read_run(folder) for folder in folders if (folder / RUN_FILE).exists()]
            for run in found:
                self._check(run, variant)
            if found:
                runs[variant.name] = sorted(found, key=lambda run: run.facts["seed"])
        return runs

    def finished(self) -> dict[str, list[Run]]:
        """Return what `ended` does without the failed runs, which have no final error."""
        whole = {
            name: [run for run in runs if not run.failed] for name, runs in self.ended().items()
        }
        return {name: runs for name, runs in whole.items() if runs}

    def failed(self) -> list[Run]:
        """Return the runs that `finished` leaves out."""
        return [run for runs in self.ended().values() for run in runs if run.failed]

    def _setting(self, variant: Variant) -> dict[str, Any]:
        """Return what must be alike in all runs of a variant."""
        names = ("images", "validation_images", "batch_size", "dtype")
        shared = {name: getattr(self.options, name) for name in names}
        data = {"data": data_name(self.options.data), "area_range": list(AREA_RANGE)}
        return dataclasses.asdict(variant) | data | shared

    def _check(self, run: Run, variant: Variant) -> None:
        setting = self._setting(variant)
        asked, trained = flat(setting), flat({name: run.facts.get(name) for name in setting})
        for name in trained | asked:
            if trained.get(name) != asked.get(name):
                raise ki.InputError(
                    f"{run.folder} was trained with {name} {trained.get(name)!r}, but the "
                    f"arguments say {asked.get(name)!r}. Give the same arguments, or another "
                    "folder as --runs."
                )

    def _train_one(self, variant: Variant, seed: int, data: ki.data.Dataset) -> None:
        folder = self.folder(variant, seed)
        train = ki.data.training_batches(
            data.train,
            preprocessing=variant.preprocessing,
            global_batch_size=self.options.batch_size,
            mode=variant.recipe.augmentation,
            area_range=AREA_RANGE,
            seed=seed,
        )
        validation = ki.data.evaluation_batches(
            data.validation, preprocessing=variant.preprocessing, batch_size=100
        )
        built: dict[str, int] = {}

        def build() -> keras.Model:
            model = variant.build(len(data.class_names))
            network = ki.training.main_model(model)  # costs are counted without auxiliary heads
            built["multiply_adds"] = inspection.multiply_adds(network)
            built["parameters"] = inspection.parameters(network)
            return model

        probe = StepProbe(folder / PROBE_FILE)
        outcome = {"outcome": "finished"}
        try:
            ki.training.fit(
                build,
                variant.recipe,
                train,
                validation,
                run_dir=folder,
                seed=seed,
                callbacks=[probe] if self.probe else [],
                evaluate_raw=True,
                verbose=2,
            )
        except (ki.training.DeadNetworkError, ki.training.NonFiniteError) as failure:
            dead = isinstance(failure, ki.training.DeadNetworkError)
            outcome = {"outcome": "dead" if dead else "not finite", "message": str(failure)}
        facts = {
            **self._setting(variant),
            **built,
            "seed": seed,
            **outcome,
            "versions": {
                "keras_inception": ki.__version__,
                "keras": keras.__version__,
                "python": platform.python_version(),
            },
        }
        write_json(folder / RUN_FILE, facts)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # large, and not needed any more


class StepProbe(keras.callbacks.Callback):
    """Writes loss and share of live features of every single step, also of one that is the last.

    `fit` logs means over the epoch so far; the step's own value is what the sum has grown by.

    Args:
        path: the CSV file; a run that goes on adds to it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._sums: tuple[int, dict[str, float]] = (0, {})

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write a row, unless the step before was made by an interrupted process."""
        count = batch + 1
        sums = {name: count * logs[name] for name in ("loss", "alive_features")}
        before_count, before = self._sums if batch else (0, dict.fromkeys(sums, 0.0))
        self._sums = (count, sums)
        if before_count != batch:
            return
        step = int(self.model.optimizer.iterations.numpy())
        row = {"step": step} | {name: sums[name] - before[name] for name in sums}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def load_data(options: argparse.Namespace) -> ki.data.Dataset:
    """Load the data; keep as many images as asked for, the same ones whatever the run's seed."""
    data = ki.data.load(options.data, check=False)
    return dataclasses.replace(
        data,
        train=part(data.train, options.images, "--images"),
        validation=part(data.validation, options.validation_images, "--validation-images"),
    )


def data_name(data: str) -> str:
    """Return the name that `ki.data.load` gives to data, also if they are not there to be read."""
    folder = Path(data).expanduser()
    return folder.resolve().name if folder.exists() or folder.is_absolute() else data


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with those of dicts in them beside the others: {"recipe epochs": 6, ...}."""
    found = {}
    for name, fact in facts.items():
        inner = fact.items() if isinstance(fact, Mapping) else [(None, fact)]
        found |= {f"{name} {key}" if key else name: value for key, value in inner}
    return found


def part(split: ki.data.Split, count: int, argument: str) -> ki.data.Split:
    """Return so many images of a split, chosen at random, always the same ones.

    Raises:
        InputError: if it has fewer; names the argument that asked for them.
    """
    if count > len(split):
        raise ki.InputError(f"{argument} asks for {count} images, but there are {len(split)}.")
    return split.select(np.sort(np.random.default_rng(0).permutation(len(split))[:count]))


def read_run(folder: Path) -> Run:
    """Read what a finished run left; one that died in its first epoch has no history."""
    history = folder / "history.csv"
    rows = read_rows(history) if history.exists() else []
    return Run(folder, json.loads((folder / RUN_FILE).read_text()), rows)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read a CSV file of numbers; empty cells are left out."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read_steps(folder: Path) -> list[dict[str, float]]:
    """Read a run's steps.csv; of a step that was made twice the later row counts.

    A run whose very first step failed has none.
    """
    path = folder / PROBE_FILE
    rows = {row["step"]: row for row in (read_rows(path) if path.exists() else [])}
    return [rows[step] | {"step": int(step)} for step in sorted(rows)]
