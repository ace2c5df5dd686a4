"""Finding 1: do residual connections accelerate training?

    python examples/findings/residual_speed.py --data path/to/class/folders
    python examples/findings/residual_speed.py --data path/to/class/folders --measure

Szegedy et al. 2016 (arXiv:1602.07261), figures 21 to 26: Inception-v3 against Inception-ResNet-v1,
and Inception-v4 against Inception-ResNet-v2. Here each pair has the same multiply-adds, by the
choice of widths, and all four train by the same recipe: that of Inception-v3, whose clipping of
the gradient the networks without residuals need here. Trainings may be interrupted and disturbed,
so the time is that of a step, which `--measure` takes on an otherwise idle machine.
"""

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import reporting
import trainings

import keras_inception as ki

NAME = "residual_speed"
SHOWS = "Validation error by epoch and by time of each pair"
# The widths at which a pair costs the same at 75 pixels; the tests check it.
PAIRS = (
    (("InceptionV3", 0.25), ("InceptionResNetV1", 0.23)),
    (("InceptionV4", 0.19), ("InceptionResNetV2", 0.21)),
)
STEPS_FILE = "step_seconds.json"
MEASURED_STEPS = 40
WARM_UP_STEPS = 10


def variants(options: argparse.Namespace) -> list[trainings.Variant]:
    """Return the four networks."""
    return [
        trainings.Variant(
            name=model,
            model=model,
            recipe=trainings.shortened(ki.recipes.inception_v3, options.epochs),
            image_size=options.image_size,
            options={"width": width},
        )
        for pair in PAIRS
        for model, width in pair
    ]


