"""Keras's HDF5 files and .keras archives, written by Keras itself or, damaged, by h5py."""

import io
import json
import os
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
from keras import layers, ops
from keras.src.legacy.saving import legacy_h5_format

from keras_inception.errors import InputError
from keras_inception.layers import BatchNormalization
from keras_inception.weights.readers import read_checkpoint
from tests.weights.readers_files import values, write


def small_model() -> keras.Model:
    """A layer of every kind that the family uses, and one model within another."""
    inner_input = keras.Input((4, 4, 3))
    x = layers.SeparableConv2D(2, 3, name="sep")(inner_input)
    inner = keras.Model(inner_input, layers.BatchNormalization(scale=False, name="bn")(x))
    inner.name = "inner"
    inputs = keras.Input((8, 8, 3))
    x = inner(layers.Conv2D(3, 3, 2, "same", name="conv")(inputs))
    for name, center, scale in (
        ("full", True, True),
        ("beta", True, False),
        ("none", False, False),
    ):
        x = BatchNormalization(center=center, scale=scale, name=name)(x)
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    x = layers.Dropout(0.5, seed=1, name="dropout")(x)
    x = layers.Dense(2, use_bias=False, name="logits")(layers.Flatten(name="flatten")(x))
    model = keras.Model(inputs, x, name="outer")
    for index, weight in enumerate(model.weights):
        weight.assign(values(weight.shape, index))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def named_weights(model, prefix=""):
    """The truth: every weight by the names of the layers that it lies in and its own."""
    named = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            named |= named_weights(layer, f"{prefix}{layer.name}/")
        else:
            named |= {
                f"{prefix}{layer.name}/{w.name}": ops.convert_to_numpy(w) for w in layer.weights
            }
    return named


def assert_equal_weights(read, truth):
    assert sorted(read) == sorted(truth)
    for name, array in truth.items():
        assert read[name].dtype == array.dtype, name
        np.testing.assert_array_equal(read[name], array, err_msg=name)


def save_legacy_weights(model, path):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("model.h5", lambda model, path: model.save(path)),
        ("weights.h5", save_legacy_weights),
        ("model.weights.h5", lambda model, path: model.save_weights(path)),
        ("model.keras", lambda model, path: model.save(path)),
    ],
)
def test_every_keras_format_gives_the_weights_under_their_names(model, tmp_path, name, save):
    save(model, tmp_path / name)
    assert_equal_weights(read_checkpoint(tmp_path / name), named_weights(model))


def test_legacy_files_keep_the_order_of_the_layers(model, tmp_path):
    save_legacy_weights(model, tmp_path / "w.h5")
    order = list(dict.fromkeys(name.split("/")[0] for name in read_checkpoint(tmp_path / "w.h5")))
    assert order == ["conv", "inner", "full", "beta", "none", "depthwise", "logits"]


def test_only_the_configuration_tells_gamma_from_beta(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layers.BatchNormalization(center=False, name="bn")(inputs))
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    assert list(read_checkpoint(tmp_path / "m.keras"))[0] == "bn/gamma"
    assert list(read_checkpoint(tmp_path / "m.weights.h5"))[0] == "bn/beta"


def test_bfloat16_becomes_float32(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype="bfloat16", name="fc")])
    model.save_weights(tmp_path / "m.weights.h5")
    kernel = read_checkpoint(tmp_path / "m.weights.h5")["fc/kernel"]
    assert kernel.dtype == np.float32
    truth = ops.convert_to_numpy(model.layers[0].kernel).astype(np.float32)
    np.testing.assert_array_equal(kernel, truth)


def test_quantised_layers_keep_numbers_for_names(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, use_bias=False, name="fc")])
    model.quantize("int8")
    model.save_weights(tmp_path / "m.weights.h5")
    assert list(read_checkpoint(tmp_path / "m.weights.h5")) == ["fc/0", "fc/1"]


