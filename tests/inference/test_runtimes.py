"""Exported networks run in each runtime, and give what Keras gives."""

import numpy as np
import pytest

import keras_inception as ki
from keras_inception.errors import InputError, MissingExtra
from keras_inception.inference.export import export
from keras_inception.inference.precision import native_bfloat16
from keras_inception.inference.runtimes import (
    is_exported,
    open_runtime,
    openvino,
    runtime_of,
)
from tests.inference.small import images, lively

PATHS = {
    "tensorflow": ("tf_saved_model", "saved"),
    "onnxruntime": ("onnx", "network.onnx"),
    "openvino": ("openvino", "openvino"),
    "litert": ("litert", "network.tflite"),
}


@pytest.fixture(scope="module")
def network():
    return lively(ki.GoogLeNet(weights=None, input_shape=(32, 32, 3), classes=4, width=0.1))


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for form, name in PATHS.values():
        export(network, folder / name, format=form, class_names=list("abcd"))
    return folder


@pytest.mark.parametrize("name", PATHS)
def test_each_runtime_gives_what_keras_gives(network, exported, name):
    x = images(3, 32)
    with open_runtime(exported / PATHS[name][1]) as runtime:
        assert runtime.name == name == runtime_of(exported / PATHS[name][1])
        assert (runtime.input_shape, runtime.input_dtype) == ((None, 32, 32, 3), "float32")
        assert runtime.metadata["class_names"] == list("abcd")
        outputs = runtime.run(x)
        again = runtime.run(x[:1].astype("float64"))
    assert list(outputs) == ["predictions"]
    assert outputs["predictions"].dtype == np.float32
    np.testing.assert_allclose(outputs["predictions"], network(x), atol=1e-5)
    np.testing.assert_allclose(again["predictions"], network(x[:1]), atol=1e-5)


@pytest.mark.parametrize("name", PATHS)
def test_images_that_do_not_fit_are_refused(exported, name):
    runtime = open_runtime(exported / PATHS[name][1])
    for wrong in (np.zeros((2, 31, 32, 3), "float32"), np.zeros((32, 32, 3), "float32")):
        with pytest.raises(InputError, match=r"takes images of shape \(None, 32, 32, 3\) float32"):
            runtime.run(wrong)
    with pytest.raises(InputError, match="complex64"):
        runtime.run(np.zeros((2, 32, 32, 3), "complex64"))
    runtime.close()
    runtime.close()
    with pytest.raises(InputError, match="is closed"):
        runtime.run(images(1, 32))


def test_openvino_computes_in_the_dtype_and_batch_asked_for(network, exported):
    x = images(2, 32)
    path = exported / "openvino" / "model.xml"
    native = native_bfloat16() in ("amx_bf16", "avx512_bf16")
    dtype = "bfloat16" if native else "float32"
    with open_runtime(path, dtype=dtype, batch_size=2, threads=1) as runtime:
        assert (runtime.dtype, runtime.input_shape) == (dtype, (None, 32, 32, 3))
        assert runtime.compiled.input().shape == [2, 32, 32, 3]
        outputs = runtime.run(x)["predictions"]
    np.testing.assert_allclose(outputs, network(x), atol=0.02)
    with open_runtime(path) as runtime:
        assert runtime.dtype == "float32"


def test_openvino_computes_batches_of_any_number(network, exported):
    """Full ones, the rest of many padded, and single images that come again and again singly."""
    x = images(11, 32)
    expected = np.asarray(network(x))
    with open_runtime(exported / "openvino", batch_size=4) as runtime:
        for first, last in ((0, 4), (4, 5), (5, 6), (6, 7), (8, 11), (0, 11), (9, 11)):
            found = runtime.run(x[first:last])["predictions"]
            assert (runtime._single is None) == (last in (4, 5))
            np.testing.assert_allclose(found, expected[first:last], atol=1e-5)
        assert runtime._single.get_compiled_model().input().shape == [1, 32, 32, 3]


def test_openvino_keeps_the_batch_that_a_file_was_exported_with(network, tmp_path):
    export(network, tmp_path / "one", format="openvino", batch_size=1)
    with open_runtime(tmp_path / "one", batch_size=16) as runtime:
        assert runtime.input_shape == (1, 32, 32, 3)


def test_openvino_that_computes_in_another_dtype_than_asked_is_refused(exported, monkeypatch):
    """It says nothing of it by itself."""
    said = "asked to compute in bfloat16, but computes in float32 on this CPU.*Use dtype=.float32"
    if native_bfloat16() is None:
        with pytest.raises(InputError, match=said):
            open_runtime(exported / "openvino", dtype="bfloat16")
    monkeypatch.setitem(openvino._PRECISIONS, "bfloat16", "f32")
    with open_runtime(exported / "openvino", dtype="bfloat16") as runtime:
        monkeypatch.undo()
        with pytest.raises(InputError, match=said):
            openvino._check_precision(runtime.compiled, "bfloat16")


@pytest.mark.parametrize("name", ["tensorflow", "onnxruntime", "litert"])
def test_dtype_and_batch_size_belong_to_openvino(exported, name):
    for wish in ({"dtype": "bfloat16"}, {"batch_size": 2}):
        with pytest.raises(InputError, match=f"runs in {name}, where the file alone says"):
            open_runtime(exported / PATHS[name][1], **wish)


def test_number_of_threads(network, exported):
    x = images(2, 32)
    for name in ("onnxruntime", "litert"):
        with open_runtime(exported / PATHS[name][1], threads=1) as runtime:
            np.testing.assert_allclose(runtime.run(x)["predictions"], network(x), atol=1e-5)
    with pytest.raises(InputError, match="must be said before TensorFlow is used"):
        open_runtime(exported / "saved", threads=7)


def test_what_is_no_exported_network(exported, tmp_path):
    with pytest.raises(InputError, match="There is no file or folder"):
        open_runtime(tmp_path / "none.onnx")
    (tmp_path / "notes.txt").write_text("notes")
    for path in (tmp_path, tmp_path / "notes.txt"):
        assert not is_exported(path)
        with pytest.raises(InputError, match="is no exported network"):
            open_runtime(path)
    with pytest.raises(InputError, match="Unknown dtype: 'float8'"):
        open_runtime(exported / "openvino", dtype="float8")


@pytest.mark.parametrize("name", ["broken.onnx", "broken.xml", "broken.tflite", "saved_model.pb"])
def test_broken_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind" * 50)
    path = tmp_path if name.endswith(".pb") else tmp_path / name
    assert is_exported(path)
    with pytest.raises(InputError, match=str(path)):
        open_runtime(path)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_missing_runtime_names_the_extra(exported, name, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"keras-inception\[(onnx|openvino)\]"):
        open_runtime(exported / PATHS[name][1])
