"""The report's figures, table and files."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from keras_inception.evaluation import Report
from keras_inception.preprocessing import Preprocessing


@pytest.fixture
def report():
    return Report(
        confusion=np.array([[3, 1, 0], [2, 2, 0], [0, 0, 0]]),
        in_top5=np.array([4, 3, 0]),
        excluded=2,
        exclusions_listed=5,
        crops=10,
        scales=(256 / 224,),
        models=("one", "two"),
        weights=(0.25, 0.75),
        preprocessing=(Preprocessing(size=(75, 75)), Preprocessing(size=(64, 64))),
        class_names=("cat", "dog", "emu"),
        seconds=4.0,
    )


def test_figures(report):
    assert report.images == 8
    assert report.top1_error == 3 / 8
    assert report.top5_error == 1 / 8
    assert report.images_per_second == 2.0
    assert report.protocol == "10 crops, shorter side 1.143 x the crop's"
    assert [result.accuracy for result in report.per_class()] == [0.75, 0.5, None]
    assert report.most_confused() == [("dog", "cat", 2), ("cat", "dog", 1)]
    assert report.most_confused(1) == [("dog", "cat", 2)]


def test_table(report):
    lines = str(report).splitlines()
    assert lines[0].split() == ["images", "8"]
    assert lines[1].split(maxsplit=1) == ["excluded", "2 of 5 listed"]
    assert lines[3].startswith("network      0.250 x one, Preprocessing(size=(75, 75)")
    assert "top-1 error  37.50%" in lines
    assert "top-5" not in str(report)  # of three classes it is 0
    assert "time         4.0 s, 2.0 images/s" in lines
    assert "confused     2 x dog taken for cat" in lines


def test_table_of_more_than_five_classes(report):
    more = dataclasses.replace(report, class_names=tuple("abcdef"))
    assert "top-5 error  12.50%" in str(more).splitlines()


def test_json_holds_everything_but_the_matrix(report, tmp_path):
    path = tmp_path / "new folder" / "report.json"
    report.to_json(path)
    content = json.loads(path.read_text())
    assert content["images"] == 8
    assert content["excluded"] == 2
    assert content["exclusions_listed"] == 5
    assert content["crops"] == 10
    assert content["scales"] == [256 / 224]
    assert content["protocol"] == report.protocol
    assert content["top1_error"] == 0.375
    assert content["top5_error"] == 0.125
    assert content["seconds"] == 4.0
    assert content["images_per_second"] == 2.0
    assert [model["name"] for model in content["models"]] == ["one", "two"]
    assert [model["weight"] for model in content["models"]] == [0.25, 0.75]
    restored = [Preprocessing(**model["preprocessing"]) for model in content["models"]]
    assert restored == list(report.preprocessing)
    assert content["per_class"][1] == {
        "label": 1, "name": "dog", "images": 4, "correct": 2, "in_top5": 3, "accuracy": 0.5,
    }  # fmt: skip
    assert content["most_confused"][0] == {"class": "dog", "taken_for": "cat", "images": 2}


def test_csv_has_a_row_for_each_class(report, tmp_path):
    path = tmp_path / "classes.csv"
    report.to_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["cat", "dog", "emu"]
    assert [row["accuracy"] for row in rows] == ["0.75", "0.5", ""]
    assert [row["images"] for row in rows] == ["4", "4", "0"]
    assert [row["correct"] for row in rows] == ["3", "2", "0"]
    assert [row["in_top5"] for row in rows] == ["4", "3", "0"]


def test_picture_shows_the_shares(report, tmp_path):
    path = tmp_path / "confusion.png"
    report.confusion_picture(path)
    with Image.open(path) as picture:
        colours = set(map(tuple, np.asarray(picture.convert("RGB")).reshape(-1, 3)))
    viridis = {0.0: (68, 1, 84), 1.0: (253, 231, 37)}
    assert set(viridis.values()) <= colours  # no share, and the colour bar's end
    assert len(colours) > 20


def test_a_failed_write_leaves_the_old_file(report, tmp_path, monkeypatch):
    for name, write in (
        ("report.json", report.to_json),
        ("classes.csv", report.to_csv),
        ("confusion.png", report.confusion_picture),
    ):
        path = tmp_path / name
        write(path)
        old = path.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", fail)
            with pytest.raises(OSError, match="disk full"):
                write(path)
        assert path.read_bytes() == old
        assert [file.name for file in tmp_path.iterdir()] == [name]
        path.unlink()


def fail(*_):
    raise OSError("disk full")