class Subclassed(keras.Model):
    """Layers as an attribute and in a list, and a weight of the model's own."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.begin = layers.Conv2D(2, 3, name="first")
        self.blocks = [layers.Dense(2, name="second"), layers.Dense(2, name="third")]
        self.own = self.add_weight(shape=(2,), name="own")

    def call(self, inputs):
        return self.blocks[1](self.blocks[0](self.begin(inputs))) + self.own


def test_subclassed_models(tmp_path):
    model = Subclassed()
    model(np.zeros((1, 4, 4, 3)))
    model.save_weights(tmp_path / "m.weights.h5")
    # "begin" says nothing about the class of the layer, so that its variables keep their numbers.
    read = read_checkpoint(tmp_path / "m.weights.h5")
    assert {name: array.shape for name, array in read.items()} == {
        "first/0": (3, 3, 3, 2),
        "first/1": (2,),
        "blocks/second/kernel": (2, 2),
        "blocks/second/bias": (2,),
        "blocks/third/kernel": (2, 2),
        "blocks/third/bias": (2,),
        "0": (2,),
    }
    save_legacy_weights(model, tmp_path / "m.h5")
    assert list(read_checkpoint(tmp_path / "m.h5")) == [
        *("first/kernel", "first/bias"),
        *("second/kernel", "second/bias", "third/kernel", "third/bias", "subclassed/own"),
    ]


def write_legacy(path, weights, **attributes):
    """Write layers as Keras 2 did: names are lists of bytes, with ":0" behind those of weights."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in weights]
        for layer, arrays in weights.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
        for name, value in attributes.items():
            file.attrs[name] = value
    return path


@pytest.mark.parametrize(
    ("layer", "weight", "expected"),
    [
        ("conv2d_1", "conv2d_1/kernel:0", "conv2d_1/kernel"),
        ("conv2d_1", "conv2d_1_2/kernel:0", "conv2d_1/kernel"),  # the second model of a session
        ("conv2d_1", "model/conv2d_1/kernel:0", "conv2d_1/kernel"),
        ("conv2d_1", "conv2d_11/kernel:0", "conv2d_1/conv2d_11/kernel"),
        ("block/conv", "block/conv/kernel:0", "block/conv/kernel"),
        ("convolution2d_1", "convolution2d_1_W:0", "convolution2d_1/convolution2d_1_W"),  # Keras 1
        ("inner", "conv/kernel:0", "inner/conv/kernel"),
    ],
)
def test_names_of_legacy_files(tmp_path, layer, weight, expected):
    path = write_legacy(tmp_path / "w.h5", {layer: {weight: values((2,))}})
    assert list(read_checkpoint(path)) == [expected]


def test_a_nested_model_keeps_layers_that_differ_by_a_counter_apart(tmp_path):
    names = {"block_1/kernel:0": values((2,)), "block_2/kernel:0": values((2,))}
    path = write_legacy(tmp_path / "w.h5", {"block": names})
    assert list(read_checkpoint(path)) == ["block/block_1/kernel", "block/block_2/kernel"]


def test_lists_of_names_may_be_split_over_several_attributes(tmp_path):
    path = tmp_path / "w.h5"  # with more than the 64 kB of names that one attribute may take
    truth = {f"{'x' * 1000}{index}": values((1,), index) for index in range(70)}
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_attributes_to_hdf5_group(
            file, "layer_names", [name.encode() for name in truth]
        )
        assert "layer_names1" in file.attrs
        for name, array in truth.items():
            file.create_group(name).attrs["weight_names"] = [b"w:0"]
            file[name]["w:0"] = array
    read = read_checkpoint(path)
    assert_equal_weights(read, {f"{name}/w": array for name, array in truth.items()})


def test_without_stored_names_the_groups_name_the_layers(tmp_path):
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:  # as TensorFlow 2.13 wrote
        file["_layer_checkpoint_dependencies/conv2d_3/vars/0"] = values((1, 1, 2, 2))
        file["_layer_checkpoint_dependencies/prelu/vars/0"] = values((2,))
        file["metrics/mean/vars/0"] = values(())
        file["optimizer/vars/0"] = values(())
    assert list(read_checkpoint(tmp_path / "w.weights.h5")) == ["conv2d_3/kernel", "prelu/0"]


def test_variables_are_numbered_beyond_nine(tmp_path):
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for index in range(12):
            file[f"layers/cell/vars/{index}"] = np.float32(index)
    read = read_checkpoint(tmp_path / "w.weights.h5")
    assert list(read) == [f"cell/{index}" for index in range(12)]
    assert [float(value) for value in read.values()] == list(range(12))


