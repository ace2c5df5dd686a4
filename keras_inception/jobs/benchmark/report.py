"""Results as a table and as a chart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_inception.errors import import_extra
from keras_inception.files import atomic_path
from keras_inception.jobs.benchmark.results import Measurement, Results, task_name
from keras_inception.jobs.benchmark.sides import OURS, STOCK
from keras_inception.networks import NETWORKS

_OURS_COLOUR, _OTHERS_COLOUR = "#1f6feb", "#8c959f"

_HEADINGS = (
    "library", "runtime", "dtype", "images/s", "spread", "undisturbed", "p50 ms", "p99 ms",
    "memory MB", "of peak", "speed-up",
)  # fmt: skip
_SUMMARY = (
    "network", "form", "pixels", "batch", "keras.applications float32", "mixed_bfloat16",
    "here, TensorFlow", "over Keras", "here, fastest", "over Keras", "of peak",
    "here, int8", "over Keras", "fastest of others",
)  # fmt: skip
_SUMMARY_RULES = ("---",) * 2 + ("---:",) * 12
_TEXTS = ("library", "runtime", "dtype")  # columns that hold no numbers
_IS_TEXT = tuple(heading in _TEXTS for heading in _HEADINGS)


FLOATS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Bound:
    """How much faster than another side this package has to be.

    Attributes:
        least: how many times as fast.
        theirs: library and dtype of the other side, the fastest of which counts; None for a
            library: any but this and Keras's.
        ours: runtime and dtypes of this package's side, the fastest of which counts; runtime
            None: any.
        network: for which it stands; None: for all.
        batch_size: likewise.
        native: whether it stands only where bfloat16 is native.
    """

    least: float
    theirs: tuple[str | None, str | None]
    ours: tuple[str | None, tuple[str, ...]] = (None, FLOATS)
    network: str | None = "InceptionV3"
    batch_size: int | None = 16
    native: bool = True

    def judged(self, group: Sequence[Measurement]) -> str | None:
        """Return what measurements of one task say of it, None if nothing."""
        (runtime, dtypes), (library, their_dtype) = self.ours, self.theirs
        ours = [
            each
            for each in group
            if each.library == OURS and runtime in (None, each.runtime) and each.dtype in dtypes
        ]
        others = [
            each
            for each in group
            if (each.library == library if library else each.library not in (OURS, STOCK))
            and their_dtype in (None, each.dtype)
        ]
        if not (ours and others):
            return None
        ratio = ours[0].images_per_second / others[0].images_per_second
        return (
            f"{task_name(ours[0])}: {ours[0].side} is {ratio:.3f} times as fast as "
            f"{others[0].side}; {_verdict(ratio, self.least, f'{self.least:g}')}"
        )


BOUNDS = (
    Bound(4.5, (STOCK, "float32"), ("tensorflow", FLOATS)),
    Bound(2.0, (STOCK, "mixed_bfloat16"), ("tensorflow", FLOATS)),
    Bound(1.05, (STOCK, "float32"), ("tensorflow", ("float32",)), native=False),
    Bound(5.5, (STOCK, "float32")),
    Bound(5.5, (STOCK, "float32"), (None, ("int8",))),
    Bound(5.0, (STOCK, "float32"), batch_size=1),
    Bound(5.0, (STOCK, "float32"), (None, ("int8",)), batch_size=1),
    Bound(0.97, (None, None), network=None, batch_size=None, native=False),
)
LEAST_OF_PEAK = 0.8
"""The share of the bfloat16 peak to be reached, where bfloat16 is native, by `LEAST_FOR`."""

LEAST_FOR = ("InceptionV3", "paper")


def bounds(results: Results) -> list[str]:
    """Return a sentence for every bound that the results can judge: networks of full size."""
    if results.quick:
        return []
    native = bool(results.machine["native_bfloat16"])
    said = []
    for group in _groups(results):
        network, _, size, width, batch_size = group[0].task
        if width != 1 or size != NETWORKS[network].input_size:
            continue
        for bound in BOUNDS:
            if (
                (native or not bound.native)
                and bound.network in (None, network)
                and bound.batch_size in (None, batch_size)
            ):
                said.append(bound.judged(group))
        best = [each for each in group if (each.library, each.dtype) == (OURS, "bfloat16")]
        share = best[0].share_of_peak if best else None
        if native and share is not None and group[0].task[:2] == LEAST_FOR and batch_size == 16:
            least = _verdict(share, LEAST_OF_PEAK, f"{LEAST_OF_PEAK:.0%}")
            said.append(
                f"{task_name(best[0])}: {best[0].side} reaches {share:.0%} of the peak; {least}"
            )
    return [sentence for sentence in said if sentence]


def _verdict(value: float, least: float, text: str) -> str:
    return f"at least {text} is the goal: {'reached' if value >= least else 'missed'}."


def rows(group: Iterable[Measurement]) -> list[tuple[str, ...]]:
    """Return a row of text for every measurement of a task.

    The speed-up is that over `keras.applications` in float32, where it has the network.
    """
    group = list(group)
    return [
        (
            each.library,
            each.runtime,
            each.dtype,
            f"{each.images_per_second:.1f}",
            f"{each.slowest:.1f}-{each.fastest:.1f}",
            "-" if each.undisturbed is None else f"{each.undisturbed} of {each.turns}",
            f"{1e3 * each.p50:.1f}",
            f"{1e3 * each.p99:.1f}",
            f"{each.memory / 1e6:.0f}" if each.memory else "-",
            _share(each),
            _speedup(each, group),
        )
        for each in group
    ]


def markdown(results: Results) -> str:
    """Return the results as a Markdown table for each task, below them the machine."""
    rule = ["---" if is_text else "---:" for is_text in _IS_TEXT]
    lines = []
    for group in _groups(results):
        table = (_HEADINGS, rule, *rows(group))
        lines += [f"**{task_name(group[0])}**", ""]
        lines += [*(f"| {' | '.join(line)} |" for line in table), ""]
    return "\n".join([*lines, machine_line(results), ""])


def summary(results: Results) -> str:
    """Return a short Markdown table: images a second, a row for each task.

    Columns: `keras.applications` in both precisions, this package in TensorFlow, in its fastest
    runtime and in int8 with their speed-ups over `keras.applications` in float32, and the fastest
    of the others. Columns in which nothing was measured are left out.
    """
    lines = []
    for group in _groups(results):
        ours = [each for each in group if each.library == OURS]
        others = [each for each in group if each.library not in (OURS, STOCK)]
        stock = {each.dtype: each for each in group if each.library == STOCK}
        best = next((each for each in ours if each.dtype in FLOATS), None)
        int8 = next((each for each in ours if each.dtype == "int8"), None)
        tensorflow = next((each for each in ours if each.runtime == "tensorflow"), None)
        cells = (
            group[0].network,
            group[0].architecture,
            str(group[0].size),
            str(group[0].batch_size),
            _speed(stock.get("float32")),
            _speed(stock.get("mixed_bfloat16")),
            _speed(tensorflow),
            _speedup(tensorflow, group),
            f"{_speed(best)} ({best.runtime} {best.dtype})" if best else "-",
            _speedup(best, group),
            _share(best),
            f"{_speed(int8)} ({int8.runtime})" if int8 else "-",
            _speedup(int8, group),
            f"{_speed(others[0])} ({others[0].side})" if others else "-",
        )
        lines.append(cells)
    columns = [
        (heading, rule, *cells)
        for heading, rule, *cells in zip(_SUMMARY, _SUMMARY_RULES, *lines, strict=True)
        if set(cells) != {"-"}
    ]
    table = [f"| {' | '.join(line)} |" for line in zip(*columns, strict=True)]
    return "\n".join([*table, "", machine_line(results), ""])


def text(results: Results) -> str:
    """Return the results as tables for a terminal."""
    tables = {task_name(group[0]): [_HEADINGS, *rows(group)] for group in _groups(results)}
    columns = zip(*(row for table in tables.values() for row in table), strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for task, table in tables.items():
        lines += [task, *(_aligned(row, widths) for row in table), ""]
    notes = [f"left out: {side}: {why}" for side, why in results.left_out.items()]
    return "\n".join([*lines, machine_line(results), *bounds(results), *notes])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.ljust(width) if is_text else cell.rjust(width)
        for cell, width, is_text in zip(row, widths, _IS_TEXT, strict=True)
    )
    return "  ".join(cells).rstrip()


def machine_line(results: Results) -> str:
    """Return one sentence about the machine."""
    peak = ", ".join(f"{rate / 1e9:.0f} GFLOP/s {dtype}" for dtype, rate in results.peak.items())
    dates = sorted({each.date for each in results.measurements})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "no day"
    return f"Measured on {when} on {machine_text(results.machine)}; matrix peak {peak}."


def machine_text(machine: Mapping[str, Any]) -> str:
    """Return what `machine()` found as text, without a full stop."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['cores']} cores of {machine['cpu']} "
        f"(native bfloat16: {machine['native_bfloat16'] or 'none'}), with {packages}"
    )


def chart(results: Results, path: str | os.PathLike) -> None:
    """Draw images a second as bars, a panel for each task.

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
        names = [each.side for each in group]
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
        axes.set_title(task_name(group[0]), loc="left")
    panels.flat[-1].set_xlabel("images per second")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _groups(results: Results) -> list[list[Measurement]]:
    """Return the measurements of each task, the fastest first."""
    groups: dict[tuple, list[Measurement]] = {}
    for each in results.measurements:
        groups.setdefault(each.task, []).append(each)
    return [sorted(group, key=lambda each: -each.images_per_second) for group in groups.values()]


def _speedup(measurement: Measurement | None, group: Iterable[Measurement]) -> str:
    stock = [m.images_per_second for m in group if (m.library, m.dtype) == (STOCK, "float32")]
    return f"{measurement.images_per_second / stock[0]:.2f}x" if measurement and stock else "-"


def _share(each: Measurement | None) -> str:
    return "-" if each is None or each.share_of_peak is None else f"{each.share_of_peak:.0%}"


def _speed(each: Measurement | None) -> str:
    return f"{each.images_per_second:.1f}" if each else "-"
