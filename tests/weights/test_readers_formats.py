"""Safetensors, caffemodels, TensorFlow.js and ONNX."""

import json
import math
import os

import ml_dtypes
import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import helper, numpy_helper

from keras_inception.errors import InputError
from keras_inception.weights.readers import read_checkpoint
from tests.weights.readers_files import (
    caffe_blob,
    caffe_layer,
    caffe_layer_v1,
    caffe_shape,
    field,
    safetensors_bytes,
    tfjs_model,
    values,
    write,
)


def assert_equal_arrays(read, truth):
    assert sorted(read) == sorted(truth)
    for name, array in truth.items():
        assert read[name].dtype == array.dtype, name
        np.testing.assert_array_equal(read[name], array, err_msg=name)


def refused(path):
    """The message about a file, without its path."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


# Safetensors


def test_safetensors(tmp_path):
    truth = {
        "conv.weight": values((4, 3, 2, 2)),
        "half": values((3,), 1, np.float16),
        "count": np.array(7),
        "none": np.zeros((0, 3), np.float32),
    }
    brain = values((5,), 2, ml_dtypes.bfloat16)
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(truth | {"brain": brain}, path, {"format": "pt"})
    assert_equal_arrays(read_checkpoint(path), truth | {"brain": brain.astype(np.float32)})


def test_a_safetensors_file_that_begins_like_a_pickle(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    length = (0x10280).to_bytes(8, "little")
    path = tmp_path / "w.safetensors"
    path.write_bytes(length + header.ljust(0x10280).encode() + np.float32(3).tobytes())
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert_equal_arrays(read_checkpoint(path), {"w": np.float32([3])})


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"1234",
            "its header has the key 'a' twice.",
        ),
        (b'{"a":', b"", "its header is not valid JSON: "),
        (b'{"a":' * 10**5, b"", "its header is not valid JSON: maximum recursion depth"),
        (b'{"\xff": 1}', b"", "its header is not valid JSON: 'utf-8' codec"),
        ({"a": entry(0, 4, [10**12])}, b"1234", "it could not be read as a safetensors file"),
        ({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, b"1234", "it could not be read"),
        ({"a": entry(0, 4, [1])}, b"123", "it could not be read as a safetensors file"),
        ({"a": entry(0, 4, [4], "F8_E4M3")}, b"1234", "it could not be read as a safetensors"),
        ({}, b"", "it holds no weights."),
    ],
    ids=["twice", "half", "deep", "bytes", "huge", "overlap", "short", "dtype", "empty"],
)
def test_damaged_safetensors(tmp_path, header, data, message):
    path = write(tmp_path / "w.safetensors", safetensors_bytes(header, data))
    assert refused(path).startswith(message)


def test_a_safetensors_header_longer_than_the_file(tmp_path):
    data = safetensors_bytes({"a": entry(0, 4, [1])}, b"1234")
    path = write(tmp_path / "w.safetensors", (10**6).to_bytes(8, "little") + data[8:])
    message = f"its header should take 1,000,000 bytes, but {len(data) - 8} follow: it is cut off."
    assert refused(path) == message


def test_a_safetensors_header_of_absurd_length(tmp_path):
    path = write(tmp_path / "w.safetensors", safetensors_bytes(b"{" + b" " * (2**25)))
    assert refused(path) == "its header takes 33,554,433 bytes; at most 33,554,432 do."


# Caffemodels


def test_caffemodels_of_both_formats(tmp_path):
    weight, bias, double = values((4, 3, 1, 2)), values((4,), 1), values((2, 2), 2, np.float64)
    scalar = values((), 3)
    blobs = [caffe_blob(weight), caffe_blob(bias)]
    new = caffe_layer("inception_3a/1x1", *blobs) + caffe_layer("relu")
    new += caffe_layer("double", caffe_blob(double)) + caffe_layer(
        "scalar", caffe_blob(scalar, b"")
    )
    read = read_checkpoint(write(tmp_path / "a.caffemodel", field(1, "GoogleNet") + new))
    truth = {"inception_3a/1x1/0": weight, "inception_3a/1x1/1": bias}
    assert_equal_arrays(read, truth | {"double/0": double, "scalar/0": scalar})
    old = field(1, "GoogleNet") + caffe_layer_v1("inception_3a/1x1", *blobs)
    assert_equal_arrays(read_checkpoint(write(tmp_path / "b.caffemodel", old)), truth)


def test_caffe_blobs_with_four_dimensions(tmp_path):
    bias = values((5,))
    shape = field(1, 1) + field(2, 1) + field(3, 1) + field(4, 5)
    data = field(1, "net") + caffe_layer_v1("fc", caffe_blob(bias, shape))
    read = read_checkpoint(write(tmp_path / "w.caffemodel", data))
    assert_equal_arrays(read, {"fc/0": bias.reshape(1, 1, 1, 5)})


def test_caffe_values_that_are_not_packed(tmp_path):
    array = values((3,))
    data = b"".join(b"\x2d" + value.tobytes() for value in array) + caffe_shape(3)
    path = write(tmp_path / "w.caffemodel", field(1, "net") + caffe_layer("fc", data))
    assert_equal_arrays(read_checkpoint(path), {"fc/0": array})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            caffe_layer("fc", caffe_blob(values((6,)), caffe_shape(2, 2))),
            "blob 'fc/0' has 6 values, but the shape (2, 2).",
        ),
        (
            caffe_layer("fc", caffe_blob(values((0,)), caffe_shape(10**9, 10**9))),
            "blob 'fc/0' has 0 values, but the shape (1000000000, 1000000000).",
        ),
        (
            caffe_layer("fc", caffe_blob(values((4,)), caffe_shape(2**64 - 2, 2**64 - 2))),
            "blob 'fc/0' has 4 values, but the shape (-2, -2).",
        ),
        (
            caffe_layer("fc", caffe_blob(values((2,)))) * 2,
            "it holds two tensors named 'fc/0', and only one can be meant.",
        ),
        (
            field(2, field(1, field(1, "conv1"))),
            "its layers are in Caffe's format of 2013 (V0): convert it with Caffe's "
            "upgrade_net_proto_binary first.",
        ),
        (caffe_layer("data"), "it holds no weights."),
        (caffe_layer("fc", caffe_blob(values((9,))))[:-9], "it could not be read as a caffemodel"),
        (b"\x01\x02\x03\x04", "it could not be read as a caffemodel"),
    ],
    ids=["shape", "huge", "negative", "twice", "V0", "no blobs", "cut off", "no protobuf"],
)
def test_damaged_caffemodels(tmp_path, data, message):
    name = field(1, "net") if data[0] != 1 else b""
    assert refused(write(tmp_path / "w.caffemodel", name + data)).startswith(message)


# TensorFlow.js


def weight(name, shape, dtype="float32", **other):
    return {"name": name, "shape": shape, "dtype": dtype, **other}


def quantised(name, shape, dtype, **how):
    return weight(name, shape, quantization={"dtype": dtype, "original_dtype": "float32", **how})


def test_tfjs_models(tmp_path):
    truth = {
        "conv/kernel": values((3, 3, 2, 4)),
        "conv/bias": values((4,), 1),
        "count": np.array([7], np.int32),
        "mask": np.array([True, False, True]),
        "scalar": values((), 2),
        "none": np.zeros((0,), np.float32),
        "last": values((2, 5), 3),
    }
    data = b"".join(array.tobytes() for array in truth.values())
    weights = [weight(name, list(a.shape), str(a.dtype)) for name, a in truth.items()]
    weights[0]["name"] += ":0"
    third = len(data) // 3  # in the middle of a tensor
    shards = {
        "s1.bin": data[:third],
        "s2.bin": data[third : 2 * third],
        "s3.bin": data[2 * third :],
    }
    assert_equal_arrays(read_checkpoint(tfjs_model(tmp_path, weights, shards)), truth)


def test_tfjs_groups_of_weights(tmp_path):
    path = tfjs_model(tmp_path, [weight("a", [2])], {"a.bin": values((2,)).tobytes()})
    model = json.loads(path.read_bytes())
    write(tmp_path / "b.bin", values((3,), 1).tobytes())
    model["weightsManifest"].append({"paths": ["b.bin"], "weights": [weight("b", [3])]})
    del model["format"]  # the first versions did not write it
    write(path, json.dumps(model).encode())
    assert_equal_arrays(read_checkpoint(path), {"a": values((2,)), "b": values((3,), 1)})


@pytest.mark.parametrize(("dtype", "levels"), [("uint8", 255), ("uint16", 65535)])
def test_tfjs_quantised_integers(tmp_path, dtype, levels):
    truth = values((50, 4))
    low, high = float(truth.min()), float(truth.max())
    scale = (high - low) / levels
    stored = np.round((truth - low) / scale).astype(dtype)
    weights = [quantised("w", [50, 4], dtype, scale=scale, min=low)]
    read = read_checkpoint(tfjs_model(tmp_path, weights, {"w.bin": stored.tobytes()}))["w"]
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, truth, rtol=0, atol=0.501 * scale + 1e-6)


def test_tfjs_quantised_halves(tmp_path):
    stored = values((5,), dtype=np.float16)
    path = tfjs_model(tmp_path, [quantised("w", [5], "float16")], {"w.bin": stored.tobytes()})
    assert_equal_arrays(read_checkpoint(path), {"w": stored.astype(np.float32)})


FOUR = {"w.bin": b"1234"}
ONE = [weight("w", [1])]
TFJS_FAULTS = {
    "too little data": (
        [weight("w", [10**12])],
        FOUR,
        "tensor 'w' of shape (1000000000000,) needs 4,000,000,000,000 bytes, but only 4 of the "
        "file's 4 bytes of data are left for it.",
    ),
    "too much data": (ONE, {"w.bin": b"12345"}, "its weights take 4 bytes, but the shards have 5."),
    "negative": ([weight("w", [-1])], FOUR, "tensor 'w' has a negative dimension: shape (-1,)."),
    "fraction": (
        [weight("w", [1.0])],
        FOUR,
        "weight 'w' has the shape [1.0]; expected whole numbers.",
    ),
    "bool": ([weight("w", [True])], FOUR, "weight 'w' has the shape [True]; expected whole"),
    "string": (
        [weight("w", [1], "string")],
        FOUR,
        "weight 'w' is stored as 'string'; read are float32, float16, int32, uint16, uint8, bool.",
    ),
    "quantised otherwise": (
        [quantised("w", [1], "int32", scale=1, min=0)],
        FOUR,
        "weight 'w' is stored as 'int32'; read are uint8, uint16, float16.",
    ),
    "quantised integers": (
        [weight("w", [4], "int32", quantization={"dtype": "uint8", "scale": 1, "min": 0})],
        FOUR,
        "weight 'w' is a quantised 'int32'; only 'float32' is read.",
    ),
    "scale": (
        [quantised("w", [4], "uint8", scale=math.inf, min=0.5)],
        FOUR,
        "weight 'w' is quantised with scale inf and min 0.5.",
    ),
    "no scale": (
        [quantised("w", [4], "uint8", min=0)],
        FOUR,
        "model.json needs 'scale' of type ",
    ),
    "no name": ([{"shape": [1], "dtype": "float32"}], FOUR, "model.json needs 'name' of type "),
    "no entry": (["w"], FOUR, "model.json needs 'name' of type <class 'str'> in 'w'."),
    "twice": (
        [weight("w", [1]), weight("w", [1])],
        {"w.bin": b"12345678"},
        "it holds two tensors named 'w', and only one can be meant.",
    ),
    "nothing": ([], {"w.bin": b""}, "it holds no weights."),
}


@pytest.mark.parametrize(("weights", "shards", "message"), TFJS_FAULTS.values(), ids=TFJS_FAULTS)
def test_damaged_tfjs_models(tmp_path, weights, shards, message):
    assert refused(tfjs_model(tmp_path, weights, shards)).startswith(message)


def test_tfjs_graph_models_are_refused(tmp_path):
    path = tfjs_model(tmp_path, ONE, FOUR, format="graph-model")
    assert refused(path) == "its format is 'graph-model'; only 'layers-model' is read."


def test_a_tfjs_manifest_of_the_wrong_type(tmp_path):
    path = tfjs_model(tmp_path, ONE, FOUR, weightsManifest={"paths": []})
    assert refused(path).startswith(
        "model.json needs 'weightsManifest' of type <class 'list'> in {"
    )


def tfjs_with_paths(folder, paths):
    manifest = [{"paths": paths, "weights": ONE}]
    return tfjs_model(folder, [], {}, weightsManifest=manifest)


def test_a_tfjs_shard_is_read_once(tmp_path):
    write(tmp_path / "w.bin", b"12")
    (tmp_path / "link.bin").symlink_to("w.bin")
    path = tfjs_with_paths(tmp_path, ["w.bin", "link.bin"])
    assert refused(path) == "its weightsManifest names a shard twice: ['w.bin', 'link.bin']."


@pytest.mark.parametrize("name", ["../secret", "inner/../../secret", "linked", "loop/secret", None])
def test_tfjs_shards_outside_the_folder_are_not_read(tmp_path, name):
    secret = write(tmp_path / "secret", b"1234")
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "linked").symlink_to(secret)
    (folder / "loop").symlink_to(tmp_path)
    name = name or str(secret)
    message = refused(tfjs_with_paths(folder, [name]))
    assert message == f"it names the file {name!r}, which is outside its folder {folder}."


def test_tfjs_shards_in_an_inner_folder_are_read(tmp_path):
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner" / "w.bin", values((1,)).tobytes())
    assert_equal_arrays(
        read_checkpoint(tfjs_with_paths(tmp_path, ["inner/w.bin"])), {"w": values((1,))}
    )


@pytest.mark.parametrize("name", ["gone.bin", "inner", "pipe"])
def test_tfjs_shards_that_are_no_files(tmp_path, name):
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    message = refused(tfjs_with_paths(tmp_path, [name]))
    assert message == f"it names the file {name!r}, which is missing from {tmp_path}."


@pytest.mark.parametrize("name", ["w\0.bin", "x" * 5000])
def test_tfjs_shards_with_impossible_names(tmp_path, name):
    message = refused(tfjs_with_paths(tmp_path, [name]))
    assert message == f"it names the file {name!r}, which is no usable path."


# ONNX


def onnx_bytes(*initialisers, **graph):
    graph = helper.make_graph([], "g", [], [], list(initialisers), **graph)
    return helper.make_model(graph).SerializeToString()


def test_onnx_initialisers(tmp_path):
    truth = {"conv.weight": values((4, 3, 2, 2)), "shape": np.array([-1, 8]), "one": values(())}
    brain = values((3,), 2, ml_dtypes.bfloat16)
    tensors = [numpy_helper.from_array(array, name) for name, array in truth.items()]
    tensors.append(numpy_helper.from_array(brain, "brain"))
    floats = values((2, 2), 3)
    tensors.append(
        helper.make_tensor("typed", onnx.TensorProto.FLOAT, (2, 2), floats.ravel().tolist())
    )
    tensors.append(helper.make_tensor("text", onnx.TensorProto.STRING, (1,), [b"a"]))
    read = read_checkpoint(write(tmp_path / "m.onnx", onnx_bytes(*tensors)))
    assert_equal_arrays(read, truth | {"brain": brain.astype(np.float32), "typed": floats})


def external(name="w", shape=(2, 3), **entries):
    tensor = onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_onnx_data_in_another_file_of_the_folder(tmp_path):
    first, second = values((2, 3)), values((2, 3), 1)
    write(tmp_path / "m.data", first.tobytes() + second.tobytes())
    tensors = [
        external("first", location="m.data"),
        external("second", location="m.data", offset=24, length=24),
    ]
    read = read_checkpoint(write(tmp_path / "m.onnx", onnx_bytes(*tensors)))
    assert_equal_arrays(read, {"first": first, "second": second})


def test_onnx_data_written_by_the_library(tmp_path):
    array = values((40, 40))
    model = onnx.load_model_from_string(onnx_bytes(numpy_helper.from_array(array, "w")))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin")
    assert (tmp_path / "weights.bin").stat().st_size >= array.nbytes
    assert_equal_arrays(read_checkpoint(tmp_path / "m.onnx"), {"w": array})


NEGATIVE = onnx.TensorProto(name="w", dims=[-1, 2], data_type=onnx.TensorProto.FLOAT)
NEGATIVE.raw_data = bytes(16)
HUGE = onnx.TensorProto(name="w", dims=[10**12], data_type=onnx.TensorProto.FLOAT)
HUGE.raw_data = bytes(16)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([external(location="../w.data")], "it names the file '../w.data', which is outside its"),
        ([external(location="gone")], "it names the file 'gone', which is missing from"),
        ([external()], "it names the file '', which is missing from"),
        (
            [external(location="w.data", offset=8)],
            "it refers to 24 bytes from 8 on in w.data, which ends before.",
        ),
        (
            [external(location="w.data", shape=[10**12])],
            "tensor 'w' of shape (1000000000000,) needs 4,000,000,000,000 bytes, but only 24",
        ),
        ([external(location="w.data", offset=-8)], "it could not be read as an ONNX model"),
        ([external(location="w.data", offset="x")], "it could not be read as an ONNX model"),
        (
            [external("a", location="w.data"), external("b", location="w.data")],
            "tensor 'b' of shape (2, 3) needs 24 bytes, but only 0 of the file's 24 bytes",
        ),
        ([NEGATIVE], "tensor 'w' has a negative dimension: [-1, 2]."),
        ([HUGE], "it could not be read as an ONNX model"),
        (
            [numpy_helper.from_array(values((2,)), "w")] * 2,
            "it holds two tensors named 'w', and only one can be meant.",
        ),
        ([], "it holds no weights."),
    ],
    ids=[
        *("outside", "missing", "nowhere", "offset", "huge", "negative offset", "no offset"),
        "same section",
        *("negative", "huge inside", "twice", "empty"),
    ],
)
def test_damaged_onnx_models(tmp_path, tensors, message):
    folder = tmp_path / "model"
    folder.mkdir()
    write(tmp_path / "w.data", bytes(24))
    write(folder / "w.data", bytes(24))
    assert refused(write(folder / "m.onnx", onnx_bytes(*tensors))).startswith(message)


def test_sparse_onnx_initialisers_are_refused(tmp_path):
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(values((1,)), "w"), numpy_helper.from_array(np.array([2])), [5]
    )
    path = write(tmp_path / "m.onnx", onnx_bytes(sparse_initializer=[sparse]))
    assert refused(path) == "it has sparse initialisers, which are not read: export them as dense."


def test_onnx_models_that_are_cut_off(tmp_path):
    data = onnx_bytes(numpy_helper.from_array(values((9,)), "w"))
    path = write(tmp_path / "m.onnx", data[:-20])
    assert refused(path).startswith("it could not be read as an ONNX model, perhaps because it is")
