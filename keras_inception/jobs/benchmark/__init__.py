"""How fast networks run on this machine, here and in other libraries."""

from keras_inception.jobs.benchmark.report import (
    bounds,
    chart,
    machine_text,
    markdown,
    summary,
    text,
)
from keras_inception.jobs.benchmark.results import Measurement, Results, machine, read
from keras_inception.jobs.benchmark.run import QUICK, Effort, benchmark

__all__ = [
    "QUICK",
    "Effort",
    "Measurement",
    "Results",
    "benchmark",
    "bounds",
    "chart",
    "machine",
    "machine_text",
    "markdown",
    "read",
    "summary",
    "text",
]
