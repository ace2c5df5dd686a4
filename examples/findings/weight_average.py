"""Finding 6: is the running average of the weights better than the weights?

    python examples/findings/weight_average.py --data path/to/class/folders

Szegedy et al. 2015 and 2016 (arXiv:1512.00567, section 8; arXiv:1602.07261, section 4) evaluate a
running average of the weights. The runs are those of finding 1, which validate both after each
epoch.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import reporting
import residual_speed
import trainings

NAME = "weight_average"
SHOWS = "Error with and without the average, by epoch"


def report(
    options: argparse.Namespace,
    runs: dict[str, list[trainings.Run]],
    failed: Sequence[trainings.Run],
) -> None:
    """Write what the average gains in every network that has runs."""
    if not runs:
        print(reporting.nothing_to_report("No run", failed))
        return
    rows = [
        {
            "network": name,
            "seed": run.facts["seed"],
            "epoch": epoch,
            "raw_error": raw,
            "averaged_error": averaged,
        }
        for name, found in runs.items()
        for run in found
        for epoch, (raw, averaged) in enumerate(
            zip(run.errors("raw_val_accuracy"), run.errors(), strict=True), 1
        )
    ]
    results = {name: gains(found) for name, found in runs.items()}
    lines = [
        [
            name,
            str(len(runs[name])),
            *(reporting.percent(result["raw_error"][when]) for when in ("first", "last")),
            *(reporting.percent(result["averaged_error"][when]) for when in ("first", "last")),
            f"{100 * result['mean_gain']:.1f}",
            f"{result['epochs_won']} of {result['epochs']}",
        ]
        for name, result in results.items()
    ]
    header = [
        "network", "seeds", "raw, first epoch, %", "raw, last, %", "averaged, first, %",
        "averaged, last, %", "mean gain, points", "epochs in which it was better",
    ]  # fmt: skip
    won = sum(result["epochs_won"] for result in results.values())
    epochs = sum(result["epochs"] for result in results.values())
    shown = [run for found in runs.values() for run in found]
    last = reporting.spread(
        [run.errors("raw_val_accuracy")[-1] - run.errors()[-1] for run in shown]
    )
    sentence = (
        f"The average had the lower error in {won} of {epochs} epochs; at the end of the "
        f"training it was {'lower' if last['mean'] >= 0 else 'higher'} by "
        f"{reporting.written(last | {'mean': abs(last['mean'])}, 1, 100)} points."
    )
    content = {
        "settings": reporting.settings(shown, failed),
        "networks": results,
        "gain_at_the_end": last,
        "sentence": sentence,
    }
    text = reporting.page_text(sentence, reporting.markdown(header, lines), shown, failed)
    reporting.write_results(options, NAME, content, rows, picture(runs), SHOWS, text)


def gains(runs: list[trainings.Run]) -> dict[str, Any]:
    """Return the errors with and without the average, and what it gains over all epochs."""
    raw = [run.errors("raw_val_accuracy") for run in runs]
    averaged = [run.errors() for run in runs]
    gained = [
        one - other
        for before, after in zip(raw, averaged, strict=True)
        for one, other in zip(before, after, strict=True)
    ]
    return {
        label: {
            "first": reporting.spread([curve[0] for curve in curves]),
            "last": reporting.spread([curve[-1] for curve in curves]),
        }
        for label, curves in (("raw_error", raw), ("averaged_error", averaged))
    } | {
        "mean_gain": sum(gained) / len(gained),
        "epochs_won": sum(gain > 0 for gain in gained),
        "epochs": len(gained),
    }


def picture(runs: dict[str, list[trainings.Run]]) -> Any:
    """Draw both errors by epoch, a panel for each network."""
    columns = min(2, len(runs))
    lines = -(-len(runs) // columns)
    figure, axes = reporting.new_figure(lines, columns, 4.5 * columns, 3.2 * lines)
    for here, (name, found) in zip(axes.flat, runs.items(), strict=False):
        for column, label, colour in (
            ("raw_val_accuracy", "weights as they are", reporting.COLOURS[1]),
            ("val_accuracy", "running average", reporting.COLOURS[0]),
        ):
            curves = [[100 * error for error in run.errors(column)] for run in found]
            reporting.draw_seeds(here, range(1, len(curves[0]) + 1), curves, colour, label=label)
        reporting.label_epochs(here)
        here.set_title(name)
        here.legend(frameon=False)
    for unused in axes.flat[len(runs) :]:
        unused.remove()
    return figure


def main() -> None:
    """Train what is not trained yet, and report."""
    options = trainings.parser(__doc__.splitlines()[0]).parse_args()
    runs = trainings.Trainings(options, residual_speed.variants(options))
    runs.train()
    report(options, runs.finished(), runs.failed())


if __name__ == "__main__":
    main()
