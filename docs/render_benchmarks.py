"""Write what the smaller benchmarks found into the pages: `python docs/render_benchmarks.py`.

The figures come from the records that the scripts in `benchmarks/` wrote last; a script that has
no record yet says so in its place.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rendering import DOCS, filled, write

from keras_inception.jobs import benchmark

BENCHMARKS = DOCS.parent / "benchmarks"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))


def train_step(record: Mapping[str, Any]) -> str:
    """Return the time and memory of a train step of every side."""
    rows = [
        (
            f"{network} in {dtype}",
            side,
            f"{found['seconds']:.2f}",
            f"{found['spread'][0]:.2f} to {found['spread'][1]:.2f}",
            f"{found['memory_bytes'] / 2**30:.2f}",
            f"{found['speedup']:.2f}",
        )
        for network, dtypes in record["results"].items()
        for dtype, sides in dtypes.items()
        for side, found in sides.items()
    ]
    headings = ("network", "side", "s a step", "spread", "GiB", "s, relative to keras_inception")
    text = (
        f"Medians of {record['rounds']} alternating rounds, batches of {record['batch']} images of "
        f"{record['size']} pixels, TF_ENABLE_ONEDNN_OPTS={record['onednn']}."
    )
    return f"{table(headings, rows)}\n\n{text}"


def kernel_gradient(record: Mapping[str, Any]) -> str:
    """Return the milliseconds of the kernels' gradients by each way."""
    results = record["results"]
    ways = list(next(iter(results.values())))
    rows = [(way, *(f"{1e3 * found[way]:.0f}" for found in results.values())) for way in ways]
    headings = ("milliseconds for all kernels", *results)
    text = (
        f"Medians of {record['rounds']} alternating rounds, batches of {record['batch']} images, "
        f"TF_ENABLE_ONEDNN_OPTS={record['onednn']}."
    )
    return f"{table(headings, rows)}\n\n{text}"


def input_pipeline(record: Mapping[str, Any]) -> str:
    """Return how fast images are distorted, and how long a train step waits for them."""
    speeds = record["results"]["images_per_second"]
    ours, stock = (f"{speeds[side]:.0f}" for side in ("keras_inception", "keras layers"))
    training = record["results"]["training"]
    return (
        f"The papers' distortion of JPEGs of 500x375 pixels to {record['size']} gives {ours} "
        "images a second; `keras.utils.image_dataset_from_directory` with Keras's layers, which do "
        f"less, {stock}. A train step of {record['network']} took {training['step_seconds']:.2f} s "
        f"for {record['batch']} images, {training['waiting_share']:.1%} of which it waited for "
        "them."
    )


def crops_memory(record: Mapping[str, Any]) -> str:
    """Return the memory that evaluations gained."""
    rows = [
        (*(str(row[name]) for name in ("crops", "networks", "images")), f"{row['mebibytes']:.0f}")
        for row in record["results"]
    ]
    text = (
        f"{record['network']} at width {record['width']:g} and {record['size']} pixels, "
        f"{record['batch']} crops at a time, every row in a process of its own."
    )
    return f"{table(('crops', 'networks', 'images', 'MiB gained'), rows)}\n\n{text}"


def serving(record: Mapping[str, Any]) -> str:
    """Return what batching requests gives."""
    rows = [
        (
            name,
            f"{found['requests_per_second']:.1f}",
            f"{found['p50_seconds']:.2f}",
            f"{found['p99_seconds']:.2f}",
            str(found["lost"]),
        )
        for name, found in (
            ("each request alone", record["batch_1"]),
            ("up to 16 together", record["batch_16"]),
        )
    ]
    headings = ("", "requests/s", "p50, s", "p99, s", "lost at the end")
    return f"{table(headings, rows)}\n\nWith {record['clients']} clients at once."


def seven_recipes(record: Mapping[str, Any]) -> str:
    """Return what every recipe's network reaches on the digits."""
    rows = [
        (
            f"`{line['recipe']['name']}`",
            f"{line['width']:g}",
            str(line["input_pixels"]),
            f"{line['recipe']['learning_rate']:g}",
            str(line["recipe"]["epochs"]),
            f"{100 * line['test_accuracy']:.1f}",
            f"{line['validation_loss']:.3f}",
            f"{line['raw_validation_loss']:.3f}",
            f"{line['seconds'] / 60:.1f}",
        )
        for line in record["results"]
    ]
    headings = (
        "recipe", "width", "pixels", "learning rate", "epochs", "test accuracy, %",
        "validation loss, averaged weights", "raw weights", "minutes",
    )  # fmt: skip
    first = record["results"][0]
    text = (
        f"Batches of {first['batch']} images; {first['test_images']} test images; losses are means "
        "over the last four epochs."
    )
    return f"{table(headings, rows)}\n\n{text}"


def export_accuracy(record: Mapping[str, Any]) -> str:
    """Return the accuracy of every network and its exports."""
    lines = record["results"]
    exports = list(lines[0]["exports"])
    rows = [
        (
            f"`{line['network']}`",
            f"{100 * line['accuracy']:.1f}",
            *(f"{100 * line['exports'][name]:.1f}" for name in exports),
        )
        for line in lines
    ]
    headings = ("network", "Keras float32", *(f"`{name}`" for name in exports))
    text = f"Accuracy in percent on {lines[0]['images']} digits that were not trained on."
    return f"{table(headings, rows)}\n\n{text}"


PARTS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "train_step": ("training.md", train_step),
    "kernel_gradient": ("training.md", kernel_gradient),
    "input_pipeline": ("training.md", input_pipeline),
    "seven_recipes": ("training.md", seven_recipes),
    "export_accuracy": ("export.md", export_accuracy),
    "crops_memory": ("evaluation.md", crops_memory),
    "serving": ("serving.md", serving),
}
"""The page of every script, and what makes its record text."""


def part(name: str, folder: Path = BENCHMARKS) -> str:
    """Return the text of a script's record, with the machine that it was measured on."""
    path = folder / f"{name}.json"
    if not path.exists():
        return f"Not recorded yet: `benchmarks/{name}.py` does it.\n"
    record = json.loads(path.read_text(encoding="utf-8"))
    machine = benchmark.machine_text(record["machine"])
    return f"{PARTS[name][1](record)} Measured on {machine}.\n"


def render() -> dict[Path, str]:
    """Return every file that is written here, with its content."""
    pages: dict[Path, str] = {}
    for name, (page, _) in PARTS.items():
        path = DOCS / page
        pages[path] = filled(pages.get(path, path.read_text(encoding="utf-8")), name, part(name))
    return pages


if __name__ == "__main__":
    write(render())
