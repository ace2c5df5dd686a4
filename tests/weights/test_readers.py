"""Which reader gets a file, and what is said about a file that none can read."""

import gzip
import io
import os
import pickle
import sys
import tarfile
import zipfile

import h5py
import numpy as np
import pytest

from keras_inception.errors import InputError, MissingExtra
from keras_inception.weights.readers import read_checkpoint
from tests.weights.readers_files import (
    caffe_blob,
    caffe_layer,
    field,
    safetensors_bytes,
    values,
    write,
)

ONE_FLOAT = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def tar_bytes(member):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(member), io.BytesIO())
    return stream.getvalue()


def zip_bytes(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return stream.getvalue()


def npy_bytes(save, *arguments, **arrays):
    stream = io.BytesIO()
    save(stream, *arguments, **arrays)
    return stream.getvalue()


GRAPH = field(1, field(1, "input") + field(2, "Placeholder"))
META_GRAPH = field(1, field(2, GRAPH)) + field(2, GRAPH)
SEEMS = {
    "empty": (b"", "an empty file. The download was cut off"),
    "html": (b"\n <!DOCTYPE html><html>404</html>", "a web page. The server sent a page"),
    "html with mark": (b"\xef\xbb\xbf<HTML>", "a web page"),
    "xml error": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "a Git LFS pointer. Run `git lfs pull`",
    ),
    "zip": (zip_bytes("a.ckpt"), "a zip archive. Unpack it"),
    "half a zip": (zip_bytes("a.ckpt")[:40], "a zip archive without its end. The download was cut"),
    "gzip": (gzip.compress(b"x"), "a gzip archive. Unpack it and give the file inside, or use"),
    "tar": (tar_bytes("model.ckpt"), "a tar archive. Unpack it"),
    "bzip2": (b"BZh91AY&SY", "a compressed archive. Unpack it"),
    "xz": (b"\xfd7zXZ\x00\x00", "a compressed archive. Unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00", "a compressed archive. Unpack it"),
    "npz": (npy_bytes(np.savez, a=np.ones(2)), "an .npz archive. Load it with numpy.load"),
    "npy": (npy_bytes(np.save, np.ones(2)), "an .npy file. Load it with numpy.load"),
    "torchscript": (
        zip_bytes("m/data.pkl", "m/code/x.py", "m/constants.pkl"),
        "a TorchScript archive, which holds code. Load it where it was made and save model.state_d",
    ),
    "old torch": (tar_bytes("sys_info"), "a torch file of 2016 (tar), which only an unsafe pickle"),
    "pickle": (pickle.dumps({"a": 1}), "a Python pickle, which could run code and is never opened"),
    "graph": (GRAPH, "a TensorFlow graph. Give the checkpoint (.ckpt or .index)"),
    "meta graph": (META_GRAPH, "a TensorFlow graph. Give the checkpoint (.ckpt or .index)"),
    "saved model": (field(1, 1) + field(2, META_GRAPH), "a TensorFlow SavedModel. Give variables/"),
    "tflite": (b"\x1c\x00\x00\x00TFL3\x00\x00", "a TensorFlow Lite model. Give the checkpoint"),
    "mxnet": (b"\x12\x01\x00\x00\x00\x00\x00\x00\x00", "an MXNet .params file. Give the publisher"),
    "json": (b' {"a": 1}', "a JSON file without weightsManifest. Give the model.json of a layers"),
    "text": ("grüße\n".encode(), "a text file"),
    "unknown": (bytes(range(128, 256)), "data of no known format. It may be cut off"),
}


@pytest.mark.parametrize(("data", "seems"), SEEMS.values(), ids=SEEMS)
def test_a_file_that_is_not_as_its_ending_says_is_named(tmp_path, data, seems):
    path = write(tmp_path / "v4.h5", data)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    claim = f"{path} should be an HDF5 file (Keras .h5) by its ending, but seems to be {seems}"
    assert str(caught.value).startswith(claim)


@pytest.mark.parametrize(("data", "seems"), SEEMS.values(), ids=SEEMS)
def test_a_file_of_unknown_ending_is_judged_by_its_content(tmp_path, data, seems):
    path = write(tmp_path / "weights.bin", data)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    phrase, _, advice = seems.partition(". ")
    expected = f"{path} is {phrase}" + (f", which is not read. {advice}" if advice else "")
    assert str(caught.value).startswith(expected)


def hdf5_bytes(userblock_size=0):
    stream = io.BytesIO()
    with h5py.File(stream, "w", userblock_size=userblock_size) as file:
        file["layers/dense/vars/0"] = values((2, 3))
    return stream.getvalue()


READABLE = {
    "HDF5": (hdf5_bytes(), "an HDF5 file (Keras .h5)", "dense/kernel"),
    "HDF5 with user block": (hdf5_bytes(2048), "an HDF5 file (Keras .h5)", "dense/kernel"),
    "safetensors": (safetensors_bytes(ONE_FLOAT, b"1234"), "a safetensors file", "w"),
    "caffemodel": (
        field(1, "net") + caffe_layer("conv", caffe_blob(values((2,)))),
        "a caffemodel",
        "conv/0",
    ),
    "nameless caffemodel": (
        caffe_layer("conv", caffe_blob(values((2,)))),
        "a caffemodel",
        "conv/0",
    ),
    "ONNX": (
        field(1, 8)
        + field(7, field(5, field(1, 1) + field(2, 1) + field(8, "w") + field(9, b"1234"))),
        "an ONNX model",
        "w",
    ),
}


@pytest.mark.parametrize(("data", "phrase", "name"), READABLE.values(), ids=READABLE)
def test_known_content_is_read_under_an_unknown_ending(tmp_path, data, phrase, name):
    assert list(read_checkpoint(str(write(tmp_path / "weights.dat", data)))) == [name]


@pytest.mark.parametrize(("data", "phrase", "name"), READABLE.values(), ids=READABLE)
def test_known_content_under_another_ending_is_refused(tmp_path, data, phrase, name):
    path = write(tmp_path / "weights.pth", data)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(caught.value) == (
        f"{path} should be a torch file by its ending, but seems to be {phrase}. "
        "Rename it if that is what you meant."
    )


def test_endings_are_read_in_any_case(tmp_path):
    path = write(tmp_path / "W.SafeTensors", safetensors_bytes(ONE_FLOAT, b"\0\0\x80?"))
    assert read_checkpoint(path)["w"] == [1.0]


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "v4.h5"
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(caught.value) == f"There is no file {path}, and no v4.h5.index beside it either."


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match="is a folder: give the file in it"):
        read_checkpoint(tmp_path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.h5")
    with pytest.raises(InputError, match=r"w\.h5 is not a regular file\."):
        read_checkpoint(tmp_path / "w.h5")


@pytest.mark.parametrize(("ending", "package"), [(".onnx", "onnx"), (".pth", "torch")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, ending, package):
    monkeypatch.setitem(sys.modules, package, None)
    data = {".onnx": READABLE["ONNX"][0], ".pth": zip_bytes("a/data.pkl")}[ending]
    with pytest.raises(MissingExtra, match=rf'pip install "keras-inception\[{package}\]"'):
        read_checkpoint(write(tmp_path / f"w{ending}", data))


def test_what_the_library_of_a_format_says_is_passed_on(tmp_path):
    path = write(tmp_path / "w.h5", hdf5_bytes()[:-100])
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: it could not be read as an HDF5 file (Keras .h5), perhaps")
    assert "truncated file" in message
    assert message.endswith("Fetch it again and compare its size with the publisher's.")
    assert "\n" not in message
