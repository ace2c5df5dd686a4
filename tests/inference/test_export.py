"""Exported files compute what the model computes, and say what they are."""

import ast
import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception.inference.export import FORMATS, export, read_metadata
from keras_inception.inference.runtimes import open_runtime
from keras_inception.preprocessing import preprocess_input
from tests.inference.exports import PATHS, PREPROCESSING, pixels, tiny
from tests.inference.small import lively, relative_difference
from tests.zoo import PAPER_CASES

# By default every format is tried on `tiny` below; the networks that it does not resemble run with
# the slow checks.
QUICK = {("GoogLeNet", "onnx"), ("BNInception", "openvino")}
every_format = pytest.mark.parametrize("form", FORMATS)


def run(path, images):
    with open_runtime(path) as runtime:
        return runtime.run(images)


def values(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def assert_agrees(model, size, path, form):
    """The outputs agree, and so does by how much they differ from image to image.

    The second says more of deep random networks, whose outputs are nearly the same for every image
    (wholly so after a softmax, so that logits are compared).
    """
    lively(model)
    brightness = np.array([0.2, 0.6, 1.0], "float32")[:, None, None, None]
    images = preprocess_input(pixels(3, size, size, 3) * brightness)
    expected = model(images, training=False).numpy()
    assert export(model, path, format=form).difference < 1e-4
    found = run(path, images)["predictions"]
    assert relative_difference(found, expected) < 1e-4
    assert relative_difference(found - found[:1], expected - expected[:1]) < 0.05


@pytest.mark.parametrize(
    ("case", "form"),
    [
        pytest.param(
            case,
            form,
            id=f"{case.model}-{form}",
            marks=[] if (case.model, form) in QUICK else [pytest.mark.slow],
        )
        for case in PAPER_CASES
        for form in FORMATS
    ],
)
def test_networks_agree_with_keras(case, form, tmp_path):
    model = case.small(width=0.1, classes=10, classifier_activation=None)
    assert_agrees(model, case.size, tmp_path / PATHS[form], form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["InceptionV3", "InceptionResNetV2"])
def test_full_size_agrees_with_keras(name, form, tmp_path):
    model = ki.build(name, weights=None, classifier_activation=None)
    assert_agrees(model, 299, tmp_path / PATHS[form], form)


@every_format
def test_unfolded_headless_and_several_heads(form, tmp_path):
    images = values(2, 32, 32, 3)
    model = tiny(aux=True)
    path = tmp_path / PATHS[form]
    done = export(model, path, format=form)
    assert done.metadata["folded"]
    expected = model(images, training=False)["predictions"]
    found = run(path, images)
    assert list(found) == ["predictions"]
    assert relative_difference(found["predictions"], expected) < 1e-4

    headless = tiny(top=False)
    done = export(headless, path, format=form, fold=False, overwrite=True)
    assert not done.metadata["folded"]
    found = run(path, images)
    assert list(found) == ["features"]
    assert relative_difference(found["features"], headless(images, training=False)) < 1e-4


def test_folding_leaves_no_batch_normalisation(tmp_path):
    folded = export(tiny(), tmp_path / "folded")
    plain = export(tiny(), tmp_path / "plain", fold=False)
    assert folded.size_bytes < plain.size_bytes
    kinds = [_operations(done.path) for done in (folded, plain)]
    assert "FusedBatchNormV3" not in kinds[0]
    assert "FusedBatchNormV3" in kinds[1]


def _operations(path):
    import tensorflow as tf

    graph = tf.saved_model.load(str(path)).signatures["serving_default"].graph
    functions = graph.as_graph_def().library.function
    nodes = [node for function in functions for node in function.node_def]
    return {node.op for node in nodes} | {operation.type for operation in graph.get_operations()}


@every_format
def test_raw_images(form, tmp_path):
    model = tiny(activation=None)
    path = tmp_path / PATHS[form]
    done = export(model, path, format=form, preprocessing=PREPROCESSING, class_names="abcdefghij")
    assert done.metadata["input"]["dtype"] == "uint8"
    assert done.metadata["input"]["range"] == [0, 255]
    sizes = [(32, 32)] if form == "litert" else [(32, 32), (50, 41), (33, 90), (20, 20)]
    prepare = PREPROCESSING.normalize if form == "litert" else PREPROCESSING
    with open_runtime(path) as runtime:
        assert runtime.input_dtype == "uint8"
        for size in sizes:
            images = pixels(2, *size, 3)
            expected = model(prepare(images), training=False)
            found = runtime.run(images)["predictions"]
            assert relative_difference(found, expected) < 1e-4, size


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("onnx", {"channel_order": "BGR", "mean": (104.0, 117.0, 123.0), "std": (1.0,) * 3}),
        ("openvino", {"interpolation": "bicubic", "resize": "central_crop_squash"}),
        ("litert", {"mean": None, "std": None, "resize": "none"}),
    ],
)
def test_other_preprocessing_inside(form, fields, tmp_path):
    model = tiny(activation=None)
    preprocessing = dataclasses.replace(PREPROCESSING, **fields)
    path = tmp_path / PATHS[form]
    export(model, path, format=form, preprocessing=preprocessing)
    images = pixels(2, 32, 32, 3)
    expected = model(preprocessing(images), training=False)
    assert relative_difference(run(path, images)["predictions"], expected) < 1e-4


