"""The examples run offline, and say whether they use random weights or those of a file."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_inception as ki

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments, folder):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_example_is_tested():
    tested = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(path.name in tested for path in EXAMPLES.glob("*.py"))


def test_classify_image(tmp_path):
    Image.fromarray(np.zeros((50, 60, 3), "uint8")).save(tmp_path / "picture.png")
    output = run("classify_image.py", "picture.png", "--weights", "none", folder=tmp_path)
    assert "random weights" in output
    lines = [line for line in output.splitlines() if "%" in line]
    assert len(lines) == 5


def pictures(folder, count):
    """Write pictures of noise and return their paths."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (count, 50, 60, 3), "uint8")
    paths = [folder / f"{number}.png" for number in range(count)]
    for path, pixels in zip(paths, noise, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_classify_image_with_a_file(tmp_path):
    (picture,) = pictures(tmp_path, 1)
    ki.GoogLeNet(weights=None).save_weights(tmp_path / "mine.weights.h5")
    arguments = ["--weights", "mine.weights.h5", "--model", "GoogLeNet"]
    output = run("classify_image.py", picture, *arguments, folder=tmp_path)
    assert "weights of the file mine.weights.h5" in output and "random" not in output
    assert sum("%" in line for line in output.splitlines()) == 5


@pytest.mark.slow
def test_face_embeddings_with_a_file(tmp_path):
    facenet = {"architecture": "facenet", "include_top": False, "pooling": "bottleneck"}
    ki.InceptionResNetV1(weights=None, **facenet).save(tmp_path / "mine.keras")
    faces = pictures(tmp_path, 2)
    output = run("face_embeddings.py", *faces, "--weights", "mine.keras", folder=tmp_path)
    assert "weights of the file mine.keras" in output and "random" not in output
    assert 0 <= float(output.partition("distance ")[2].split(":")[0]) <= 2


@pytest.mark.slow
def test_fid_features_with_a_file(tmp_path):
    fid = {"architecture": "fid", "include_top": False}
    ki.InceptionV3(weights=None, **fid).save_weights(tmp_path / "mine.weights.h5")
    folders = [pictures(tmp_path / name, count)[0].parent for name, count in (("a", 2), ("b", 3))]
    output = run("fid_features.py", *folders, "--weights", "mine.weights.h5", folder=tmp_path)
    assert "weights of the file mine.weights.h5" in output and "random" not in output
    assert float(output.split()[-1]) > 0


@pytest.mark.slow
def test_face_embeddings(tmp_path):
    output = run("face_embeddings.py", folder=tmp_path)
    assert "random weights" in output
    assert 0 <= float(output.partition("distance ")[2].split(":")[0].split()[-1]) <= 2


@pytest.mark.slow
def test_fid_features(tmp_path):
    output = run("fid_features.py", folder=tmp_path)
    assert "random weights" in output
    assert float(output.split()[-1]) > 0


@pytest.mark.slow
def test_transfer_learning(tmp_path):
    output = run("transfer_learning.py", "--epochs", 1, folder=tmp_path)
    assert "random weights" in output
    assert "frozen up to mixed_7c; 2 variables are left" in output
    assert "frozen up to mixed_6e" in output
    assert 0 <= float(output.partition("test accuracy: ")[2].split()[0]) <= 1
    assert keras.saving.load_model(tmp_path / "model.keras").output_shape == (None, 10)
