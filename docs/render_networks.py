"""Write the table, the chart and the builder's reference: `python docs/render_networks.py`.

The figures come from `keras_inception/facts.json`, the scores from `weights_manifest.json`, the
speeds from `benchmarks/results.json`.
"""

import inspect
import math
from dataclasses import dataclass
from pathlib import Path

from render_speed import RECORD
from rendering import DOCS, filled, write

import keras_inception as ki
from keras_inception.facts import Facts, facts
from keras_inception.jobs import benchmark
from keras_inception.weights import Checkpoint, default_weights

CHOOSING = DOCS / "choosing_a_network.md"
BUILDERS = DOCS / "api" / "networks.md"
CHART = DOCS / "drawings" / "chart" / "networks.svg"
SCORES_ON = "ImageNet 2012 validation"

_WIDTH, _HEIGHT = 720, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 30, 24, 56
_LABELS = {"InceptionV4": (-20, 30, "end"), "InceptionResNetV2": (-20, -26, "end")}


@dataclass(frozen=True)
class Row:
    """A network as its default weights have it.

    Attributes:
        name: of the builder.
        architecture: that the weights need, "paper" without weights.
        facts: what that costs.
        weights: the checkpoint; None if none was ever published.
        top1: published accuracy in percent.
        top5: likewise.
        protocol: of these.
        speed: measured images a second; None if it was not measured.
    """

    name: str
    architecture: str
    facts: Facts
    weights: Checkpoint | None
    top1: float | None = None
    top5: float | None = None
    protocol: str = ""
    speed: float | None = None


SPEED_SIDE, SPEED_BATCH = "keras_inception, tensorflow, float32", 16


def speed(name: str, form: str) -> float | None:
    """Return the measured speed of a network at its own size in `SPEED_SIDE`."""
    wanted = (name, form, facts()[name][form].input_size, 1.0, SPEED_BATCH)
    found = benchmark.read(RECORD).measurements if RECORD.exists() else ()
    speeds = [m.images_per_second for m in found if (m.task, m.side) == (wanted, SPEED_SIDE)]
    return speeds[0] if speeds else None


def rows() -> list[Row]:
    """Return every network, in the order of the papers."""
    return [row(name) for name in ki.list_models()]


def row(name: str) -> Row:
    """Return a network with its default weights and their first published score."""
    entry = default_weights(name)
    if entry is None:
        return Row(name, "paper", facts()[name]["paper"], None, speed=speed(name, "paper"))
    score = next(a for a in entry.accuracy if a.dataset == SCORES_ON and a.top1 is not None)
    form = entry.architecture
    published = (score.top1, score.top5, score.protocol)
    return Row(name, form, facts()[name][form], entry, *published, speed(name, form))


def table() -> str:
    """Return the table of the networks in Markdown, and where its scores come from."""
    lines = [
        "| network | parameters | multiply-adds | input | top-1 | top-5 | images/s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows():
        scores = [f"{s:.1f} %" if s is not None else "none" for s in (r.top1, r.top5)]
        size = [f"{r.facts.parameters / 1e6:.1f} M", f"{r.facts.multiply_adds / 1e9:.2f} G"]
        measured = f"{r.speed:.1f}" if r.speed else "-"
        cells = [r.name, *size, str(r.facts.input_size), *scores, measured]
        lines.append(f"| {' | '.join(cells)} |")
    sources = [
        f"- {r.name}: `{r.weights.id}`, architecture `{r.architecture}`; {r.protocol}."
        if r.weights
        else f"- {r.name}: no weights were ever published."
        for r in rows()
    ]
    return "\n".join([*lines, "", "Weights, and how their score was measured:", "", *sources, ""])


def chart() -> str:
    """Return the chart: accuracy over multiply-adds, areas in proportion to the parameters."""
    shown = [r for r in rows() if r.top1 is not None]
    parts = [_axes()]
    for r in sorted(shown, key=lambda r: -r.facts.parameters):
        x, y = _x(r.facts.multiply_adds / 1e9), _y(r.top1)
        radius = 3.4 * math.sqrt(r.facts.parameters / 1e6)
        dx, dy, anchor = _LABELS.get(r.name, (radius + 6, 4, "start"))
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
            f'<text x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{label(r)}</text>'
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="ki-chart" role="img" '
            f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">',
            "<title>Published top-1 accuracy of the networks over their multiply-adds</title>",
            f"<style>\n{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def label(r: Row) -> str:
    """Return what stands beside a network in the chart."""
    return f"{r.name}, {r.speed:.1f}/s" if r.speed else r.name


_STYLE = """\
svg.ki-chart:root { color-scheme: light dark; }
.ki-chart text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; \
fill: #1f2328; fill: light-dark(#1f2328, #f0f6fc); }
.ki-chart .page { fill: #ffffff; fill: light-dark(#ffffff, #0d1117); }
.ki-chart .axis { stroke: #d0d7de; stroke: light-dark(#d0d7de, #3d444d); }
.ki-chart circle { fill: #3f7ad6; fill: light-dark(#3f7ad6, #5b97f0); fill-opacity: 0.45; \
stroke: #3f7ad6; stroke: light-dark(#3f7ad6, #5b97f0); }
"""


def _axes() -> str:
    lines = []
    for percent in range(68, 83, 2):
        y = _y(percent)
        lines.append(f'<path class="axis" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for cost in range(0, 15, 2):
        lines.append(
            f'<text x="{_x(cost):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{cost}'
            "</text>"
        )
    words = (
        "multiply-adds of one image, in thousand millions; area: parameters; /s: measured images"
    )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{words}</text>')
    lines.append(f'<text x="{_LEFT + 8}" y="{_TOP + 2}">top-1 accuracy</text>')
    return "\n".join(lines)


def _x(cost: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * cost / 15


def _y(percent: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (82.5 - percent) / (82.5 - 67.5)


def builder() -> str:
    """Return signature and docstring of the builder with the most arguments."""
    signature = inspect.signature(ki.InceptionResNetV2)
    arguments = "".join(
        "    *,\n" * (p.name == "architecture") + f"    {p.name}={p.default!r},\n"
        for p in signature.parameters.values()
    )
    text = inspect.getdoc(ki.InceptionResNetV2)
    return f"```text\nInceptionResNetV2(\n{arguments})\n\n{text}\n```\n"


def render() -> dict[Path, str]:
    """Return every file that is written here, with its content."""
    choosing, builders = (path.read_text(encoding="utf-8") for path in (CHOOSING, BUILDERS))
    return {
        CHART: chart(),
        CHOOSING: filled(choosing, "networks", table()),
        BUILDERS: filled(builders, "builder", builder()),
    }


if __name__ == "__main__":
    write(render())
