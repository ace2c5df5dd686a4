"""`keras-inception train`: what a run leaves, and what it refuses."""

import csv
import json
import os
import resource
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_inception as ki
from keras_inception import data
from keras_inception.preprocessing import Preprocessing
from tests.cli.conftest import write_images

LEFT_BEHIND = {
    "model.keras", "saved_model", "history.csv", "curves.png", "config.json", "predictions.png",
    "report.json", "classes.csv",
}  # fmt: skip


def test_run_folder_holds_everything(run_folder, images):
    assert {path.name for path in run_folder.iterdir()} >= LEFT_BEHIND
    assert not run_folder.with_name("run.unfinished").exists()
    config = json.loads((run_folder / "config.json").read_text())
    assert config["class_names"] == ["dark", "light"]
    assert config["seed"] == 3
    assert config["recipe"]["learning_rate"] == 0.05
    assert config["recipe"]["augmentation"] == "none"
    rows = list(csv.DictReader((run_folder / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for picture in ("curves.png", "predictions.png"):
        with Image.open(run_folder / picture) as image:
            assert min(image.size) > 150
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_saved_model_gives_the_same_without_this_package(run_folder, tmp_path):
    model = keras.saving.load_model(run_folder / "model.keras")
    x = np.random.default_rng(0).uniform(-1, 1, (5, 32, 32, 3)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"model = tf.saved_model.load({str(run_folder / 'saved_model')!r})\n"
        "y = model.serve(tf.constant(np.load('x.npy')))\n"
        "np.save('y.npy', y.numpy())\n"
        "assert 'keras_inception' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x), atol=1e-5)


def test_finished_run_is_refused_and_kept(run_cli, run_folder, images):
    before = (run_folder / "config.json").read_bytes()
    code, _, error = run_cli("train", "--data", images, "--out", run_folder)
    assert code == 2
    assert error.count("\n") == 1
    assert f"{run_folder} holds a finished run. Name another folder, or replace it" in error
    assert "replace it with --overwrite;" in error
    assert (run_folder / "config.json").read_bytes() == before


def test_failed_overwrite_leaves_the_old_run(run_cli, run_folder, images):
    before = sorted(path.name for path in run_folder.iterdir())
    code, _, error = run_cli(
        "train", "--data", images, "--out", run_folder, "--overwrite", "--image-size", 60,
        "--batch-size", 4,
    )  # fmt: skip
    assert code == 2
    assert "InceptionResNetV1 (paper) cannot work on 60x60 images" in error
    assert "75x75" in error
    assert sorted(path.name for path in run_folder.iterdir()) == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "InceptionV5"], "Unknown model: 'InceptionV5'. Did you mean InceptionV"),
        (["--data", "digitz"], "Did you mean digits"),
        (["--recipe", "inceptionv3"], "Unknown recipe: 'inceptionv3'. Did you mean inception_v3"),
        (["--strategy", "mirrord"], "Did you mean mirrored"),
        (["--learning-rate", "-1"], "learning_rate must be a number above 0, not -1.0"),
        (["--width", "0"], "width is 0.0; expected a positive number"),
        (["--batch-size", "100000"], "--batch-size 100000 must lie between 1 and"),
        (["--aux-heads"], "has no auxiliary heads; build it with --no-aux-heads."),
        (["--weights", "imagenet"], "'osmr.inceptionresnetv1' have --width 1.0, not 0.25."),
        (["--weights", "some.weights.h5"], "There is no file some.weights.h5"),
        (["--image-size", "60"], "InceptionResNetV1 (paper) cannot work on 60x60 images"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run_cli, tmp_path, arguments, message):
    code, output, error = run_cli("train", "--out", tmp_path / "run", *arguments)
    assert code == 2
    assert output == ""  # it is noticed before the plan
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_unusable_folders(run_cli, tmp_path):
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "single", classes=["only"])
    for folder, message in (("empty", "empty"), ("single", "only")):
        code, _, error = run_cli("train", "--data", tmp_path / folder, "--out", tmp_path / "run")
        assert code == 2
        assert message in error


def test_what_cannot_be_replaced_is_no_run_folder(run_cli, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: os.path.basename(path) == "disk")
    for out in (".", "..", tmp_path, "disk"):
        code, _, error = run_cli("train", "--data", images, "--out", out)
        assert code == 2
        assert f"{out} cannot be replaced by the finished run: a disk is mounted there" in error
    assert not list(tmp_path.iterdir())


def test_a_link_to_a_folder_leads_to_the_run(run_cli, run_folder, images, tmp_path):
    (tmp_path / "link").symlink_to(run_folder)
    code, _, error = run_cli("train", "--data", images, "--out", tmp_path / "link")
    assert code == 2
    assert f"{run_folder} holds a finished run. Name another folder" in error


@pytest.mark.slow
def test_broken_image_is_named_or_skipped_and_counted(run_cli, tmp_path):
    folder = write_images(tmp_path / "images")
    (folder / "dark" / "broken.png").write_bytes(b"no image")
    arguments = [
        "train", "--model", "GoogLeNet", "--data", folder, "--image-size", 32, "--width", 0.05,
        "--epochs", 1, "--batch-size", 8, "--out", tmp_path / "run",
    ]  # fmt: skip
    code, _, error = run_cli(*arguments)
    assert code == 2
    assert "broken.png" in error
    code, output, _ = run_cli(*arguments, "--skip-broken")
    assert code == 0
    assert "unreadable images left out: 1" in output
    assert "auxiliary heads 0.4 each" not in output
    plan, evaluating, exporting, result = map(
        output.index, ("learning rate by epoch", "evaluating", "exporting", "test accuracy")
    )
    assert plan < evaluating < exporting < result
    assert "broken.png" in output


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_unwritable_folder(run_cli, tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    code, _, error = run_cli("train", "--out", file / "run")
    assert code == 2
    assert error.count("\n") == 1
    code, _, error = run_cli("train", "--out", file)
    assert code == 2
    assert "is a file; name a folder" in error


@pytest.mark.slow
def test_full_disk(images, run_folder, tmp_path):
    """No file may grow beyond 200 kB, as on a full disk: the old run stays, the error is a line."""
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    limit = 200_000
    done = subprocess.run(
        [
            sys.executable, "-m", "keras_inception_command", "train", "--model", "GoogLeNet",
            "--data", images, "--image-size", "32", "--width", "0.1", "--batch-size", "4",
            "--epochs", "1", "--out", out, "--overwrite",
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("keras-inception: ")
    assert "Traceback" not in done.stderr
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before


@pytest.mark.slow
def test_the_main_job_reaches_97_percent(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, _ = run_cli("train")
    assert code == 0
    accuracy = float(output.partition("test accuracy: ")[2].split()[0])
    assert accuracy >= 0.97
    folder = tmp_path / "runs" / "InceptionResNetV1-digits"
    assert {path.name for path in folder.iterdir()} >= LEFT_BEHIND
    model = keras.saving.load_model(folder / "model.keras")
    split = data.load("digits").test
    prepare = Preprocessing(size=(75, 75), crop_fraction=1.0)
    right = 0
    for images, labels in data.evaluation_batches(split, preprocessing=prepare, batch_size=64):
        right += int(np.sum(np.argmax(model(images), axis=1) == labels.numpy()))
    assert right / len(split) == pytest.approx(accuracy, abs=1e-3)
    assert ki.endpoints(model)["block8_5"]