@every_format
def test_static_and_dynamic_batch(form, tmp_path):
    model = tiny(activation=None)
    images = values(3, 32, 32, 3)
    expected = model(images, training=False)
    path = tmp_path / PATHS[form]
    done = export(model, path, format=form, batch_size=3)
    assert done.metadata["input"]["shape"] == [3, 32, 32, 3]
    with open_runtime(path) as runtime:
        assert runtime.input_shape == (3, 32, 32, 3)
        assert relative_difference(runtime.run(images)["predictions"], expected) < 1e-4
    export(model, path, format=form, overwrite=True)
    with open_runtime(path) as runtime:
        assert runtime.input_shape == (None, 32, 32, 3)
        for count in (1, 3):
            found = runtime.run(images[:count])["predictions"]
            assert relative_difference(found, expected[:count]) < 1e-4


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "litert"])
def test_free_image_size(form, tmp_path):
    model = tiny(size=(None, None), activation=None)
    path = tmp_path / PATHS[form]
    assert export(model, path, format=form).metadata["input"]["shape"] == [None, None, None, 3]
    with open_runtime(path) as runtime:
        for size in ((32, 33), (47, 40)):
            images = values(1, *size, 3)
            expected = model(images, training=False)
            assert relative_difference(runtime.run(images)["predictions"], expected) < 1e-4


@every_format
def test_adapted_normalisations_are_constants_of_the_file(form, tmp_path):
    norm = keras.layers.Normalization()
    images = keras.Input((32, 32, 3))
    model = keras.Model(images, tiny(activation=None)(norm(images)), name="normalised")
    norm.adapt(values(4, 32, 32, 3) * 3 + 1)
    path = tmp_path / PATHS[form]
    assert export(model, path, format=form).difference < 1e-4
    x = values(2, 32, 32, 3, seed=1)
    (found,) = run(path, x).values()
    assert relative_difference(found, model(x, training=False)) < 1e-4


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_other_channels(form, tmp_path):
    model = tiny(channels=1, activation=None)
    path = tmp_path / PATHS[form]
    export(model, path, format=form)
    images = values(2, 32, 32, 1)
    expected = model(images, training=False)
    assert relative_difference(run(path, images)["predictions"], expected) < 1e-4


def test_mixed_precision_models_become_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny(activation=None)
    finally:
        keras.config.set_dtype_policy("float32")
    assert export(model, tmp_path / "out").difference < 1e-4
    same = tiny(activation=None)
    same.set_weights(model.get_weights())
    images = values(2, 32, 32, 3)
    expected = same(images, training=False)
    assert relative_difference(run(tmp_path / "out", images)["predictions"], expected) < 1e-4


@every_format
def test_metadata(form, tmp_path):
    names = [f"class {number} é" for number in range(10)]
    path = tmp_path / PATHS[form]
    done = export(
        tiny(),
        path,
        format=form,
        preprocessing=PREPROCESSING,
        include_preprocessing=False,
        class_names=names,
        batch_size=2,
    )
    found = read_metadata(path)
    assert found == done.metadata
    assert found == {
        "schema": 1,
        "package": f"keras-inception {ki.__version__}",
        "network": "tiny",
        "weights": None,
        "licence": None,
        "precision": "float32",
        "folded": True,
        "input": {
            "name": "images",
            "shape": [2, 32, 32, 3],
            "dtype": "float32",
            "layout": "NHWC",
            "channel_order": "RGB",
            "range": [-1.0, 1.0],
        },
        "output": {"name": "predictions", "shape": [2, 10]},
        "class_names": names,
        "preprocessing": {
            "size": [32, 32],
            "resize": "shorter_side",
            "crop_fraction": 0.8,
            "rounding": "floor",
            "interpolation": "bilinear",
            "antialias": True,
            "mean": [127.5] * 3,
            "std": [127.5] * 3,
            "channel_order": "RGB",
        },
        "preprocessing_inside": "none",
    }
    with open_runtime(path) as runtime:
        assert runtime.metadata == found


