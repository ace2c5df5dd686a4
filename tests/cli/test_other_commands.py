"""`list`, `describe`, `evaluate`, `predict`, `plot` and `weights`."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import keras_inception as ki
from keras_inception import __version__, jobs
from tests.cli.conftest import write_images
from tests.weights.golden_files import golden


def test_version(run_cli):
    assert run_cli("--version")[1].strip() == __version__


def test_list(run_cli):
    code, output, _ = run_cli("list")
    assert code == 0
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert lines["InceptionV4"][1:] == ["paper", "42.7", "M", "12.25", "G", "299", "75", "4"]
    assert lines["GoogLeNet"][2:6] == ["7.0", "M", "1.58", "G"]


def test_describe(run_cli):
    code, output, _ = run_cli("describe", "GoogLeNet")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.strip()}
    assert rows["inception_3a"] == ["28x28x256", "163,696", "128,049,152"]
    assert rows["total"] == ["6,998,552", "1,582,671,872"]


def test_describe_suggests_near_names(run_cli):
    code, _, error = run_cli("describe", "GoogleNet")
    assert code == 2
    assert "Did you mean GoogLeNet" in error


def test_evaluate_counts_every_image(run_cli, run_folder, images, tmp_path):
    code, output, _ = run_cli(
        "evaluate", "--model", run_folder, "--data", images, "--out", tmp_path / "report"
    )
    assert code == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    config = json.loads((run_folder / "config.json").read_text())
    assert report["images"] == config["images"]["test"] > 0
    assert (tmp_path / "report" / "confusion.png").stat().st_size > 1000
    assert "single crop" in output


def test_networks_of_other_splits_are_refused(run_cli, run_folder, images, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run_folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"seed": 4}))
    arguments = ["evaluate", "--model", run_folder, "--model", other, "--data", images]
    code, _, error = run_cli(*arguments)
    assert code == 2
    assert "splits of other seeds: [3, 4]" in error


def test_predict_reports_broken_files_and_does_the_rest(run_cli, run_folder, tmp_path):
    folder = write_images(tmp_path / "images", count=2)
    (folder / "dark" / "zz_broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    code, output, error = run_cli("predict", folder, "--model", run_folder, "--top", 2)
    answers = [json.loads(line) for line in output.splitlines()]
    assert code == 2
    assert "1 of 5 files could not be read" in error
    assert [answer["path"].rpartition("/")[2] for answer in answers] == [
        "00.png", "01.png", "zz_broken.jpg", "00.png", "01.png",
    ]  # fmt: skip
    assert "error" in answers[2]
    for answer in answers[:2] + answers[3:]:
        assert {c["name"] for c in answer["classes"]} == {"dark", "light"}
        assert abs(sum(c["probability"] for c in answer["classes"]) - 1) < 1e-5


def test_predict_writes_csv(run_cli, run_folder, images):
    code, output, _ = run_cli(
        "predict", images / "dark" / "00.png", "--model", run_folder, "--format", "csv"
    )
    rows = list(csv.DictReader(io.StringIO(output)))
    assert code == 0
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])


def test_predict_reports_a_missing_file_like_a_broken_one(run_cli, run_folder, images, tmp_path):
    missing = tmp_path / "none.png"
    code, output, error = run_cli(
        "predict", missing, images / "dark" / "00.png", "--model", run_folder
    )
    answers = [json.loads(line) for line in output.splitlines()]
    assert (code, "1 of 2 files could not be read" in error) == (2, True)
    assert answers[0] == {"path": str(missing), "error": f"There is no file or folder {missing}."}
    assert len(answers[1]["classes"]) == 2


def test_predict_in_each_runtime(run_cli, run_folder, images):
    """They agree, and say what they are."""
    pictures = [images / kind / "00.png" for kind in ("dark", "light")]
    said = {}
    for runtime in ("tensorflow", "openvino"):
        code, output, error = run_cli(
            "predict", *pictures, "--model", run_folder, "--runtime", runtime, "--dtype", "float32"
        )
        assert code == 0
        assert f"in {runtime}, float32 (as asked), batches of 2" in error
        said[runtime] = [
            {c["name"]: c["probability"] for c in json.loads(line)["classes"]}
            for line in output.splitlines()
        ]
    for one, other in zip(*said.values(), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_predict_of_crops_and_an_ensemble(run_cli, run_folder, images):
    picture = images / "light" / "00.png"
    arguments = [
        "predict", picture, "--model", run_folder, "--runtime", "tensorflow", "--dtype", "float32",
    ]  # fmt: skip
    code, output, _ = run_cli(*arguments, "--crops", 12, "--model", run_folder)
    trained = jobs.load_trained(run_folder)
    pixels = np.asarray(Image.open(picture))
    truth = ki.evaluation.predict(trained.model, [pixels], 12, preprocessing=trained.preprocessing)[
        0
    ]
    assert code == 0
    for answer in json.loads(output)["classes"]:
        index = trained.class_names.index(answer["name"])
        assert answer["probability"] == pytest.approx(truth[index], abs=1e-5)
    code, _, error = run_cli(*arguments, "--crops", 11)
    assert (code, "No protocol has 11 crops; the papers have 1, 10, 12, 144" in error) == (2, True)
    code, _, error = run_cli(*arguments, "--runtime", "openvina")
    assert (code, "Did you mean openvino" in error) == (2, True)


def test_predict_refuses_what_is_not_there(run_cli, run_folder, images, tmp_path):
    code, _, error = run_cli("predict", tmp_path, "--model", run_folder)
    assert (code, "holds no image" in error) == (2, True)
    code, _, error = run_cli("predict", images, "--model", tmp_path)
    assert (code, "is no run folder: it holds no model.keras" in error) == (2, True)
    code, _, error = run_cli("predict", images, "--model", "timm.inception_v4")
    assert (code, "Did you mean timm.inception_v4.tf_in1k" in error) == (2, True)


def test_plot(run_cli, run_folder, tmp_path):
    code, _, _ = run_cli(
        "plot", run_folder, run_folder / "history.csv", "--out", tmp_path / "a.png"
    )
    assert code == 0
    assert (tmp_path / "a.png").stat().st_size > 5000
    code, _, error = run_cli("plot", run_folder, "--value", "val_acuracy")
    assert (code, "Did you mean val_accuracy" in error) == (2, True)


def test_weights_list(run_cli):
    code, output, _ = run_cli("weights", "list", "InceptionV4")
    assert code == 0
    starred = [line.split()[1] for line in output.splitlines() if line.split()[:1] == ["*"]]
    assert starred == ["timm.inception_v4.tf_in1k"]
    assert "GoogLeNet" not in output and str(ki.list_weights("InceptionV4")) in output
    assert (
        run_cli("weights", "list", "InceptionV1")[1] == run_cli("weights", "list", "GoogLeNet")[1]
    )
    code, output, _ = run_cli("weights", "info", "timm.inception_v4.tf_in1k")
    assert (code, json.loads(output)["model"]) == (0, "InceptionV4")


def test_weights_of_unknown_id(run_cli, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path))
    code, _, error = run_cli("weights", "download", "keras.inception_v4")
    assert (code, "Did you mean" in error) == (2, True)
    code, output, _ = run_cli("weights", "verify")
    assert (code, "The cache is empty" in output) == (0, True)
    code, _, error = run_cli("weights", "verify", "keras.inception_v3")
    assert (code, "is in the cache" in error) == (2, True)


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that writes the checkpoint of a golden file."""

    def write(file):
        case, path = golden(file), tmp_path / f"{file}.safetensors"
        save_file(case.tensors(), path)
        return case, path

    return write


