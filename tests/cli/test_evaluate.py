"""`keras-inception evaluate`: parts, crops, exclusion, TFRecords, and whose classes they are."""

import json
import shutil

import numpy as np
import pytest

from keras_inception import data
from tests.cli.conftest import write_images
from tests.data import test_records


def names(split):
    return [example["name"].decode() for example in split.examples().as_numpy_iterator()]


def test_parts_crops_and_excluded_images(run_cli, run_folder, images, tmp_path):
    train = names(data.load(images, seed=3).train)
    listed = tmp_path / "poor.txt"
    listed.write_text("\n".join(train[:2]))
    code, output, _ = run_cli(
        "evaluate", "--model", run_folder, "--data", images, "--part", "train", "--crops", 10,
        "--exclude", listed, "--out", tmp_path / "report",
    )  # fmt: skip
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert code == 0
    assert "10 crops" in output and ", train images" in output
    assert (report["images"], report["crops"]) == (len(train) - 2, 10)


def test_unknown_parts_and_crops_are_refused(run_cli, run_folder, images):
    arguments = ["evaluate", "--model", run_folder, "--data", images]
    code, _, error = run_cli(*arguments, "--part", "tset")
    assert (code, "Unknown part: 'tset'. Did you mean test" in error) == (2, True)
    code, _, error = run_cli(*arguments, "--crops", 11)
    assert (code, "No protocol has 11 crops" in error) == (2, True)


@pytest.mark.parametrize(
    "classes, difference",
    [
        (["bright", "dim"], "class 0 is 'dark' there and 'bright' here"),
        (["dark", "light", "new"], "class 2 is none there and 'new' here"),
    ],
)
def test_images_of_other_classes_are_refused(run_cli, run_folder, tmp_path, classes, difference):
    others = write_images(tmp_path / "others", classes)
    code, _, error = run_cli("evaluate", "--model", run_folder, "--data", others)
    assert code == 2
    assert f"{run_folder / 'model.keras'} was trained on other classes than those of" in error
    assert difference in error


def test_test_images_stay_those_that_the_training_left_out(run_cli, run_folder, images, tmp_path):
    changed = shutil.copytree(images, tmp_path / images.name)
    for number in range(4):
        (changed / "dark" / f"{number:02}.png").unlink()
    evaluate = ["evaluate", "--model", run_folder, "--data", changed]
    code, _, error = run_cli(*evaluate)
    assert code == 2
    assert f"The test images of {images.name} are others than when {run_folder}" in error
    for seed in (3, 4):
        assert run_cli(*evaluate, "--seed", seed)[0] == 2
    assert run_cli(*evaluate, "--unseen")[0] == 0
    whole = ["evaluate", "--model", run_folder, "--data", images]
    assert run_cli(*whole, "--seed", 4)[0] == 2
    other = changed.rename(tmp_path / "another")
    assert run_cli("evaluate", "--model", run_folder, "--data", other)[0] == 0


@pytest.mark.slow
def test_labels_of_records_may_count_from_1(run_cli, tmp_path):
    """As in ImageNet's files: trained with auxiliary heads on one of two devices, then measured."""
    labels = [1 + i % 3 for i in range(18)]
    records = test_records.fill(tmp_path / "records", {"train": labels, "validation": labels[:6]})
    read = ["--data", records, "--label-offset", 1, "--no-check"]
    train = [
        "train", *read, "--model", "GoogLeNet", "--recipe", "googlenet", "--image-size", 65,
        "--width", 0.05, "--batch-size", 6, "--epochs", 1, "--average-decay", "none",
        "--checkpoint-steps", 2, "--strategy", "mirrored", "--devices", "CPU:0",
        "--batch-statistics", "synchronized", "--out", tmp_path / "run",
    ]  # fmt: skip
    code, output, error = run_cli(*train)
    assert code == 0, error
    assert "running average: none" in output
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["average_decay"] is None
    assert (config["aux_heads"], config["label_offset"], config["check"]) == (True, 1, False)
    assert len(config["class_names"]) == 3
    code, _, error = run_cli("evaluate", "--model", tmp_path / "run", *read, "--out", tmp_path)
    assert code == 0, error
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["images"] == 6
    assert np.isclose(report["top1_error"], 1 - config["test_accuracy"], atol=0.2)
