"""Finding 2: does scaling the residuals keep wide residual networks alive?

    python examples/findings/residual_scaling.py --data path/to/class/folders

Szegedy et al. 2016 (arXiv:1602.07261), section 3.3: past 1000 filters the residual networks "die"
early, the last layer before the average pool gives only zeros; scaling the residuals by 0.1 to 0.3
prevents it, a lower learning rate does not. Here Inception-ResNet-v2 has 1072 filters there, and
starts with the paper's learning rate or a higher one.
"""

import argparse
import dataclasses
import statistics
from typing import Any

import reporting
import trainings

import keras_inception as ki

NAME = "residual_scaling"
SHOWS = "How the runs ended, and the live features by step"
SCALES = (1.0, 0.3, 0.17, 0.1)
LAST_STEPS = 10  # the share of live features at the end is their mean
ENDS = {"finished": "#d0d0d0", "dead": "#202020", "not finite": "#808080"}


def variants(options: argparse.Namespace) -> list[trainings.Variant]:
    """Return the network with each scale, for each learning rate."""
    recipe = trainings.shortened(ki.recipes.inception_resnet_v2, options.epochs)
    # So few steps are a part of the paper's first epoch, in which its rate does not fall.
    recipe = dataclasses.replace(recipe, learning_rate_decay=1.0)
    return [
        trainings.Variant(
            name=f"rate-{rate:g}-scale-{scale:g}",
            model="InceptionResNetV2",
            recipe=dataclasses.replace(recipe, learning_rate=rate),
            image_size=options.image_size,
            options={"width": options.width, "residual_scales": scale},
        )
        for rate in options.learning_rates
        for scale in SCALES
    ]


def outcome(runs: list[trainings.Run]) -> dict[str, Any]:
    """Return how the runs of one scale and learning rate ended."""
    ends = dict.fromkeys(ENDS, 0)
    for run in runs:
        ends[run.facts["outcome"]] += 1
    alive = [
        statistics.fmean([row["alive_features"] for row in steps][-LAST_STEPS:])
        for steps in (trainings.read_steps(run.folder) for run in runs)
        if steps
    ]
    losses = [run.history[-1]["loss"] for run in runs if run.facts["outcome"] == "finished"]
    return {
        "scale": runs[0].facts["options"]["residual_scales"],
        "learning_rate": runs[0].facts["recipe"]["learning_rate"],
        "runs": len(runs),
        "ends": ends,
        "failed_share": 1 - ends["finished"] / len(runs),
        "alive_at_end": reporting.spread(alive) if alive else None,
        "training_loss": reporting.spread(losses) if losses else None,
    }


def report(options: argparse.Namespace, runs: dict[str, list[trainings.Run]]) -> None:
    """Write the results of all scales and learning rates that have runs."""
    if not runs:
        print("No run is finished: nothing to report yet.")
        return
    results = [outcome(found) for found in runs.values()]
    shown = [run for found in runs.values() for run in found]
    rows = [
        {
            "scale": run.facts["options"]["residual_scales"],
            "learning_rate": run.facts["recipe"]["learning_rate"],
            "seed": run.facts["seed"],
            **row,
        }
        for run in shown
        for row in trainings.read_steps(run.folder)
    ]
    lines = [
        [
            f"{result['learning_rate']:g}",
            f"{result['scale']:g}",
            *(f"{result['ends'][end]}" for end in ENDS),
            reporting.percent(result["alive_at_end"]) if result["alive_at_end"] else "-",
            reporting.written(result["training_loss"], 2) if result["training_loss"] else "-",
        ]
        for result in results
    ]
    header = ["learning rate", "scale", *ENDS, "live features at the end, %", "training loss"]
    said = []
    for scale in SCALES:
        here = [result for result in results if result["scale"] == scale]
        total = sum(result["runs"] for result in here)
        failed = total - sum(result["ends"]["finished"] for result in here)
        said += [f"{failed} of {total} with scale {scale:g}"] if here else []
    sentence = f"Runs that failed: {', '.join(said)}."
    notes = f"Live features: mean of the last {LAST_STEPS} steps."
    text = reporting.page_text(sentence, reporting.markdown(header, lines), shown, notes=notes)
    content = {"settings": reporting.settings(shown), "results": results, "sentence": sentence}
    reporting.write_results(options, NAME, content, rows, picture(list(runs.values())), SHOWS, text)


def picture(groups: list[list[trainings.Run]]) -> Any:
    """Draw how the runs ended above, their live features by step below; a column for each rate."""
    rates = sorted({run.facts["recipe"]["learning_rate"] for runs in groups for run in runs})
    figure, axes = reporting.new_figure(2, len(rates), 3.2 * len(rates) + 1, 6.2)
    for column, rate in enumerate(rates):
        here = [runs for runs in groups if runs[0].facts["recipe"]["learning_rate"] == rate]
        axes[0, column].set_title(f"learning rate {rate:g}")
        draw_ends(axes[0, column], [outcome(runs) for runs in here])
        draw_alive(axes[1, column], here)
    axes[0, 0].set_ylabel("share of the runs")
    axes[1, 0].set_ylabel("features that are not zero, %")
    handles = {}
    for one in axes.flat:
        handles |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_ends(axes: Any, results: list[dict[str, Any]]) -> None:
    """Draw a bar for each scale: the shares of the runs that ended in one way or another."""
    places, bottom = range(len(results)), [0.0] * len(results)
    for end, colour in ENDS.items():
        shares = [result["ends"][end] / result["runs"] for result in results]
        axes.bar(places, shares, bottom=bottom, color=colour, width=0.6, label=end)
        bottom = [low + share for low, share in zip(bottom, shares, strict=True)]
    axes.set_xticks(places, [f"{result['scale']:g}" for result in results])
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("residual scale")


def draw_alive(axes: Any, groups: list[list[trainings.Run]]) -> None:
    """Draw the share of live features by step: a line for each run, a cross where it failed."""
    for runs in groups:
        scale = runs[0].facts["options"]["residual_scales"]
        colour = reporting.COLOURS[SCALES.index(scale)]
        for run in runs:
            rows = trainings.read_steps(run.folder)
            steps = [row["step"] for row in rows]
            alive = [100 * row["alive_features"] for row in rows]
            axes.plot(steps, alive, color=colour, linewidth=1.2, label=f"scale {scale:g}")
            if rows and run.facts["outcome"] != "finished":
                axes.plot(steps[-1], alive[-1], "x", color=colour, markersize=8, clip_on=False)
    axes.set(xlabel="step", ylim=(0, 100))


def main() -> None:
    """Train what is not trained yet, and report."""
    parser = trainings.parser(
        __doc__.splitlines()[0], images=1_600, validation_images=100, batch_size=32, epochs=1
    )
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.045, 0.5])
    options = parser.parse_args()
    runs = trainings.Trainings(options, variants(options), probe=True)
    runs.train()
    report(options, runs.ended())


if __name__ == "__main__":
    main()
