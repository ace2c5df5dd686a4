"""What findings come to: numbers with their spread, tables, pictures, a place in the page."""

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from trainings import Run, write_json

from keras_inception.errors import import_extra
from keras_inception.facts import facts
from keras_inception.files import atomic_path

RESULTS_FILE, ROWS_FILE, PICTURE_FILE = "results.json", "results.csv", "picture.png"
PAGE_FILE = "index.md"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # told apart by colour-blind eyes

IMAGENET_IMAGES, PAPER_EPOCHS = 1_281_167, 100  # the v3 paper's training; the v4 paper's is alike


def write_results(
    options: argparse.Namespace,
    name: str,
    results: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    figure: Any,
    shows: str,
    text: str,
) -> None:
    """Write a finding's JSON, CSV and picture, and its part of the page.

    Args:
        options: the parsed arguments; `options.output` holds the page and the finding's folder.
        name: of the finding: its folder, and its markers in the page.
        results: for the JSON.
        rows: for the CSV.
        figure: a matplotlib figure.
        shows: what the figure shows, for those who cannot see it.
        text: Markdown that, below the picture, replaces what stands between the finding's markers
            in the page, if there are any.
    """
    folder = options.output / name
    write_json(folder / RESULTS_FILE, results)
    with atomic_path(folder / ROWS_FILE) as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(folder / PICTURE_FILE) as path:
        figure.savefig(path, dpi=150)
    page = options.output / PAGE_FILE
    if page.exists():
        begin, end = f"<!-- finding: {name} -->\n", f"<!-- end: {name} -->"
        before, found, rest = page.read_text().partition(begin)
        _, closed, after = rest.partition(end)
        if found and closed:
            with atomic_path(page) as path:
                picture = f"![{shows}]({name}/{PICTURE_FILE})"
                path.write_text(f"{before}{begin}\n{picture}\n\n{text}\n\n{end}{after}")
    print(text)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean, the sample's standard deviation (None of a single value) and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": list(values)}


def written(numbers: Mapping[str, Any], digits: int = 1, factor: float = 1.0) -> str:
    """Return a `spread` as text: mean and standard deviation."""
    mean = f"{numbers['mean'] * factor:.{digits}f}"
    if numbers["deviation"] is None:
        return f"{mean} (one seed)"
    return f"{mean} ± {numbers['deviation'] * factor:.{digits}f}"


def percent(numbers: Mapping[str, Any]) -> str:
    """Return a `spread` of shares as text, in percent."""
    return written(numbers, 1, 100)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left, all others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def settings(runs: Sequence[Run], failed: Sequence[Run] = ()) -> dict[str, Any]:
    """Return what the runs have in common, their seeds, their variants, and what was left out."""
    same = ("data", "images", "validation_images", "batch_size", "dtype", "area_range", "versions")
    of_variant = ("model", "image_size", "options", "recipe")
    recipes = [run.facts["recipe"] for run in runs]
    return {
        **{name: runs[0].facts[name] for name in same},
        "recipe": {k: v for k, v in recipes[0].items() if all(r[k] == v for r in recipes)},
        "seeds": sorted({run.facts["seed"] for run in runs}),
        "variants": {run.facts["name"]: {k: run.facts[k] for k in of_variant} for run in runs},
        "failed_runs": {run.folder.name: run.facts["outcome"] for run in failed},
    }


def failures_text(failed: Sequence[Run]) -> str:
    """Return a sentence about the runs that failed, with a space before it; nothing if none did."""
    if not failed:
        return ""
    named = ", ".join(f"{run.folder.name} ({run.facts['outcome']})" for run in failed)
    verb = "runs failed and are" if len(failed) > 1 else "run failed and is"
    return f" {len(failed)} {verb} left out: {named}."


def nothing_to_report(what: str, failed: Sequence[Run]) -> str:
    """Return what to say without the runs that a report needs; `what` begins the sentence."""
    return f"{what} has finished: nothing to report yet.{failures_text(failed)}"


def settings_text(runs: Sequence[Run], failed: Sequence[Run] = ()) -> str:
    """Return a sentence about the runs' setting, of failed ones, and of a run of full size."""
    common, sizes = settings(runs), sorted({run.facts["image_size"] for run in runs})
    networks = {(run.facts["model"], run.facts["options"]["width"]): None for run in runs}
    named = ", ".join(f"{model} at width {width:g}" for model, width in networks)
    epochs = common["recipe"]["epochs"]
    largest = max(run.facts["multiply_adds"] for run in runs) * common["images"] * epochs
    full = max(facts()[run.facts["model"]]["paper"].multiply_adds for run in runs)
    factor = full * IMAGENET_IMAGES * PAPER_EPOCHS / largest
    magnitude = 10 ** (len(str(int(factor))) - 2)
    return (
        f"*Setting: {named}; {common['data']}, {common['images']:,} training and "
        f"{common['validation_images']:,} validation images, "
        f"{', '.join(map(str, sizes))} pixels, {epochs} epoch{'s' * (epochs > 1)} in batches of "
        f"{common['batch_size']}, {common['dtype']}, seeds {', '.join(map(str, common['seeds']))}."
        f"{failures_text(failed)} "
        f"A run of full size (ImageNet, the printed network, {PAPER_EPOCHS} epochs) makes about "
        f"{round(factor / magnitude) * magnitude:,} times as many multiply-adds.*"
    )


def page_text(
    sentence: str, table: str, runs: Sequence[Run], failed: Sequence[Run] = (), notes: str = ""
) -> str:
    """Return a finding's part of the page: what came out, the table, notes, the setting."""
    parts = (f"**{sentence}**", table, notes, settings_text(runs, failed))
    return "\n\n".join(part for part in parts if part)


def new_figure(rows: int, columns: int, width: float = 9.0, height: float = 3.6) -> tuple[Any, Any]:
    """Return a matplotlib figure and its array of axes, with a light grid."""
    figure = import_extra("matplotlib.figure", "train").Figure(
        (width, height), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label_epochs(axes: Any) -> None:
    """Label the axes of an error by epoch; ticks at whole epochs."""
    axes.set(xlabel="epoch", ylabel="validation error, %")
    axes.xaxis.get_major_locator().set_params(integer=True)


def draw_seeds(
    axes: Any, x: Sequence[float], curves: Sequence[Sequence[float]], colour: str, **style: Any
) -> None:
    """Draw the mean of some curves, and every one of them thinly."""
    for curve in curves:
        axes.plot(x, curve, color=colour, alpha=0.3, linewidth=0.8, zorder=1)
    axes.plot(x, np.mean(curves, axis=0), color=colour, linewidth=2, zorder=2, **style)