@pytest.mark.slow
@pytest.mark.parametrize("file", ["torchvision_inception_v3", "torchvision_googlenet"])
@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_converted_checkpoints_compute_what_the_original_did(
    run_cli, checkpoint, tmp_path, file, ending
):
    """Without a word of the architecture, neither to the command nor to the builder."""
    case, source = checkpoint(file)
    target, logits = tmp_path / f"converted{ending}", np.asarray(case.content["logits"])
    code, output, _ = run_cli(
        "weights", "convert", source, target, "--model", case.model, "--publisher", "torchvision"
    )
    assert code == 0
    assert f"{target} written: {case.model} (torchvision)." in output
    assert ("dropped aux1." in output) == (case.model == "GoogLeNet")
    model = ki.build(case.model, weights=target, classes=len(logits), classifier_activation=None)
    answer = np.ravel(model(case.image()))
    assert np.abs(answer - logits).max() <= 1e-3 * logits.std()


@pytest.mark.parametrize(
    "model, publisher, more, words",
    [
        ("InceptionResNetV2", "keras", ["--architecture", "paper"],
         "publisher 'keras' for InceptionResNetV2 need --architecture slim, not 'paper'."),
        ("InceptionV3", "caffe", [],
         "Which architecture of InceptionV3 checkpoints of publisher 'caffe' need is not known; "
         "give --architecture with one of paper, torchvision, fid."),
        ("InceptionV3", "kears", [], "Unknown publisher: 'kears'. Did you mean keras"),
        ("InceptionV33", "keras", [], "Unknown model: 'InceptionV33'. Did you mean InceptionV3"),
    ],
)  # fmt: skip
def test_weights_convert_names_the_architecture(run_cli, tmp_path, model, publisher, more, words):
    arguments = [tmp_path / "in.h5", tmp_path / "out.weights.h5", "--model", model]
    code, _, error = run_cli("weights", "convert", *arguments, "--publisher", publisher, *more)
    assert (code, words in error) == (2, True), error


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_weights_verify_tells_damaged_files(run_cli, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path))
    entry = ki.weights.info("timm.inception_v4.tf_in1k")
    (tmp_path / entry.file_name).write_bytes(b"cut off")
    code, output, error = run_cli("weights", "verify")
    assert code == 2
    assert output.startswith("damaged") and entry.file_name in output
    assert "There are damaged files; remove them and download them again." in error
    (tmp_path / entry.file_name).unlink()
    assert run_cli("weights", "verify")[0] == 0


def test_weights_convert_refuses_foreign_files(run_cli, tmp_path):
    source = tmp_path / "weights.h5"
    source.write_text("<html>not found</html>")
    code, _, error = run_cli(
        "weights", "convert", source, tmp_path / "out.weights.h5", "--model", "InceptionV3",
        "--publisher", "keras",
    )  # fmt: skip
    assert code == 2
    assert "seems to be a web page" in error
    assert not (tmp_path / "out.weights.h5").exists()
