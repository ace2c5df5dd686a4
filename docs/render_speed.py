"""Write the tables of speed: `python docs/render_speed.py`.

The figures come from `benchmarks/results.json`, what `keras-inception benchmark --json` wrote last.
"""

from pathlib import Path

from rendering import DOCS, filled, write

from keras_inception.facts import facts
from keras_inception.jobs import benchmark
from keras_inception.jobs.benchmark.sides import FORMS

RECORD = DOCS.parent / "benchmarks" / "results.json"
SPEED = DOCS / "speed.md"
README = DOCS.parent / "README.md"
NOT_YET = (
    "No full run of `keras-inception benchmark` is recorded yet. Measure on your own machine, "
    "where it counts.\n"
)


def short(record: Path = RECORD) -> str:
    """Return the table of the README: a row for each network and batch size."""
    return benchmark.summary(benchmark.read(record)) if record.exists() else NOT_YET


def full(record: Path = RECORD) -> str:
    """Return the short table, every side that was measured, and what had to be reached."""
    if not record.exists():
        return NOT_YET
    results = benchmark.read(record)
    goals = [f"- {sentence}" for sentence in benchmark.bounds(results)]
    missing = [f"- {side}: {why}" for side, why in results.left_out.items()]
    parts = [short(record), "All that was measured:\n", benchmark.markdown(results)]
    for title, lines in (("Goals:", goals), ("Left out:", missing)):
        if lines:
            parts += [f"{title}\n", "\n".join([*lines, ""])]
    return "\n".join(parts)


def forms() -> str:
    """Return the table of what the libraries have, and what it costs."""
    lines = [
        "| library | network | form | multiply-adds | the paper's |",
        "|---|---|---|---:|---:|",
    ]
    for library, networks in FORMS.items():
        for name, form in networks.items():
            costs = [f"{facts()[name][each].multiply_adds / 1e9:.2f} G" for each in (form, "paper")]
            lines.append(f"| {library} | {name} | `{form}` | {costs[0]} | {costs[1]} |")
    return "\n".join([*lines, ""])


def render() -> dict[Path, str]:
    """Return every file that is written here, with its content."""
    speed, readme = (path.read_text(encoding="utf-8") for path in (SPEED, README))
    return {
        SPEED: filled(filled(speed, "speed", full()), "forms", forms()),
        README: filled(readme, "speed", short()),
    }


if __name__ == "__main__":
    write(render())
