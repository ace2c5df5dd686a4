import csv
import sys

import keras
import numpy as np
import pytest

from keras_inception.errors import InputError, MissingExtra
from keras_inception.training import NonFiniteError, draw_curves
from keras_inception.training.averaging import SharedStatistics
from keras_inception.training.records import Records, SaveMainModel, StopOnNonFinite, write_history
from tests.training import small

ROWS = [
    {"epoch": 1, "loss": 2.0, "accuracy": 0.2},
    {"epoch": 2, "loss": 1.0, "accuracy": 0.5, "val_accuracy": 0.4},
]
ALL = ("accuracy", "val_accuracy", "val_top5_accuracy", "raw_val_accuracy", "aux_accuracy")


def test_history_holds_every_column_that_a_row_has(tmp_path):
    write_history(ROWS, tmp_path / "history.csv")
    with open(tmp_path / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"epoch": "1", "loss": "2.0", "accuracy": "0.2", "val_accuracy": ""}
    assert rows[1]["val_accuracy"] == "0.4"


def test_curves_are_a_picture_with_a_line_for_each_column(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    lines = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda self, *a, **k: lines.append((*map(list, a), k["label"])) or plot(self, *a, **k),
    )
    draw_curves(ROWS, tmp_path / "curves.png")
    assert lines == [
        ([1, 2], [2.0, 1.0], "training"),
        ([1, 2], [0.2, 0.5], "training"),
        ([2], [0.4], "validation"),
    ]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_picture_says_what_does_not_compare(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k)
    )
    draw_curves([{"epoch": 1, "loss": 1.0} | dict.fromkeys(ALL, 0.5)], tmp_path / "curves.png")
    note = figures[0].get_supxlabel()
    assert "smoothed labels, all heads" in note
    assert "training and validation are different measures" in note
    loss, accuracy = (axes.get_legend_handles_labels()[1] for axes in figures[0].axes)
    assert loss == ["training"]
    assert accuracy == [
        "training", "validation", "validation, top5", "validation, weights not averaged",
        "training, aux",
    ]  # fmt: skip


def test_missing_matplotlib_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingExtra, match=r'pip install "keras-inception\[train\]"'):
        Records(tmp_path)


def test_plain_fit_stops_at_a_loss_that_is_not_finite():
    model = small.norm_net()
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = small.Batches().arrays(0)
    images[40] = np.inf
    with pytest.raises(NonFiniteError, match="Step 3: NaN or infinity in the loss; the first such"):
        model.fit(
            images, labels, batch_size=16, shuffle=False, callbacks=[StopOnNonFinite()], verbose=0
        )


def test_model_is_saved_without_an_average_too(tmp_path):
    callbacks = small.recipe(average_decay=None).callbacks(tmp_path)
    kinds = [SharedStatistics, StopOnNonFinite, Records, SaveMainModel]
    assert [type(callback) for callback in callbacks] == kinds
    model = small.plain_net()
    callbacks[-1].set_model(model)
    callbacks[-1].on_epoch_end(0)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.output_shape == (None, 7)


def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match="run_dir .* is a file; give a folder"):
        small.recipe().callbacks(tmp_path / "run")


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = Records(None)
    records.set_model(small.norm_net())
    records.model.compile("sgd", "mse")
    records.on_epoch_begin(0)
    records.on_train_batch_end(0, {"loss": 1.0})
    records.on_epoch_end(0, {"loss": 1.0})
    records.on_train_end()
    assert records.rows[0]["loss"] == 1.0
    assert not any(tmp_path.iterdir())