def test_big_endian_values_are_turned(tmp_path):
    path = write_legacy(tmp_path / "w.h5", {"fc": {"fc/kernel": np.array([1, 2], ">f4")}})
    kernel = read_checkpoint(path)["fc/kernel"]
    assert kernel.dtype.isnative
    assert kernel.tolist() == [1, 2]


# What Keras does not write. Each case gets an open file and the folder that it lies in.


def two_layers_of_one_name(file, folder):
    for key in ("conv2d", "dense"):
        file[f"layers/{key}/vars/0"] = values((2,))
        file[f"layers/{key}/vars"].attrs["name"] = "twin"


def one_weight_twice(file, folder):
    file["fc/kernel"] = values((2,))
    file["fc"].attrs["weight_names"] = [b"kernel", b"kernel"]
    file.attrs["layer_names"] = [b"fc"]


def soft_link(file, folder):
    file["layers/conv2d/vars/0"] = values((2,))
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/0")


def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["kernel"] = values((2,))
    file["layers/dense/vars/0"] = h5py.ExternalLink("other.h5", "/kernel")


def external_model(file, folder):
    file["model_weights"] = h5py.ExternalLink("other.h5", "/")


def external_storage(file, folder):
    storage = write(folder / "secret", bytes(8))
    file.create_dataset("layers/dense/vars/0", (2,), "f4", external=str(storage))


def virtual_dataset(file, folder):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (2,))
    file.create_group("layers/dense/vars").create_virtual_dataset("0", layout)


def compressed(file, folder):
    file.create_dataset("layers/dense/vars/0", data=np.zeros(10**6), compression="gzip")


def never_written(file, folder):
    file.create_dataset("layers/dense/vars/0", (3,), "f4")


def larger_than_the_file(file, folder):
    file.create_dataset("layers/dense/vars/0", (10**12,), "f4")


def one_dataset_under_many_names(file, folder):
    file["layers/dense/vars/0"] = values((10_000,))
    for index in range(1, 5):
        file[f"layers/dense_{index}/vars/0"] = file["layers/dense/vars/0"]


def group_in_itself(file, folder):
    file["layers/dense/vars/0"] = values((2,))
    file["layers/dense/dense"] = file["layers"]


def strings(file, folder):
    file["layers/dense/vars/0"] = ["a", "b"]


def empty(file, folder):
    file["layers/dense/vars/0"] = h5py.Empty("f4")


def dataset_beside_layers(file, folder):
    file["layers/dense"] = values((2,))


def group_as_variable(file, folder):
    file.create_group("layers/dense/vars/0")


def missing_layer(file, folder):
    file.attrs["layer_names"] = [b"gone"]


def odd_path(file, folder):
    file.create_group("fc").attrs["weight_names"] = [b"./kernel"]
    file.attrs["layer_names"] = [b"fc"]


def path_through_a_dataset(file, folder):
    file["fc/kernel"] = values((2,))
    file["fc"].attrs["weight_names"] = [b"kernel/0"]
    file.attrs["layer_names"] = [b"fc"]


def names_that_are_numbers(file, folder):
    file.attrs["layer_names"] = [1, 2]


def no_layers(file, folder):
    file.create_group("model_weights")


def not_keras(file, folder):
    file["images"] = values((2,))


FAULTS = {
    two_layers_of_one_name: "it holds two tensors named 'twin/kernel', and only one can be meant.",
    one_weight_twice: "it holds two tensors named 'fc/kernel', and only one can be meant.",
    soft_link: "/layers/dense/vars has '0' as a link: links are not followed.",
    external_link: "/layers/dense/vars has '0' as a link: links are not followed.",
    external_model: "/ has 'model_weights' as a link: links are not followed.",
    external_storage: "dataset /layers/dense/vars/0 lies in other files, which are not opened.",
    virtual_dataset: "dataset /layers/dense/vars/0 lies in other files, which are not opened.",
    compressed: "dataset /layers/dense/vars/0 is compressed, which no version of Keras does: "
    "unpack it with `h5repack -f NONE old.h5 new.h5`.",
    never_written: "dataset /layers/dense/vars/0 declares 12 bytes, but stores 0.",
    larger_than_the_file: "tensor '/layers/dense/vars/0' of shape (1000000000000,) needs "
    "4,000,000,000,000 bytes, but only ",
    one_dataset_under_many_names: "of shape (10000,) needs 40,000 bytes, but only ",
    group_in_itself: "group /layers/dense/dense stands under two names, which Keras never does.",
    strings: "dataset /layers/dense/vars/0 holds object, not numbers.",
    empty: "dataset /layers/dense/vars/0 holds float32, not numbers.",
    dataset_beside_layers: "dataset /layers/dense stands where Keras has none.",
    group_as_variable: "/layers/dense/vars holds groups where Keras has variables.",
    missing_layer: "/ has no entry 'gone', though the file names it.",
    odd_path: "/fc has no entry './kernel', though the file names it.",
    path_through_a_dataset: "/fc has no entry 'kernel/0', though the file names it.",
    names_that_are_numbers: "attribute 'layer_names' of / should be text, is [1, 2].",
    no_layers: "it holds no weights.",
    not_keras: "it is HDF5, but not Keras's: at its top are ['images'].",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_keras_does_not_write_is_refused(tmp_path, fault):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        fault(file, tmp_path)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert FAULTS[fault] in str(caught.value)


def test_a_link_into_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")  # opening it would wait for ever
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(tmp_path / "pipe.h5"), "/")
    with pytest.raises(InputError, match="links are not followed"):
        read_checkpoint(tmp_path / "w.h5")