class StepTimes(keras.callbacks.Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def measure(options: argparse.Namespace) -> None:
    """Time the steps of every network in a short training; write the medians."""
    keras.config.set_dtype_policy(options.dtype)
    data = trainings.load_data(options)
    seconds = {}
    for variant in variants(options):
        batches = ki.data.training_batches(
            data.train.select(np.arange(MEASURED_STEPS * options.batch_size)),
            preprocessing=variant.preprocessing,
            global_batch_size=options.batch_size,
            mode=variant.recipe.augmentation,
            area_range=trainings.AREA_RANGE,
        )
        times = StepTimes()
        with tempfile.TemporaryDirectory() as folder:
            ki.training.fit(
                lambda variant=variant: variant.build(len(data.class_names)),
                dataclasses.replace(variant.recipe, epochs=1),
                batches,
                run_dir=folder,
                callbacks=[times],
                verbose=0,
            )
        steps = [b - a for a, b in zip(times.ends, times.ends[1:], strict=False)][WARM_UP_STEPS:]
        seconds[variant.name] = {
            "median": statistics.median(steps),
            "least": min(steps),
            "most": max(steps),
            "steps": len(steps),
        }
        print(f"{variant.name}: {seconds[variant.name]['median']:.3f} s a step", flush=True)
    facts = {"cores": os.cpu_count(), "batch_size": options.batch_size, "dtype": options.dtype}
    trainings.write_json(options.output / NAME / STEPS_FILE, facts | {"networks": seconds})


def epochs_to(errors: Sequence[float], threshold: float) -> float | None:
    """Return after how many epochs an error was reached, linear between two epochs' ends.

    Returns:
        A number from 1 on; None if it never was.
    """
    for epoch, error in enumerate(errors, 1):
        if error <= threshold:
            if epoch == 1:
                return 1.0
            before = errors[epoch - 2]
            return epoch - 1 + (before - threshold) / (before - error)
    return None


def compared(pair: Sequence[str], runs: dict[str, list[trainings.Run]], seconds: dict) -> dict:
    """Return the results of a pair: its threshold, and each network's figures."""
    threshold = max(run.errors()[-1] for name in pair for run in runs[name])
    networks = {}
    for name in pair:
        reached = [epochs_to(run.errors(), threshold) for run in runs[name]]
        facts = runs[name][0].facts
        steps = facts["images"] // facts["batch_size"]
        second = seconds[name]["median"] * steps if name in seconds else None
        networks[name] = {
            "width": facts["options"]["width"],
            "multiply_adds": facts["multiply_adds"],
            "parameters": facts["parameters"],
            "seconds_per_epoch": second,
            "final_error": reporting.spread([run.errors()[-1] for run in runs[name]]),
            "epochs_to_threshold": reporting.spread(reached),
            "seconds_to_threshold": second and reporting.spread([n * second for n in reached]),
        }
    plain, residual = (networks[name]["epochs_to_threshold"]["mean"] for name in pair)
    result = {"threshold": threshold, "networks": networks, "epochs_ratio": plain / residual}
    plain, residual = (networks[name]["seconds_to_threshold"] for name in pair)
    ratio = plain["mean"] / residual["mean"] if plain and residual else None
    return result | {"seconds_ratio": ratio}


def report(options: argparse.Namespace, runs: dict[str, list[trainings.Run]]) -> None:
    """Compare every pair of which there are runs; write the results."""
    steps = options.output / NAME / STEPS_FILE
    seconds = json.loads(steps.read_text())["networks"] if steps.exists() else {}
    names = [tuple(model for model, _ in pair) for pair in PAIRS]
    pairs = [pair for pair in names if set(pair) <= runs.keys()]
    if not pairs:
        print("No pair of networks has a finished run each: nothing to report yet.")
        return
    results = [compared(pair, runs, seconds) for pair in pairs]
    shown = [run for pair in pairs for name in pair for run in runs[name]]
    rows = [
        {
            "network": run.facts["model"],
            "seed": run.facts["seed"],
            "epoch": epoch,
            "validation_error": error,
            "raw_validation_error": raw,
            "training_loss": row["loss"],
        }
        for run in shown
        for epoch, (error, raw, row) in enumerate(
            zip(run.errors(), run.errors("raw_val_accuracy"), run.history, strict=True), 1
        )
    ]
    lines = []
    for result in results:
        for name, found in result["networks"].items():
            time_to = found["seconds_to_threshold"]
            lines.append([
                name,
                f"{found['width']:g}",
                f"{found['multiply_adds'] / 1e6:.1f} M",
                f"{found['parameters'] / 1e6:.2f} M",
                reporting.percent(found["final_error"]),
                f"{100 * result['threshold']:.1f}",
                reporting.written(found["epochs_to_threshold"]),
                reporting.written(time_to, 0) if time_to else "not measured",
            ])  # fmt: skip
    header = ["network", "width", "multiply-adds", "parameters", "final error, %", "fixed error, %"]
    table = reporting.markdown([*header, "epochs to it", "seconds to it"], lines)
    sentences = [sentence(pair, result) for pair, result in zip(pairs, results, strict=True)]
    text = f"**{' '.join(sentences)}**\n\n{table}\n\n{reporting.settings_text(shown)}"
    content = {
        "settings": reporting.settings(shown),
        "pairs": results,
        "sentences": sentences,
    }
    reporting.write_results(
        options, NAME, content, rows, picture(pairs, runs, results), SHOWS, text
    )


def sentence(pair: Sequence[str], result: dict[str, Any]) -> str:
    """Say what came out of a pair."""
    plain, residual = pair
    epochs = {name: result["networks"][name]["epochs_to_threshold"]["mean"] for name in pair}
    text = (
        f"{residual} reached {100 * result['threshold']:.1f} % error after "
        f"{epochs[residual]:.1f} epochs, {plain} after {epochs[plain]:.1f}"
    )
    if result["seconds_ratio"] is None:
        return f"{text}."
    in_epochs, in_time = result["epochs_ratio"], result["seconds_ratio"]
    return f"{text}: {in_epochs:.2f} x as fast by epoch, {in_time:.2f} x by time."


def picture(pairs: Sequence, runs: dict[str, list[trainings.Run]], results: Sequence[dict]) -> Any:
    """Draw the error by epoch above, by second below, a column for each pair."""
    timed = all(result["seconds_ratio"] is not None for result in results)
    figure, axes = reporting.new_figure(1 + timed, len(pairs), 4.5 * len(pairs), 3.4 * (1 + timed))
    for column, (pair, result) in enumerate(zip(pairs, results, strict=True)):
        for name, colour in zip(pair, reporting.COLOURS, strict=False):
            curves = [[100 * error for error in run.errors()] for run in runs[name]]
            epochs = list(range(1, len(curves[0]) + 1))
            second = result["networks"][name]["seconds_per_epoch"]
            reporting.draw_seeds(axes[0, column], epochs, curves, colour, label=name)
            if timed:
                minutes = [epoch * second / 60 for epoch in epochs]
                reporting.draw_seeds(axes[1, column], minutes, curves, colour, label=name)
        for here in axes[:, column]:
            here.axhline(100 * result["threshold"], color="0.4", linestyle=":", linewidth=1)
            reporting.label_epochs(here)
            here.legend(frameon=False)
        axes[0, column].set_title(f"{pair[1]}: {result['epochs_ratio']:.2f} x as fast by epoch")
        if timed:
            axes[1, column].set_xlabel("minutes of training")
            axes[1, column].xaxis.get_major_locator().set_params(integer=False)
            axes[1, column].set_title(f"{result['seconds_ratio']:.2f} x as fast by time")
    return figure


def main() -> None:
    """Train what is not trained yet, and report; or measure steps."""
    parser = trainings.parser(__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="only time the steps")
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    runs = trainings.Trainings(options, variants(options))
    runs.train()
    report(options, runs.finished())


if __name__ == "__main__":
    main()
