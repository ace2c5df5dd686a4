"""No bytes, however crafted, bring anything but weights or an `InputError`.

Bounded, with fixed seeds: each test takes a few seconds at most. What Python and NumPy allocate is
measured, so that a size which a file only claims would show.
"""

import contextlib
import io
import json
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx  # noqa: F401 - the readers import it, and the memory for that is not to count
import pytest
import tensorflow  # noqa: F401 - as onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_inception.errors import InputError
from keras_inception.weights.readers import read_checkpoint
from tests.weights.readers_files import (
    caffe_blob,
    caffe_layer,
    caffe_layer_v1,
    field,
    safetensors_bytes,
    tfjs_model,
    values,
    write,
)

MOST_BYTES = 64 * 2**20  # of memory; every file here is smaller than 10 kB

bounded = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
numbers = st.one_of(
    st.integers(-2, 40), st.sampled_from([2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64, -(2**63)])
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@contextlib.contextmanager
def folder_left_alone():
    """A folder two levels deep, in which nothing may appear outside the inner one."""
    with tempfile.TemporaryDirectory() as outer:
        inner = Path(outer) / "inner"
        inner.mkdir()
        yield inner
        assert list(Path(outer).iterdir()) == [inner]


def read_or_refuse(path: Path) -> bool:
    """Read a file; return whether it was read. Anything but an InputError fails the test."""
    before = sorted(path.parent.iterdir())
    tracemalloc.start()
    try:
        tensors = read_checkpoint(path)
    except InputError as error:
        assert "\n" not in str(error)
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES
        assert sorted(path.parent.iterdir()) == before
    assert all(isinstance(array, np.ndarray) for array in tensors.values())
    return True


@st.composite
def damaged(draw, data: bytes) -> bytes:
    """A file with some bytes changed, a piece cut out or put in, or its end missing."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        way = draw(st.sampled_from(["change", "replace", "cut", "insert", "end"]))
        if way == "change":
            data[start : start + 1] = bytes([draw(st.integers(0, 255))])
        elif way == "replace":
            extreme = draw(st.sampled_from([b"\xff" * 8, b"\x00" * 8, b"\x7f" * 4, b"\x80" * 9]))
            data[start : start + len(extreme)] = extreme
        elif way == "cut":
            del data[start : start + draw(st.integers(1, 64))]
        elif way == "insert":
            data[start:start] = draw(st.binary(min_size=1, max_size=32))
        else:
            del data[start:]
    return bytes(data)


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
SAFETENSORS = safetensors_bytes(
    {
        "a": ENTRY,
        "b": {**ENTRY, "dtype": "BF16", "data_offsets": [24, 36]},
        "__metadata__": {"x": "y"},
    },
    values((9,)).tobytes(),
)
FOUR_DIMENSIONS = field(1, 1) + field(2, 1) + field(3, 1) + field(4, 4)
CAFFEMODEL = (
    field(1, "net")
    + caffe_layer("conv", caffe_blob(values((2, 3, 1, 1))), caffe_blob(values((2,), 1)))
    + caffe_layer_v1("fc", caffe_blob(values((4,), 2), FOUR_DIMENSIONS))
)


def hdf5_bytes() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for key, name in (("conv2d", "a"), ("conv2d_1", "b")):
            file[f"layers/{key}/vars/0"] = values((3, 3, 2, 2))
            file[f"layers/{key}/vars/1"] = values((2,))
            file[f"layers/{key}/vars"].attrs["name"] = name
    return stream.getvalue()


def keras_bytes(compression: int) -> bytes:
    stream = io.BytesIO()
    layer = {"class_name": "Conv2D", "config": {"name": "a"}}
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps({"config": {"layers": [layer]}}))
        archive.writestr("model.weights.h5", hdf5_bytes())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.safetensors", SAFETENSORS),
        ("w.caffemodel", CAFFEMODEL),
        ("w.h5", hdf5_bytes()),
        ("w.keras", keras_bytes(zipfile.ZIP_STORED)),
        ("packed.keras", keras_bytes(zipfile.ZIP_DEFLATED)),
    ],
)
def test_the_undamaged_files_are_read(tmp_path, name, data):
    assert read_or_refuse(write(tmp_path / name, data))


@bounded
@given(damaged(SAFETENSORS))
def test_damaged_safetensors(data):
    with folder_left_alone() as folder:
        read_or_refuse(write(folder / "w.safetensors", data))


tensor_entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F64", "BF16", "I64", "BOOL", "F8_E5M2", "F4", ""])
        | json_values,
        "shape": st.lists(numbers, max_size=4) | json_values,
        "data_offsets": st.tuples(numbers, numbers) | json_values,
    },
)


@bounded
@given(
    st.dictionaries(st.text(max_size=4), tensor_entries | json_values, max_size=3),
    st.binary(max_size=64),
    st.none() | numbers.filter(lambda number: 0 <= number < 2**64),
)
def test_crafted_safetensors_headers(header, data, length):
    content = safetensors_bytes(header, data)
    if length is not None:
        content = length.to_bytes(8, "little") + content[8:]
    with folder_left_alone() as folder:
        read_or_refuse(write(folder / "w.safetensors", content))


shard_names = st.one_of(
    st.sampled_from(["w.bin", "./w.bin", "../w.bin", "/etc/hostname", "model.json", ".", "a\0"]),
    st.text(max_size=6),
)
manifest_entries = st.fixed_dictionaries(
    {"name": st.text(max_size=4) | json_values},
    optional={
        "shape": st.lists(numbers, max_size=3) | json_values,
        "dtype": st.sampled_from(["float32", "int32", "uint8", "bool", "string"]) | json_values,
        "quantization": json_values
        | st.fixed_dictionaries(
            {"dtype": st.sampled_from(["uint8", "uint16", "float16", "int32"])},
            optional={"scale": json_values, "min": json_values},
        ),
    },
)


@bounded
@given(
    st.lists(
        st.fixed_dictionaries(
            {"paths": st.lists(shard_names, max_size=2) | json_values},
            optional={"weights": st.lists(manifest_entries, max_size=3) | json_values},
        )
        | json_values,
        max_size=2,
    ),
    st.binary(max_size=64),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_crafted_tfjs_models(manifest, data):
    with folder_left_alone() as folder:
        path = tfjs_model(folder, [], {"w.bin": data}, weightsManifest=manifest)
        read_or_refuse(path)


@bounded
@given(damaged(CAFFEMODEL))
def test_damaged_caffemodels(data):
    with folder_left_alone() as folder:
        read_or_refuse(write(folder / "w.caffemodel", data))


@bounded
@given(st.integers(0, len(hdf5_bytes()) - 1))
def test_hdf5_files_that_are_cut_off(length):
    with folder_left_alone() as folder:
        assert not read_or_refuse(write(folder / "w.h5", hdf5_bytes()[:length]))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_archives(compression):
    @bounded
    @given(damaged(keras_bytes(compression)))
    def run(data):
        with folder_left_alone() as folder:
            read_or_refuse(write(folder / "w.keras", data))

    run()


@bounded
@given(
    st.binary(max_size=64), st.sampled_from(["w.bin", "w.onnx", "w.caffemodel", "w.json", "w.ckpt"])
)
def test_any_bytes(data, name):
    with folder_left_alone() as folder:
        read_or_refuse(write(folder / name, data))