def test_two_bytes_without_a_meaning_are_refused_unless_marked(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/dense/vars/0"] = values((3,), dtype=ml_dtypes.bfloat16)
    with pytest.raises(InputError, match=r"dataset /layers/dense/vars/0 holds \|V2, not numbers\."):
        read_checkpoint(tmp_path / "w.h5")


def keras_archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def weights_bytes(array):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/dense/vars/0"] = array
    return stream.getvalue()


CONFIG = json.dumps({"class_name": "Functional", "config": {"layers": ["custom", {"config": 1}]}})


def test_an_archive_that_was_packed_again_is_read(tmp_path):
    array = values((30, 30))
    members = {
        "metadata.json": "{}",
        "config.json": CONFIG,
        "model.weights.h5": weights_bytes(array),
    }
    path = keras_archive(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(read_checkpoint(path)["dense/kernel"], array)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"metadata.json": "{}", "config.json": CONFIG, "model.weights.npz": "x"},
            "it has no member 'model.weights.h5', only metadata.json, config.json, model.weights.n",
        ),
        (
            {"metadata.json": "{}", "config.json": "{", "model.weights.h5": "x"},
            "config.json is not valid JSON: Expecting property name",
        ),
        (
            {"metadata.json": "{}", "config.json": "[" * 10**5, "model.weights.h5": "x"},
            "config.json is not valid JSON: maximum recursion depth exceeded",
        ),
    ],
    ids=["no weights", "half a configuration", "a deep configuration"],
)
def test_damaged_archives_are_refused(tmp_path, members, message):
    path = keras_archive(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert message in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path):
    members = {"metadata.json": "{}", "config.json": "{}", "model.weights.h5": bytes(2 * 10**7)}
    path = keras_archive(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED)
    message = (
        r"from [\d,]+ to 20,000,004 bytes, more than 10 times its size: this is no weight file"
    )
    with pytest.raises(InputError, match=message):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    path = keras_archive(tmp_path / "m.keras", {"metadata.json": "{}", "config.json": "{}"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match=r"the archive has two members named 'config\.json'\."):
        read_checkpoint(path)


def test_members_that_claim_more_than_the_archive_holds_are_refused(tmp_path):
    path = keras_archive(tmp_path / "m.keras", {"metadata.json": "{}", "config.json": "{}"})
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")  # the first entry of the directory at the end
    data = data[: entry + 20] + (10**6).to_bytes(4, "little") + data[entry + 24 :]
    message = rf"members claim 1,000,002 bytes, more than its {len(data)} bytes\."
    with pytest.raises(InputError, match=message):
        read_checkpoint(write(path, data))


def test_a_member_that_unpacks_to_more_than_it_declares_is_cut(tmp_path):
    members = {"metadata.json": "{}", "config.json": " " * 10**7, "model.weights.h5": "x"}
    path = keras_archive(tmp_path / "m.keras", members, zipfile.ZIP_DEFLATED)
    declared = (10**7).to_bytes(4, "little")
    write(path, path.read_bytes().replace(declared, (100).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"could not be read as a \.keras archive.*Bad CRC-32"):
        read_checkpoint(path)
