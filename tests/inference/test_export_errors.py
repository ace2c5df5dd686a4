"""What cannot be exported is refused with the reason, and nothing half-written is left."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError, MissingExtra
from keras_inception.inference.export import FORMATS, ExportError, export, job, read_metadata
from keras_inception.inference.export.network import Network
from tests.inference.exports import PATHS, PREPROCESSING, pixels, tiny

every_format = pytest.mark.parametrize("form", FORMATS)
file_and_folder = pytest.mark.parametrize("form", ["litert", "tf_saved_model"])


@pytest.fixture(scope="module")
def model():
    return tiny()


def test_unknown_format(model, tmp_path):
    with pytest.raises(InputError, match=r"Unknown format: 'onxx'\. Did you mean onnx\?"):
        export(model, tmp_path / "out", format="onxx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("form", "precision", "said"),
    [
        (
            "tf_saved_model",
            "int8",
            "no int8, but float32, bfloat16. int8 is had by litert, onnx, o",
        ),
        ("tf_saved_model", "float16", "has no float16, but float32, bfloat16"),
        ("onnx", "bfloat16", "no bfloat16, but float32, float16, int8.* had by tf_saved_model"),
        ("litert", "bfloat16", "litert has no bfloat16"),
        ("openvino", "float8", "Unknown precision: 'float8'"),
    ],
)
def test_precisions_that_a_format_lacks(model, form, precision, said, tmp_path):
    with pytest.raises(InputError, match=said):
        export(model, tmp_path / PATHS[form], format=form, precision=precision)


@pytest.mark.parametrize(
    ("form", "packages", "extra"),
    [
        ("onnx", ("onnx", "tf2onnx", "onnxruntime"), "onnx"),
        ("openvino", ("openvino",), "openvino"),
    ],
)
def test_missing_extra(model, form, packages, extra, tmp_path, monkeypatch):
    for package in packages:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
                patch.delitem(sys.modules, module)
            said = rf'needs the package {package}, .*pip install "keras-inception\[{extra}\]"'
            with pytest.raises(MissingExtra, match=said):
                export(model, tmp_path / PATHS[form], format=form)
    assert not list(tmp_path.iterdir())


@every_format
def test_a_path_that_does_not_fit(model, form, tmp_path):
    path = tmp_path / ("model.onnx" if form != "onnx" else "model.tflite")
    with pytest.raises(InputError, match=f"{form} is a f.*, but path is .*model"):
        export(model, path, format=form)


@every_format
def test_an_existing_path_is_refused(model, form, tmp_path):
    path = tmp_path / PATHS[form]
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already and was left as it is; overwrite=True"):
        export(model, path, format=form)
    assert path.read_text() == "mine"


@every_format
def test_a_link_to_nothing_is_refused(model, form, tmp_path):
    path = tmp_path / PATHS[form]
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="is a link to .*gone, where nothing is"):
        export(model, path, format=form, overwrite=True)
    assert path.is_symlink() and not path.exists()


def test_foreign_folders_are_never_overwritten(model, tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    (path / "cat.jpg").write_text("miau")
    for form in ("tf_saved_model", "openvino"):
        with pytest.raises(InputError, match=f"is no {form} export, so that it is not overwritt"):
            export(model, path, format=form, overwrite=True)
    assert (path / "cat.jpg").read_text() == "miau"


@pytest.mark.parametrize(
    ("form", "foreign"),
    [("openvino", "cat.jpg"), ("tf_saved_model", "assets.extra/tf_serving_warmup_requests")],
)
def test_what_stands_beside_an_export_is_never_deleted(form, foreign, tmp_path):
    path = tmp_path / "served"
    export(tiny(), path, format=form)
    (path / foreign).write_text("mine")
    with pytest.raises(InputError, match=f"overwriting it would delete {foreign}. Move that away"):
        export(tiny(), path, format=form, overwrite=True)
    assert (path / foreign).read_text() == "mine"


@file_and_folder
def test_overwriting(form, tmp_path):
    path = tmp_path / PATHS[form]
    export(tiny(classes=3), path, format=form)
    done = export(tiny(classes=4), path, format=form, overwrite=True)
    assert read_metadata(path)["output"]["shape"] == [None, 4]
    assert done.metadata["output"]["shape"] == [None, 4]
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@every_format
def test_a_difference_over_the_bound_fails(form, tmp_path):
    path = tmp_path / PATHS[form]
    said = r"differs from the model by [\d.e-]+ of the largest output in \w+; the bound is 1e-30"
    with pytest.raises(ExportError, match=said):
        export(tiny(), path, format=form, tolerance=1e-30)
    assert not list(tmp_path.iterdir())


def test_folders_that_a_failed_export_made_are_gone(model, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExportError):
        export(model, tmp_path / "mine" / "new" / "deep" / "a.tflite", format="litert", tolerance=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    export(model, tmp_path / "mine" / "new" / "deep" / "a.tflite", format="litert")
    assert (tmp_path / "mine" / "new" / "deep" / "a.tflite").is_file()


def test_a_wrong_file_fails(model, tmp_path, monkeypatch):
    """The check finds a network whose weights went wrong on the way."""
    write = FORMATS["litert"].write

    def miswrite(network, *arguments):
        kernel = network.model.get_layer("predictions").kernel
        kernel.assign(kernel * 1.01)
        write(network, *arguments)

    wrong = dataclasses.replace(FORMATS["litert"], write=miswrite)
    monkeypatch.setitem(FORMATS, "litert", wrong)
    with pytest.raises(ExportError, match=r"the bound is 0\.0001\. Nothing was written"):
        export(model, tmp_path / "model.tflite", format="litert")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", ["feature_function", "encoded_function"])
def test_a_wrong_signature_fails(model, function, tmp_path, monkeypatch):
    """The check runs every signature of a SavedModel, not the default alone."""
    import tensorflow as tf

    right = getattr(Network, function)

    def wrong(network):
        inner = right(network)
        return tf.function(
            lambda given: {name: 1.01 * value for name, value in inner(given).items()},
            inner.input_signature,
        )

    monkeypatch.setattr(Network, function, wrong)
    name = {"feature_function": "features", "encoded_function": "encoded"}[function]
    said = f"differs from the model by 0.0.* in TensorFlow, signature '{name}'; the bound is 0.0001"
    with pytest.raises(ExportError, match=said):
        export(model, tmp_path / "out", preprocessing=PREPROCESSING)
    assert not list(tmp_path.iterdir())


def test_int8_that_takes_images_for_others_fails(tmp_path, monkeypatch):
    """Outputs can be near the model's on the mean while other classes come first."""
    images = np.random.default_rng(0).uniform(-1, 1, (64, 32, 32, 3)).astype("float32")
    undecided = tiny()  # its ten classes are about equally likely
    head = undecided.get_layer("predictions")
    head.kernel.assign(head.kernel * 1e-3)
    head.bias.assign(head.bias * 0)
    request = {"format": "litert", "precision": "int8", "calibration": images}
    said = r"gives \d+% of 64 calibration images the first class .* in litert; expected 90%"
    with pytest.raises(ExportError, match=said):
        export(undecided, tmp_path / "a.tflite", **request)
    assert not list(tmp_path.iterdir())
    export(undecided, tmp_path / "a.tflite", tolerance=0.25, **request)


