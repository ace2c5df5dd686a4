"""Results as a table and as a chart."""

from __future__ import annotations

import os
from collections.abc import Iterable

from keras_inception.errors import import_extra
from keras_inception.files import atomic_path
from keras_inception.jobs.benchmark.results import Measurement, Results
from keras_inception.jobs.benchmark.sides import OURS, STOCK

_OURS_COLOUR, _OTHERS_COLOUR = "#1f6feb", "#8c959f"

_HEADINGS = (
    "network", "batch", "library", "runtime", "dtype", "images/s", "spread", "p50 ms", "p99 ms",
    "memory MB", "of peak", "speed-up",
)  # fmt: skip
_TEXTS = 5  # leading columns that hold no numbers, the batch size apart


def rows(results: Results) -> list[tuple[str, ...]]:
    """Return a row of text for every measurement, the fastest of each network and batch first.

    The speed-up is that over `keras.applications` in float32, where it has the network.
    """
    return [
        (
            each.network,
            str(each.batch_size),
            each.library,
            each.runtime,
            each.dtype,
            f"{each.images_per_second:.1f}",
            f"{each.slowest:.1f}-{each.fastest:.1f}",
            f"{1e3 * each.p50:.1f}",
            f"{1e3 * each.p99:.1f}",
            f"{each.memory / 1e6:.0f}" if each.memory else "-",
            f"{each.share_of_peak:.0%}",
            f"{each.images_per_second / stock:.2f}x" if stock else "-",
        )
        for group in _groups(results)
        for stock in [_stock(group)]
        for each in group
    ]


def markdown(results: Results) -> str:
    """Return the results as a Markdown table, below it the machine."""
    rule = ["---" if i < _TEXTS and i != 1 else "---:" for i in range(len(_HEADINGS))]
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "|".join(rule) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(results)]
    return "\n".join([*lines, "", machine_line(results), ""])


def summary(results: Results) -> str:
    """Return a short Markdown table: images a second, a row for each network and batch size.

    Columns: `keras.applications` in both precisions, this package in TensorFlow and in its fastest
    runtime with its speed-up over `keras.applications` in float32, and the fastest of the others.
    """
    lines = [
        "| network | pixels | batch | keras.applications float32 | mixed_bfloat16 "
        "| here, TensorFlow | here, fastest | speed-up | of peak | fastest of others |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for group in _groups(results):
        ours = [each for each in group if each.library == OURS]
        others = [each for each in group if each.library not in (OURS, STOCK)]
        stock = {each.dtype: each for each in group if each.library == STOCK}
        best = ours[0] if ours else None
        speedup = best and "float32" in stock and best.images_per_second / _stock(group)
        cells = (
            group[0].network,
            str(group[0].size),
            str(group[0].batch_size),
            _speed(stock.get("float32")),
            _speed(stock.get("mixed_bfloat16")),
            _speed(next((each for each in ours if each.runtime == "tensorflow"), None)),
            f"{_speed(best)} ({best.runtime} {best.dtype})" if best else "-",
            f"{speedup:.2f}x" if speedup else "-",
            f"{best.share_of_peak:.0%}" if best else "-",
            f"{_speed(others[0])} ({side_name(others[0])})" if others else "-",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", machine_line(results), ""])


def side_name(each: Measurement) -> str:
    """Return the name of the side that was measured."""
    return f"{each.library}, {each.runtime}, {each.dtype}"


def text(results: Results) -> str:
    """Return the results as a table for a terminal."""
    table = [_HEADINGS, *rows(results)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < _TEXTS and i != 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    notes = [f"left out: {side}: {why}" for side, why in results.left_out.items()]
    return "\n".join([*lines, "", machine_line(results), *notes])


def machine_line(results: Results) -> str:
    """Return one sentence about the machine."""
    facts = results.machine
    peak = ", ".join(f"{rate / 1e9:.0f} GFLOP/s {dtype}" for dtype, rate in results.peak.items())
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"Measured on {facts['cores']} cores of {facts['cpu']} "
        f"(native bfloat16: {facts['native_bfloat16'] or 'none'}); matrix peak {peak}; {packages}."
    )


def chart(results: Results, path: str | os.PathLike) -> None:
    """Draw images a second as bars, a panel for each network and batch size.

    Args:
        results: what to draw.
        path: of the PNG, replaced if it exists.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    figures = import_extra("matplotlib.figure", "train")
    groups = _groups(results)
    heights = [1 + 0.3 * len(group) for group in groups]
    figure = figures.Figure(figsize=(9, sum(heights)), layout="constrained")
    panels = figure.subplots(len(groups), squeeze=False, height_ratios=heights)
    for axes, group in zip(panels.flat, groups, strict=True):
        names = [side_name(each) for each in group]
        speeds = [each.images_per_second for each in group]
        spread = [
            [each.images_per_second - each.slowest for each in group],
            [each.fastest - each.images_per_second for each in group],
        ]
        colours = [_OURS_COLOUR if each.library == OURS else _OTHERS_COLOUR for each in group]
        bars = axes.barh(names, speeds, xerr=spread, color=colours, ecolor="#24292f")
        axes.bar_label(bars, fmt="%.1f", padding=6)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_title(
            f"{group[0].network}, {group[0].size} px, batches of {group[0].batch_size}", loc="left"
        )
    panels.flat[-1].set_xlabel("images per second")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _groups(results: Results) -> list[list[Measurement]]:
    """Return the measurements of each network and batch size, the fastest first."""
    groups: dict[tuple, list[Measurement]] = {}
    for each in results.measurements:
        groups.setdefault((each.network, each.size, each.batch_size), []).append(each)
    return [sorted(group, key=lambda each: -each.images_per_second) for group in groups.values()]


def _stock(group: Iterable[Measurement]) -> float | None:
    for each in group:
        if (each.library, each.dtype) == (STOCK, "float32"):
            return each.images_per_second
    return None


def _speed(each: Measurement | None) -> str:
    return f"{each.images_per_second:.1f}" if each else "-"
