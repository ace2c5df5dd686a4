"""Finding 3: the ladder from Inception-v2 to Inception-v3.

    python examples/findings/ladder.py --data path/to/class/folders

Szegedy et al. 2015 (arXiv:1512.00567), table 3, cumulative: momentum, then RMSProp, label
smoothing, the factorised first 7x7, the batch-normalised auxiliary head. That head needs images of
299 pixels; at smaller sizes the last step is left out.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import reporting
import trainings

import keras_inception as ki

NAME = "ladder"
SHOWS = "Final error of every step"
WIDTH = 0.25
# The recipe's name, what it adds, the builder's options, the paper's single-crop top-1 error in %.
STEPS = (
    ("inception_v2", "v2, momentum", {"stem": "7x7"}, 23.4),
    ("rmsprop", "+ RMSProp", {"stem": "7x7"}, 23.1),
    ("label_smoothing", "+ label smoothing", {"stem": "7x7"}, 22.8),
    ("factorized", "+ factorised 7x7", {"stem": "factorized"}, 21.6),
    ("bn_auxiliary", "+ BN auxiliary head", {"stem": "factorized", "aux_heads": True}, 21.2),
)
TEXTS = {f"ladder-{name}": text for name, text, _, _ in STEPS}
PAPER = {f"ladder-{name}": error for name, _, _, error in STEPS}


def variants(options: argparse.Namespace) -> list[trainings.Variant]:
    """Return the steps of the ladder that the images are large enough for."""
    with_head = ki.smallest_input("InceptionV2", aux_heads=True)
    return [
        trainings.Variant(
            name=f"ladder-{name}",
            model="InceptionV2",
            recipe=trainings.shortened(ki.recipes.get(name), options.epochs),
            image_size=options.image_size,
            options={"width": WIDTH, **step},
        )
        for name, _, step, _ in STEPS
        if "aux_heads" not in step or options.image_size >= with_head
    ]


def report(
    options: argparse.Namespace,
    runs: dict[str, list[trainings.Run]],
    failed: Sequence[trainings.Run],
) -> None:
    """Write the results of all steps that have runs."""
    if not runs:
        print(reporting.nothing_to_report("No run", failed))
        return
    results = {
        name: {
            "step": TEXTS[name],
            "final_error": reporting.spread([run.errors()[-1] for run in found]),
            "paper_error": PAPER[name] / 100,
            "multiply_adds": found[0].facts["multiply_adds"],
        }
        for name, found in runs.items()
    }
    shown = [run for found in runs.values() for run in found]
    rows = [
        {
            "step": name,
            "seed": run.facts["seed"],
            "epoch": epoch,
            "validation_error": error,
        }
        for name, found in runs.items()
        for run in found
        for epoch, error in enumerate(run.errors(), 1)
    ]
    lines = [
        [
            result["step"],
            str(len(result["final_error"]["values"])),
            reporting.percent(result["final_error"]),
            f"{100 * result['paper_error']:.1f}",
            f"{result['multiply_adds'] / 1e6:.1f} M",
        ]
        for result in results.values()
    ]
    header = ["step", "seeds", "final error, %", "paper (ImageNet), %", "multiply-adds"]
    first, last = (list(results.values())[i] for i in (0, -1))
    gain = first["final_error"]["mean"] - last["final_error"]["mean"]
    sentence = (
        f'Inception-v2 at width {WIDTH:g}: from "{first["step"]}" to "{last["step"]}" the error '
        f"{'fell' if gain >= 0 else 'rose'} by {100 * abs(gain):.1f} points."
    )
    text = reporting.page_text(sentence, reporting.markdown(header, lines), shown, failed)
    content = {
        "settings": reporting.settings(shown, failed),
        "steps": results,
        "sentence": sentence,
    }
    reporting.write_results(options, NAME, content, rows, picture(results), SHOWS, text)


def picture(results: dict[str, dict[str, Any]]) -> Any:
    """Draw the final error of every step: the mean, and every seed."""
    figure, axes = reporting.new_figure(1, 1, 7.0, 0.6 * len(results) + 1.2)
    here = axes[0, 0]
    for place, result in enumerate(results.values()):
        errors = result["final_error"]
        values = [100 * value for value in errors["values"]]
        here.plot(values, [place] * len(values), "o", color=reporting.COLOURS[0], alpha=0.4)
        here.plot(
            100 * errors["mean"], place, "|", color=reporting.COLOURS[1], markersize=22, mew=3
        )
    here.set_yticks(range(len(results)), [result["step"] for result in results.values()])
    here.set_ylim(len(results) - 0.5, -0.5)
    here.set(xlabel="final validation error, % (dots: seeds, bars: means)")
    return figure


def main() -> None:
    """Train what is not trained yet, and report."""
    options = trainings.parser(__doc__.splitlines()[0]).parse_args()
    runs = trainings.Trainings(options, variants(options))
    runs.train()
    report(options, runs.finished(), runs.failed())


if __name__ == "__main__":
    main()
