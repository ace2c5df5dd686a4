"""The curves of several runs in one picture."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from keras_inception import pictures
from keras_inception.errors import InputError, unknown
from keras_inception.training.records import HISTORY_FILE


def plot(runs: Sequence[str | os.PathLike], out: str | os.PathLike, value: str) -> None:
    """Draw one column of the histories of several runs by epoch.

    Args:
        runs: run folders, or history.csv files.
        out: the PNG, replaced if it exists.
        value: the column, for example "val_accuracy" or "loss".

    Raises:
        InputError: if a run has no history, or no such column (the columns are listed).
        MissingExtra: if matplotlib is not installed.
    """
    pictures.curves({str(run): _column(Path(run), value) for run in runs}, value, out)


def _column(run: Path, value: str) -> list[tuple[float, float]]:
    path = run / HISTORY_FILE if run.is_dir() else run
    if not path.is_file():
        raise InputError(f"{run} is neither a run folder with a {HISTORY_FILE} nor such a file.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "epoch" not in rows[0]:
        raise InputError(f"{path} holds no history: no row with an epoch.")
    if value not in rows[0]:
        raise unknown(f"column of {path}", value, rows[0])
    return [(float(row["epoch"]), float(row[value])) for row in rows if row[value]]
