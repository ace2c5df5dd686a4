"""Finding 4: what does a larger receptive field give at a similar cost?

    python examples/findings/receptive_field.py --data path/to/class/folders

Szegedy et al. 2015 (arXiv:1512.00567), table 2: Inception-v3 on images of 79, 151 and 299 pixels,
with a first stride of 1 and no first pool, stride 1 with the pool, and stride 2 with it, costs the
same and sees ever more. Here the sizes are those with the grids of 75 pixels: 21, 39, 75; the cost
is similar, 14 % less at 21 pixels.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import reporting
import trainings

import keras_inception as ki

NAME = "receptive_field"
SHOWS = "Error by epoch at three image sizes"
WIDTH = 0.25
# Stride and pool of the stem, and the paper's size and top-1 accuracy in %.
ROWS = ((1, False, 79, 75.2), (1, True, 151, 76.4), (2, True, 299, 76.6))


def image_size(largest: int, stride: int, pool: bool) -> int:
    """Return the image size whose grids are those of `largest` from the first pool on.

    The stem's two unpadded 3x3 convolutions take 2 pixels each, and halve if their stride is 2.
    """
    behind_first = (largest - 3) // 2 + 1
    if stride == 2:
        return largest
    if pool:
        return behind_first + 2
    behind_pool = (behind_first - 2 - 3) // 2 + 1
    return behind_pool + 2 + 2


def variants(options: argparse.Namespace) -> list[trainings.Variant]:
    """Return the three networks; `options.image_size` is the largest size."""
    found = []
    for stride, pool, _, _ in ROWS:
        size = image_size(options.image_size, stride, pool)
        found.append(
            trainings.Variant(
                name=f"stem-{stride}-{'pool' if pool else 'nopool'}",
                model="InceptionV3",
                recipe=trainings.shortened(ki.recipes.inception_v3, options.epochs),
                image_size=size,
                options={"width": WIDTH, "stem_stride": stride, "stem_pool": pool},
            )
        )
    return found


def report(
    options: argparse.Namespace,
    runs: dict[str, list[trainings.Run]],
    failed: Sequence[trainings.Run],
) -> None:
    """Write the results of all sizes that have runs."""
    if not runs:
        print(reporting.nothing_to_report("No run", failed))
        return
    paper = {(stride, pool): (size, accuracy) for stride, pool, size, accuracy in ROWS}
    results = []
    for found in runs.values():
        facts = found[0].facts
        stem = facts["options"]["stem_stride"], facts["options"]["stem_pool"]
        size, accuracy = paper[stem]
        results.append(
            {
                "stem_stride": stem[0],
                "stem_pool": stem[1],
                "image_size": facts["image_size"],
                "multiply_adds": facts["multiply_adds"],
                "final_error": reporting.spread([run.errors()[-1] for run in found]),
                "paper_size": size,
                "paper_error": round(1 - accuracy / 100, 3),
            }
        )
    shown = [run for found in runs.values() for run in found]
    rows = [
        {
            "image_size": run.facts["image_size"],
            "seed": run.facts["seed"],
            "epoch": epoch,
            "validation_error": error,
        }
        for run in shown
        for epoch, error in enumerate(run.errors(), 1)
    ]
    lines = [
        [
            f"{r['image_size']} x {r['image_size']}, stride {r['stem_stride']}, "
            f"{'pool' if r['stem_pool'] else 'no pool'}",
            f"{r['multiply_adds'] / 1e6:.1f} M",
            str(len(r["final_error"]["values"])),
            reporting.percent(r["final_error"]),
            f"{r['paper_size']}: {100 * r['paper_error']:.1f}",
        ]
        for r in results
    ]
    header = ["images, stem", "multiply-adds", "seeds", "final error, %", "paper (ImageNet), %"]
    costs = [r["multiply_adds"] for r in results]
    cheapest = results[costs.index(min(costs))]["image_size"]
    said = [f"{r['image_size']} px {100 * r['final_error']['mean']:.1f} %" for r in results]
    sentence = (
        f"Inception-v3 at width {WIDTH:g}, error by image size at similar cost "
        f"({100 - 100 * min(costs) / max(costs):.0f} % less at {cheapest} pixels): "
        f"{', '.join(said)}."
    )
    text = reporting.page_text(sentence, reporting.markdown(header, lines), shown, failed)
    content = {
        "settings": reporting.settings(shown, failed),
        "sizes": results,
        "sentence": sentence,
    }
    reporting.write_results(options, NAME, content, rows, picture(runs, results), SHOWS, text)


def picture(runs: dict[str, list[trainings.Run]], results: list[dict[str, Any]]) -> Any:
    """Draw the error by epoch on the left, the final one beside the paper's on the right."""
    figure, axes = reporting.new_figure(1, 2)
    left, right = axes[0]
    for found, result, colour in zip(runs.values(), results, reporting.COLOURS, strict=False):
        curves = [[100 * error for error in run.errors()] for run in found]
        epochs = range(1, len(curves[0]) + 1)
        reporting.draw_seeds(left, epochs, curves, colour, label=f"{result['image_size']} px")
    reporting.label_epochs(left)
    left.legend(frameon=False)
    places = range(len(results))
    for error, label, colour in (
        ([100 * r["final_error"]["mean"] for r in results], "here", reporting.COLOURS[0]),
        ([100 * r["paper_error"] for r in results], "paper, ImageNet", "0.5"),
    ):
        right.plot(places, error, "o-", color=colour, label=label)
    names = [f"{r['image_size']} px\n(paper {r['paper_size']})" for r in results]
    right.set_xticks(places, names)
    right.set_ylim(bottom=0)
    right.set(ylabel="final error, %")
    right.legend(frameon=False)
    return figure


def main() -> None:
    """Train what is not trained yet, and report."""
    options = trainings.parser(__doc__.splitlines()[0]).parse_args()
    runs = trainings.Trainings(options, variants(options))
    runs.train()
    report(options, runs.finished(), runs.failed())


if __name__ == "__main__":
    main()
