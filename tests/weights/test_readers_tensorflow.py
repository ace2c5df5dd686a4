"""Checkpoints of TensorFlow 1, written by its Saver."""

import shutil

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.weights.readers import read_checkpoint
from tests.weights.readers_files import values, write

v1 = tf.compat.v1

TRUTH = {
    "InceptionV9/Conv2d_1a_3x3/weights": values((3, 3, 2, 4)),
    "InceptionV9/Conv2d_1a_3x3/weights/RMSProp": values((3, 3, 2, 4), 1),
    "InceptionV9/Logits/biases": values((5,), 2),
    "global_step": np.int64(10**6),
}
V2_ONLY = {"half": values((3,), 3, ml_dtypes.bfloat16), "note": np.array(b"text", object)}


def save(path, version, arrays):
    with tf.Graph().as_default(), v1.Session() as session:
        for name, array in arrays.items():
            v1.get_variable(name, initializer=tf.constant(array))
        session.run(v1.global_variables_initializer())
        v1.train.Saver(write_version=version).save(session, str(path))


@pytest.fixture
def one_file(tmp_path):
    save(tmp_path / "one.ckpt", v1.train.SaverDef.V1, TRUTH)
    return tmp_path / "one.ckpt"


@pytest.fixture
def two_files(tmp_path):
    save(tmp_path / "two.ckpt", v1.train.SaverDef.V2, TRUTH | V2_ONLY)
    return tmp_path / "two.ckpt"


def assert_is_truth(read, truth):
    assert list(read) == sorted(truth)
    for name, array in truth.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_v1_files(one_file):
    assert_is_truth(read_checkpoint(one_file), TRUTH)


@pytest.mark.parametrize("part", ["", ".index", ".data-00000-of-00001"])
def test_v2_checkpoints_by_any_of_their_names(two_files, part):
    read = read_checkpoint(f"{two_files}{part}")
    assert_is_truth(read, TRUTH | {"half": V2_ONLY["half"].astype(np.float32)})


def test_partitioned_variables_are_joined(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        parts = v1.fixed_size_partitioner(2)
        v1.get_variable("kernel", initializer=tf.constant(TRUTH["global_step"].reshape(1)))
        variable = v1.get_variable("split", (4, 2), partitioner=parts)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "m"))
        expected = session.run(tf.concat(list(variable), 0))
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "m")["split"], expected)


@pytest.mark.parametrize("name", ["v[1].ckpt", "v*.ckpt", "v?.ckpt"])
def test_names_that_tensorflow_takes_for_patterns(one_file, two_files, name):
    path = one_file.with_name(name)
    shutil.copy(one_file, path)
    assert_is_truth(read_checkpoint(path), TRUTH)
    shutil.copy(f"{two_files}.index", f"{path}.index")
    shutil.copy(f"{two_files}.data-00000-of-00001", f"{path}.data-00000-of-00001")
    with pytest.raises(InputError, match=r"takes \*, \? and \[ in a path as patterns: rename or m"):
        read_checkpoint(f"{path}.index")


def test_a_v1_file_beside_an_index_of_its_name_is_refused(one_file, two_files):
    shutil.copy(f"{two_files}.index", f"{one_file}.index")
    message = r"beside this V1 checkpoint lies one\.ckpt\.index: give that, or move it away\."
    with pytest.raises(InputError, match=message):
        read_checkpoint(one_file)


def test_missing_data(two_files):
    two_files.with_name("two.ckpt.data-00000-of-00001").unlink()
    message = r"its data is missing: expected two\.ckpt\.data-00000-of-00001 \(or more shards\)"
    with pytest.raises(InputError, match=message):
        read_checkpoint(two_files)


def test_missing_index(two_files):
    two_files.with_name("two.ckpt.index").unlink()
    shard = two_files.with_name("two.ckpt.data-00000-of-00001")
    with pytest.raises(InputError) as caught:
        read_checkpoint(shard)
    assert str(caught.value) == (
        f"{shard} is a data shard whose index two.ckpt.index is missing beside it."
    )


def test_data_that_is_cut_off_is_refused_before_it_is_read(two_files):
    shard = two_files.with_name("two.ckpt.data-00000-of-00001")
    write(shard, shard.read_bytes()[:300])
    message = r"tensor '.*' of shape .* needs 288 bytes, but only .* of the file's 300 bytes"
    with pytest.raises(InputError, match=message):
        read_checkpoint(two_files)


def test_altered_data_are_refused(two_files):
    shard = two_files.with_name("two.ckpt.data-00000-of-00001")
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    write(shard, bytes(data))
    with pytest.raises(InputError, match="could not be read as a TensorFlow checkpoint"):
        read_checkpoint(two_files)


def test_a_v1_file_that_is_cut_off(one_file):
    write(one_file, one_file.read_bytes()[:-20])
    message = "should be a TensorFlow checkpoint by its ending, but seems to be data of no known"
    with pytest.raises(InputError, match=message):
        read_checkpoint(one_file)


def test_the_graph_beside_a_checkpoint_is_told_from_it(two_files):
    message = (
        r"is a TensorFlow graph, which is not read\. Give the checkpoint \(\.ckpt or \.index\)"
    )
    with pytest.raises(InputError, match=message):
        read_checkpoint(f"{two_files}.meta")