def test_outputs_that_are_no_numbers_fail(tmp_path):
    model = tiny(activation=None)
    model.get_layer("predictions").bias.assign(np.full(10, np.nan))
    with pytest.raises(ExportError, match="differs from the model by nan"):
        export(model, tmp_path / "model.tflite", format="litert")


@file_and_folder
def test_failing_half_way_leaves_the_old_file(model, form, tmp_path, monkeypatch):
    path = tmp_path / PATHS[form]
    old = export(tiny(classes=3), path, format=form)

    def broken(network, written, *_):
        if FORMATS[form].ending:
            written.write_bytes(b"half")
        else:
            written.mkdir()
            (written / "half").write_bytes(b"half")
        raise RuntimeError("the converter\ngave up")

    monkeypatch.setitem(FORMATS, form, dataclasses.replace(FORMATS[form], write=broken))
    said = f"tiny could not be exported as {form}: the converter gave up. Nothing was written"
    with pytest.raises(ExportError, match=said):
        export(model, path, format=form, overwrite=True)
    assert read_metadata(path) == old.metadata
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    with pytest.raises(ExportError, match=said):
        export(model, tmp_path / "new" / path.name, format=form)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path):
    """Files that the system lets grow to 10 kB only; every format fails while it writes."""
    code = """
        import resource, signal, sys
        from pathlib import Path
        from keras_inception.inference.export import export
        from keras_inception.errors import InputError
        from tests.inference.exports import PATHS, tiny

        folder = Path(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        model = tiny()
        for form, name in PATHS.items():
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
            try:
                export(model, folder / form / name, format=form)
            except (InputError, OSError) as error:
                said = f"failed: {type(error).__name__} {error}"
            else:
                said = "written"
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            print("RESULT", form, said.replace(chr(10), " "))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert len(results) == len(PATHS)
    assert all("failed" in line for line in results), results
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said(model, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "litert", dataclasses.replace(FORMATS["litert"], write=full))
    with pytest.raises(OSError, match="No space left on device"):
        export(model, tmp_path / "model.tflite", format="litert")
    assert not list(tmp_path.iterdir())


def test_free_size_where_the_format_has_none(tmp_path):
    model = tiny(size=(None, None))
    with pytest.raises(InputError, match="tiny takes images of any size, which litert cannot; bui"):
        export(model, tmp_path / "model.tflite", format="litert")
    done = export(model, tmp_path / "model.tflite", format="litert", preprocessing=PREPROCESSING)
    assert done.metadata["input"]["shape"] == [None, 32, 32, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"precision": "int8"},
            "precision='int8' needs calibration= to be given: some hundred images",
        ),
        ({"calibration": np.zeros((1, 32, 32, 3))}, 'calibration is for precision="int8"'),
        ({"precision": "int8", "calibration": 3}, "calibration is 3; expected an array"),
        (
            {"precision": "int8", "calibration": np.zeros((32, 32, 3))},
            r"come in batches .*, but got shape \(32, 32, 3\)",
        ),
        (
            {"precision": "int8", "calibration": np.zeros((1, 30, 30, 3))},
            r"A calibration image has shape \(30, 30, 3\), but tiny takes \(32, 32, 3\)",
        ),
        (
            {"precision": "int8", "calibration": np.zeros((1, 32, 32, 3), "uint8")},
            "raw uint8 pixels; say how they are prepared",
        ),
        (
            {
                "precision": "int8",
                "calibration": np.zeros((1, 32, 32, 3)),
                "preprocessing": PREPROCESSING,
            },
            "are float64, so prepared already; expected raw uint8",
        ),
        (
            {"precision": "int8", "calibration": pixels(3, 32, 32, 3), "batch_size": 4}
            | {"preprocessing": PREPROCESSING},
            "There are 3 calibration images; expected at least 4",
        ),
        ({"batch_size": 0}, "batch_size is a whole number from 1, or None; got 0"),
        ({"tolerance": -1.0}, "tolerance is 0 or more, or None; got -1.0"),
        ({"class_names": ["one"]}, "There are 1 class_names, but tiny has 10 outputs"),
        ({"weights_id": "keras.inception_v5"}, "Unknown weights"),
        (
            {"preprocessing": dataclasses.replace(PREPROCESSING, size=(40, 40))},
            r"makes images of \(40, 40\), but tiny takes \(32, 32\)",
        ),
    ],
)
def test_arguments_that_cannot_work(model, arguments, said, tmp_path):
    with pytest.raises(InputError, match=said):
        export(model, tmp_path / "model.tflite", format="litert", **arguments)
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_exported(tmp_path):
    images = keras.Input((32, 32, 3), name="images")
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    outputs = [keras.layers.Dense(2)(pooled), keras.layers.Dense(3)(pooled)]
    several = keras.Model(images, outputs, name="several")
    with pytest.raises(InputError, match="several has 2 outputs and none is named 'predictions'"):
        export(several, tmp_path / "out")
    vector = keras.Input((8,))
    flat = keras.Model(vector, keras.layers.Dense(2)(vector), name="flat")
    with pytest.raises(InputError, match=r"flat takes \(None, 8\); expected one batch of images"):
        export(flat, tmp_path / "out")
    with pytest.raises(InputError, match="name=unbuilt.* has no graph to work on"):
        export(keras.Sequential([keras.layers.Dense(2)], name="unbuilt"), tmp_path / "out")
    grey = tiny(channels=1)
    with pytest.raises(InputError, match="images of 3 channels, but tiny takes 1"):
        export(grey, tmp_path / "out", preprocessing=PREPROCESSING)
    assert not list(tmp_path.iterdir())


def test_channels_first_is_refused(channels_first, tmp_path):
    model = ki.GoogLeNet(weights=None, width=0.05, input_shape=(3, 64, 64), classes=2)
    with pytest.raises(InputError, match="googlenet has its channels first .in '.*'., which CPUs"):
        export(model, tmp_path / "out")


def test_unfolded_models_keep_their_precision(model, tmp_path):
    said = "tiny computes in float32, and is brought to bfloat16 only by folding; leave fold=True"
    with pytest.raises(InputError, match=said):
        export(model, tmp_path / "out", precision="bfloat16", fold=False)


def test_other_backends_are_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InputError, match="made with Keras on TensorFlow, but it runs on jax"):
        job.export(model, tmp_path / "out")


def test_reading_metadata_of_what_is_no_export(tmp_path):
    with pytest.raises(InputError, match="There is no file or folder .*nowhere"):
        read_metadata(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no exported network: neither SavedModel nor OpenVINO"):
        read_metadata(tmp_path)
    for name, said in (
        ("text.txt", "expected a folder, or a file that ends in .onnx, .tflite, .xml"),
        ("broken.xml", "is no OpenVINO file that can be read"),
        ("broken.onnx", "is no ONNX file that can be read"),
    ):
        (tmp_path / name).write_bytes(b"\xff\xfenothing of the kind")
        with pytest.raises(InputError, match=said):
            read_metadata(tmp_path / name)
