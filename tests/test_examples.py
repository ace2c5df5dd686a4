"""The examples run offline, and say that they use random weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
