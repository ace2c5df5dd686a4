"""A trained run, made once, and folders of images."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_inception import cli


def write_images(folder: Path, classes=("dark", "light"), count=12, size=32) -> Path:
    """Write PNG files of two kinds that any network tells apart, in class folders."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 100, (size, size, 3)) + 150 * label
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Return a function that runs the command line and gives exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras-inception", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "brightness")


@pytest.fixture(scope="session")
def run_folder(images, tmp_path_factory):
    """The folder of a finished run: a small GoogLeNet on dark and light images."""
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = [
        "train", "--model", "GoogLeNet", "--data", images, "--image-size", 32, "--width", 0.1,
        "--batch-size", 4, "--epochs", 2, "--learning-rate", 0.05, "--augmentation", "none",
        "--average-decay", 0.5, "--seed", 3, "--out", out,
    ]  # fmt: skip
    before, sys.argv = sys.argv, ["keras-inception", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = before
    assert not end.value.code
    return out
