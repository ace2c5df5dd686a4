"""`keras-inception export`."""

import keras
import pytest
import typer
from typer.testing import CliRunner

from keras_inception.cli.export import export
from keras_inception.errors import InputError
from keras_inception.inference.export import read_metadata
from tests.inference.exports import tiny

app = typer.Typer()
app.command()(export)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    model = tiny(size=(16, 16))
    model.save(path)
    return path


def run(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_export(saved, tmp_path):
    out = tmp_path / "tiny.tflite"
    said = run("--model", saved, "--out", out, "--format", "litert", "--raw-images")
    assert f"{out} written" in said.replace("\n", "")
    assert "(bound 0.0001)" in said
    facts = read_metadata(out)
    assert facts["preprocessing_inside"] == "values"
    assert facts["class_names"] == [str(number) for number in range(10)]


def test_int8_is_calibrated_on_training_images(saved, tmp_path):
    out = tmp_path / "tiny.tflite"
    arguments = ("--model", saved, "--out", out, "--format", "litert", "--precision", "int8")
    run(*arguments, "--calibration", "digits", "--batch-size", 2, "--no-fold")
    facts = read_metadata(out)
    assert facts["precision"] == "int8"
    assert facts["input"]["shape"] == [2, 16, 16, 3]
    assert not facts["folded"]
    with pytest.raises(InputError, match="exists already"):
        run("--model", saved, "--out", out, "--format", "litert")
    run("--model", saved, "--out", out, "--format", "litert", "--overwrite")
    assert read_metadata(out)["precision"] == "float32"


def test_tolerance(saved, tmp_path):
    with pytest.raises(InputError, match="the bound is 1e-30"):
        run("--model", saved, "--out", tmp_path / "out", "--tolerance", "1e-30")
    assert keras.saving.load_model(saved).name == "tiny"