def test_metadata_of_public_weights(tmp_path):
    entry = ki.weights.info("keras.inception_v3")
    model = tiny(classes=1000)
    facts = export(model, tmp_path / "sm", weights_id=entry.id).metadata
    assert facts["weights"] == entry.id
    assert facts["licence"] == entry.licence
    assert facts["licence"]
    assert facts["class_names"][386] == "African_elephant"
    assert facts["preprocessing"]["size"] == [32, 32]
    assert facts["preprocessing"]["crop_fraction"] == entry.preprocessing.crop_fraction
    assert facts["preprocessing_inside"] == "none"


def test_metadata_of_foreign_files_is_none(tmp_path):
    import tensorflow as tf

    tiny().export(tmp_path / "foreign", verbose=False)
    assert read_metadata(tmp_path / "foreign") is None
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "foreign"))
    (tmp_path / "foreign.tflite").write_bytes(converter.convert())
    assert read_metadata(tmp_path / "foreign.tflite") is None


def test_saved_model_signatures(tmp_path):
    import tensorflow as tf

    model = tiny()
    export(model, tmp_path / "sm", preprocessing=PREPROCESSING)
    signatures = tf.saved_model.load(str(tmp_path / "sm")).signatures
    assert set(signatures) == {"serving_default", "features", "encoded"}
    images = pixels(2, 40, 56, 3)
    prepared = PREPROCESSING(images)
    features = keras.Model(model.input, model.get_layer("avg_pool").output)
    found = signatures["features"](images=images)["features"]
    assert relative_difference(found, features(prepared, training=False)) < 1e-4
    files = tf.stack([tf.io.encode_png(image) for image in images])
    expected = model(prepared, training=False)
    found = signatures["encoded"](encoded=files)["predictions"]
    assert relative_difference(found, expected) < 1e-4
    jpegs = [tf.io.encode_jpeg(image, quality=95) for image in images]
    expected = model(
        PREPROCESSING(np.stack([tf.io.decode_jpeg(file) for file in jpegs])), training=False
    )
    found = signatures["encoded"](encoded=tf.stack(jpegs))["predictions"]
    assert relative_difference(found, expected) < 1e-4


def test_saved_model_works_without_this_package(tmp_path):
    model = tiny()
    export(model, tmp_path / "sm")
    images = values(2, 32, 32, 3)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "keras_inception.py").write_text("raise ImportError('not here')")
    code = """
        import sys
        import numpy as np, tensorflow as tf
        from tensorflow.python.tools import saved_model_cli
        try:
            import keras_inception
        except ImportError:
            model = tf.saved_model.load("sm")
            outputs = model.signatures["serving_default"](images=tf.constant(np.load("images.npy")))
            np.save("outputs.npy", outputs["predictions"].numpy())
            sys.argv[0] = "saved_model_cli"
            saved_model_cli.main()
    """

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *arguments, "--dir", "sm"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    shown = run("show", "--all")
    signature = ("--tag_set", "serve", "--signature_def", "serving_default")
    run("run", *signature, "--inputs", "images=images.npy", "--outdir", ".")
    expected = model(images, training=False)
    for name in ("outputs.npy", "predictions.npy"):  # the latter is saved_model_cli's
        assert relative_difference(np.load(tmp_path / name), expected) < 1e-4
    for wanted in ("serving_default", "features", "(-1, 32, 32, 3)", "(-1, 10)"):
        assert wanted in shown


def test_onnx_is_plain(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    export(tiny(), path, format="onnx", preprocessing=PREPROCESSING)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain for entry in proto.opset_import} <= {"", "ai.onnx.ml"}
    axes = [axis.dim_param or axis.dim_value for axis in _axes(proto.graph.input[0])]
    assert axes == ["batch", "height", "width", 3]
    assert [a.dim_param or a.dim_value for a in _axes(proto.graph.output[0])] == ["batch", 10]


def _axes(value):
    return value.type.tensor_type.shape.dim


def test_litert_metadata_is_an_associated_file(tmp_path):
    path = tmp_path / "model.tflite"
    done = export(tiny(), path, format="litert")
    unzip = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('keras_inception.json'))"
    said = subprocess.run([sys.executable, "-c", unzip, path], capture_output=True, check=True)
    assert json.loads(ast.literal_eval(said.stdout.decode())) == done.metadata


def test_the_model_is_left_alone(tmp_path):
    model = tiny()
    before = [weight.copy() for weight in model.get_weights()]
    export(model, tmp_path / "sm")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
