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
COST_FACTS = ("image_size", "batch_size", "dtype")
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
    """Time the steps of every network in a short training; write the medians.

    Raises:
        InputError: if there are too few images to time a step after the first ones.
    """
    least = WARM_UP_STEPS + 2  # a step's time is that between two ends
    count = min(MEASURED_STEPS, options.images // options.batch_size)
    if count < least:
        raise ki.InputError(
            f"--measure needs {least} steps, of which the first {WARM_UP_STEPS} do not count, but "
            f"{options.images} images are {count} steps of {options.batch_size}. Give --images "
            f"{least * options.batch_size} or a smaller --batch-size."
        )
    keras.config.set_dtype_policy(options.dtype)
    data = trainings.load_data(options)
    seconds = {}
    for variant in variants(options):
        batches = ki.data.training_batches(
            data.train.select(np.arange(count * options.batch_size)),
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
            "width": variant.options["width"],
            "median": statistics.median(steps),
            "least": min(steps),
            "most": max(steps),
            "steps": len(steps),
        }
        print(f"{variant.name}: {seconds[variant.name]['median']:.3f} s a step", flush=True)
    facts = {"cores": os.cpu_count()} | {name: getattr(options, name) for name in COST_FACTS}
    trainings.write_json(options.output / NAME / STEPS_FILE, facts | {"networks": seconds})


def measured(
    options: argparse.Namespace, runs: dict[str, list[trainings.Run]]
) -> tuple[dict[str, dict[str, float]], str]:
    """Return the measured seconds of a step by network, and why there are none if there are none.

    Seconds of another image size, batch size, dtype or width than the runs' are not used.
    """
    file = options.output / NAME / STEPS_FILE
    if not file.exists():
        return {}, "The time of a step was not measured."
    steps = json.loads(file.read_text())
    for name, (run, *_) in runs.items():
        timed = steps | {"width": steps["networks"].get(name, {}).get("width")}
        trained = run.facts | {"width": run.facts["options"]["width"]}
        for fact in (*COST_FACTS, "width"):
            if timed.get(fact) != trained[fact]:
                return {}, (
                    f"The seconds are left out: the steps of {name} were measured with {fact} "
                    f"{timed.get(fact)}, but the runs have {trained[fact]}."
                )
    return steps["networks"], ""


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
    worst = max((run for name in pair for run in runs[name]), key=lambda run: run.errors()[-1])
    threshold = worst.errors()[-1]
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
            "within_first_epoch": sum(run.errors()[0] <= threshold for run in runs[name]),
            "seconds_to_threshold": second and reporting.spread([n * second for n in reached]),
        }
    plain, residual = (networks[name]["epochs_to_threshold"]["mean"] for name in pair)
    result = {
        "threshold": threshold,
        "threshold_run": worst.folder.name,
        "networks": networks,
        "epochs_ratio": plain / residual,
    }
    plain, residual = (networks[name]["seconds_to_threshold"] for name in pair)
    ratio = plain["mean"] / residual["mean"] if plain and residual else None
    return result | {"seconds_ratio": ratio}


def report(
    options: argparse.Namespace,
    runs: dict[str, list[trainings.Run]],
    failed: Sequence[trainings.Run],
) -> None:
    """Compare every pair of which there are runs; write the results."""
    names = [tuple(model for model, _ in pair) for pair in PAIRS]
    pairs = [pair for pair in names if set(pair) <= runs.keys()]
    if not pairs:
        print(reporting.nothing_to_report("No run of each network of a pair", failed))
        return
    seconds, why_no_seconds = measured(
        options, {name: runs[name] for pair in pairs for name in pair}
    )
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
            at_most = "at most " if found["within_first_epoch"] else ""
            lines.append([
                name,
                f"{found['width']:g}",
                f"{found['multiply_adds'] / 1e6:.1f} M",
                f"{found['parameters'] / 1e6:.2f} M",
                reporting.percent(found["final_error"]),
                f"{100 * result['threshold']:.1f}",
                epochs_text(found),
                at_most + reporting.written(time_to, 0) if time_to else "not measured",
            ])  # fmt: skip
    header = ["network", "width", "multiply-adds", "parameters", "final error, %", "fixed error, %"]
    table = reporting.markdown([*header, "epochs to it", "seconds to it"], lines)
    sentences = [sentence(pair, result) for pair, result in zip(pairs, results, strict=True)]
    worst = " and ".join(result["threshold_run"] for result in results)
    notes = (
        "The fixed error of a pair is the worst final error of its runs, here that of "
        f"{worst} (network and seed). {why_no_seconds}"
    )
    text = reporting.page_text(" ".join(sentences), table, shown, failed, notes.strip())
    content = {
        "settings": reporting.settings(shown, failed),
        "pairs": results,
        "sentences": sentences,
    }
    reporting.write_results(
        options, NAME, content, rows, picture(pairs, runs, results), SHOWS, text
    )


def epochs_text(network: dict[str, Any]) -> str:
    """Return the epochs to the fixed error as text; of no epoch less than one is known."""
    within, seeds = network["within_first_epoch"], len(network["final_error"]["values"])
    if within == seeds:
        return "within the first"
    text = reporting.written(network["epochs_to_threshold"])
    return f"{text}, {within} of {seeds} within the first" if within else text


def ratio_text(pair: Sequence[str], result: dict[str, Any], ratio: float) -> str:
    """Return how many times as fast the residual network was, as far as that is known.

    A run that got there within its first epoch counts as one epoch, the most that it can have been.
    """
    plain, residual = (result["networks"][name]["within_first_epoch"] > 0 for name in pair)
    if plain and residual:
        return "not told apart"
    bound = "at most " if plain else "at least " if residual else ""
    return f"{bound}{ratio:.2f} x as fast"


def sentence(pair: Sequence[str], result: dict[str, Any]) -> str:
    """Say what came out of a pair."""
    plain, residual = pair
    epochs = {}
    for name, network in result["networks"].items():
        all_within = network["within_first_epoch"] == len(network["final_error"]["values"])
        mean = f"after {network['epochs_to_threshold']['mean']:.1f} epochs"
        epochs[name] = "within the first epoch" if all_within else mean
    text = (
        f"{residual} reached the worst final error of its pair, {100 * result['threshold']:.1f} %, "
        f"{epochs[residual]}, {plain} {epochs[plain]}"
    )
    text += f": {ratio_text(pair, result, result['epochs_ratio'])} by epoch"
    if result["seconds_ratio"] is not None:
        text += f", {ratio_text(pair, result, result['seconds_ratio'])} by time"
    return f"{text}."


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
        ratio = ratio_text(pair, result, result["epochs_ratio"])
        axes[0, column].set_title(f"{pair[1]}: {ratio} by epoch", size=10)
        if timed:
            axes[1, column].set_xlabel("minutes of training")
            axes[1, column].xaxis.get_major_locator().set_params(integer=False)
            ratio = ratio_text(pair, result, result["seconds_ratio"])
            axes[1, column].set_title(f"{ratio} by time", size=10)
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
    report(options, runs.finished(), runs.failed())


if __name__ == "__main__":
    main()
