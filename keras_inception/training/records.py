"""What a run leaves behind: history.csv, curves.png, TensorBoard logs, model.keras."""

import csv
import math
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.errors import import_extra
from keras_inception.files import MODEL_FILE, atomic_path
from keras_inception.training.averaging import WeightAveraging, sync_state
from keras_inception.training.failures import NonFiniteError
from keras_inception.training.losses import main_model

HISTORY_FILE = "history.csv"
CURVES_FILE = "curves.png"
_BATCHES_PER_LOG = 100
_SECONDS_BETWEEN_CURVES = 60.0  # drawing takes a noticeable part of a short epoch
_PARTS = {"raw_val": "validation, weights not averaged", "val": "validation", "": "training"}
_NOTE = (
    "Training: distorted images, dropout, smoothed labels, all heads, as far as the recipe has "
    "them.\nValidation: plain images, the averaged weights, the main head; ki.training.fit smooths "
    "no label there.\nSo training and validation are different measures: compare each with itself."
)


def save_main_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Save a model without its auxiliary heads and its optimizer, whole or not at all.

    Args:
        model: holds the weights to be saved.
        path: ends in ".keras".
    """
    with atomic_path(path) as temporary:
        main_model(model).save(temporary)


class Records(keras.callbacks.Callback):
    """Writes history.csv, curves.png and TensorBoard scalars, for plain `fit` and for ours.

    history.csv has one row for each epoch: the epoch from 1, the learning rate it began with, the
    seconds it took, and all logs. It is rewritten whole, so that it is never torn.

    Args:
        run_dir: folder to write to, created if need be; None writes nothing.
        rows: list of the rows so far, to which new ones are added; None starts an empty one.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """

    def __init__(
        self, run_dir: str | os.PathLike | None, rows: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__()
        import_extra("matplotlib.figure", "train")
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.rows = [] if rows is None else rows
        self._writer = None
        self._drawn = -math.inf

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the time and the learning rate."""
        self._began = time.perf_counter()
        self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Log to TensorBoard now and then, by step."""
        if self.run_dir is not None and batch % _BATCHES_PER_LOG == 0:
            sync_state(self.model)
            step = int(self.model.optimizer.iterations.numpy())
            self._log("batch", logs or {}, step)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add the epoch's row and rewrite the files."""
        seconds = round(time.perf_counter() - self._began, 3)
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate, "seconds": seconds}
        self.rows.append(row | {name: float(value) for name, value in (logs or {}).items()})
        if self.run_dir is None:
            return
        self._log("epoch", self.rows[-1], epoch + 1)
        write_history(self.rows, self.run_dir / HISTORY_FILE)
        if time.perf_counter() - self._drawn > _SECONDS_BETWEEN_CURVES:
            self._draw()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Draw the finished curves; close the TensorBoard file."""
        if self.run_dir is not None and self.rows:
            self._draw()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _draw(self) -> None:
        draw_curves(self.rows, self.run_dir / CURVES_FILE)
        self._drawn = time.perf_counter()

    def _log(self, group: str, values: dict[str, Any], step: int) -> None:
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.run_dir / "tensorboard"))
        metadata = tf.compat.v1.SummaryMetadata(data_class=1)  # scalar: no tensorboard needed
        metadata.plugin_data.plugin_name = "scalars"
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(f"{group}/{name}", np.float32(value), step, metadata)
        self._writer.flush()


class SaveMainModel(keras.callbacks.Callback):
    """Saves model.keras after every epoch of plain `fit`: averaged weights, main head only.

    Args:
        run_dir: folder to write to.
        averaging: the callback that holds the averages; None saves the weights as they are.
    """

    def __init__(self, run_dir: str | os.PathLike, averaging: WeightAveraging | None) -> None:
        super().__init__()
        self.path = Path(run_dir) / MODEL_FILE
        self.averaging = averaging

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save."""
        if self.averaging is None:
            save_main_model(self.model, self.path)
            return
        with self.averaging.swapped():
            save_main_model(self.model, self.path)


class StopOnNonFinite(keras.callbacks.Callback):
    """Ends plain `fit` as soon as the loss is not finite.

    Raises:
        NonFiniteError: from within `fit`; names the step and the first bad weight.
    """

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the running loss."""
        if np.isfinite((logs or {}).get("loss", 0.0)):
            return
        sync_state(self.model)
        step = int(self.model.optimizer.iterations.numpy())
        bad = (w.path for w in self.model.weights if not np.isfinite(w.numpy()).all())
        raise NonFiniteError(
            f"Step {step}: NaN or infinity in the loss; the first such weight is "
            f"{next(bad, 'none of them')}. Lower learning_rate, or set clip_norm."
        )


def write_history(rows: list[dict[str, Any]], path: str | os.PathLike) -> None:
    """Write rows as CSV; a column that a row lacks stays empty there."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def draw_curves(rows: list[dict[str, Any]], path: str | os.PathLike) -> None:
    """Draw loss and accuracy by epoch, training and validation, as a PNG.

    A note in the picture says why the two do not compare.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    figure = import_extra("matplotlib.figure", "train").Figure((9, 4.2), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        columns = dict.fromkeys(name for row in rows for name in row if name.endswith(what))
        for name in columns:
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True), marker=".", label=_label(name, what))
        axes.set(xlabel="epoch", ylabel=what)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.supxlabel(_NOTE, fontsize=8, color="dimgray")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _label(column: str, what: str) -> str:
    """Put a column of the history into words: "val_top5_accuracy" is "validation, top5"."""
    start = column.removesuffix(what).rstrip("_")
    part = next(prefix for prefix in _PARTS if start.startswith(prefix))
    rest = start.removeprefix(part).strip("_").replace("_", " ")
    return f"{_PARTS[part]}, {rest}" if rest else _PARTS[part]
