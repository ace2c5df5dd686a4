"""From what a builder is told to the weights in its model, without a network."""

import dataclasses
import errno
import functools
import json
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_inception as ki
from keras_inception.errors import InputError, MissingExtra
from keras_inception.weights import loading, manifest, storage
from keras_inception.weights.assign import assign
from keras_inception.weights.loading import NamedWeights, OwnFile, convert, find
from keras_inception.weights.readers import read_checkpoint
from tests.weights.golden_files import golden
from tests.weights.small_files import build_small, small, snapshot, tensors

V1 = golden("slim_inception_v1")
V3 = golden("slim_inception_v3")
FACENET = golden("facenet_inception_resnet_v1")
CONVERT = "keras-inception weights convert IN OUT --model MODEL --publisher PUBLISHER"


# What a name means


def test_no_weights():
    assert find(None, "InceptionV4", None) is None


def test_imagenet_is_the_default_of_the_model():
    for model in ki.list_models():
        entry = manifest.default_weights(model)
        if entry is not None:
            source = find("imagenet", model, None)
            assert source == NamedWeights(entry)
            assert source.architecture == entry.architecture


def test_a_model_without_public_weights():
    with pytest.raises(InputError, match="InceptionV2 has no public weights. Build it with"):
        find("imagenet", "InceptionV2", None)


def test_every_id_belongs_to_its_model():
    for entry in manifest.list_weights():
        assert find(entry.id, entry.model, None).entry is entry
        assert find(entry.id, entry.model, entry.architecture).entry is entry


def test_weights_of_another_network():
    with pytest.raises(InputError) as caught:
        find("timm.inception_v4.tf_in1k", "InceptionV3", None)
    message = str(caught.value)
    assert "'timm.inception_v4.tf_in1k' belong to InceptionV4, not to InceptionV3." in message
    assert "Did you mean timm.inception_v3.tf_in1k" in message


def test_weights_and_an_architecture_that_they_do_not_fit():
    with pytest.raises(ValueError) as caught:
        ki.InceptionV3(weights="keras.inception_v3", architecture="fid")
    message = str(caught.value)
    assert "'keras.inception_v3' need architecture='paper', not 'fid'" in message
    assert "take weights of 'fid': pytorch_fid.pt_inception-2015-12-05." in message
    with pytest.raises(InputError, match="weights of 'paper': there are none."):
        find("imagenet", "InceptionResNetV1", "paper")


def test_weights_and_a_width():
    with pytest.raises(InputError, match=r"'keras.inception_v3' have width=1.0, not 0.5"):
        ki.InceptionV3(weights="keras.inception_v3", width=0.5)


def test_unknown_names_suggest_near_ones():
    with pytest.raises(InputError) as caught:
        find("timm.inception_v4", "InceptionV4", None)
    message = str(caught.value)
    assert "Unknown weights of InceptionV4: 'timm.inception_v4'. Did you mean" in message
    assert "timm.inception_v4.tf_in1k" in message
    assert "Nor is it the path of a file." in message and CONVERT in message


def test_paths_that_are_none_of_ours(tmp_path):
    cases = {
        tmp_path / "missing.weights.h5": "There is no file",
        "missing.keras": "There is no file",
        tmp_path / "inception_v4.ckpt": "There is no file",
        tmp_path: "is a folder; give a file",
        tmp_path / "inception_v3.h5": "is no file of this package",
        tmp_path / "model.ckpt": "is no file of this package",
    }
    (tmp_path / "inception_v3.h5").touch()
    (tmp_path / "model.ckpt.index").touch()
    for path, reason in cases.items():
        with pytest.raises(InputError) as caught:
            find(path, "InceptionV4", None)
        assert reason in str(caught.value) and str(path) in str(caught.value)
        assert CONVERT in str(caught.value)


def test_weights_that_are_no_name():
    with pytest.raises(InputError, match="weights is True; expected a name, a path or None."):
        find(True, "InceptionV4", None)


def test_files_that_tell_no_architecture_fit_any(tmp_path):
    """What is no whole network of this package is judged by its tensors alone."""
    path = tmp_path / "mine.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")]).save_weights(path)
    paper = frozenset(("conv2d", f"conv2d_{block}_conv") for block in ("1a", "2a"))
    for given in (path, str(path)):
        source = find(given, "InceptionV3", "fid", 0.5, [("paper", paper)])
        assert source == OwnFile(path, None, {})
        assert list(source.tensors) == ["logits/kernel", "logits/bias"]


def test_foreign_files_with_our_ending_are_to_be_converted(tmp_path):
    path = tmp_path / "foreign.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(InputError, match="do not fit googlenet") as caught:
        ki.GoogLeNet(weights=path, width=0.05, input_shape=(32, 32, 3))
    assert CONVERT in str(caught.value)


def test_offline_missing_weights_are_told_before_a_network_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    monkeypatch.setattr(keras, "Model", lambda *a, **k: pytest.fail("built"))
    with pytest.raises(InputError, match="KERAS_INCEPTION_OFFLINE forbids the network"):
        ki.InceptionV3()


# Converting


@pytest.fixture
def file(tmp_path):
    """Write a checkpoint of a small network as safetensors."""

    def write(case, **changes):
        path = tmp_path / f"{case.file}.safetensors"
        save_file(tensors(case) | changes, path)
        return path

    return write


@pytest.mark.parametrize("ending", [".weights.h5", pytest.param(".keras", marks=pytest.mark.slow)])
def test_converted_files_hold_the_same_bits(file, tmp_path, ending):
    target = tmp_path / f"converted{ending}"
    assignment = convert(file(V1), target, functools.partial(build_small, V1), "slim")
    assert not assignment.dropped
    expected = build_small(V1)
    assign(expected, tensors(V1), "slim")
    converted = build_small(V1)
    find(target, "GoogLeNet", None).load(converted, None)
    assert snapshot(converted) == snapshot(expected)
    if ending == ".keras":
        assert snapshot(keras.saving.load_model(target)) == snapshot(expected)
    else:
        plain = build_small(V1)
        plain.load_weights(target)
        assert snapshot(plain) == snapshot(expected)


@pytest.mark.slow
def test_auxiliary_heads_that_the_network_lacks_are_dropped(tmp_path):
    """As in torchvision's GoogLeNet, whose heads are not those of the paper."""
    case = golden("torchvision_googlenet")
    source, target = tmp_path / "googlenet.safetensors", tmp_path / "googlenet.weights.h5"
    save_file(case.tensors(), source)
    build = functools.partial(
        ki.build, case.model, weights=None, architecture="torchvision", classifier_activation=None
    )
    dropped = convert(source, target, build, case.publisher).dropped
    assert dropped["aux1.fc2.weight"] == "the model has no aux1_logits"
    with pytest.raises(InputError, match="has no auxiliary heads; build it with"):
        convert(source, target, build, case.publisher, aux_heads=True)
    model = ki.GoogLeNet(weights=target, classifier_activation=None)
    original = np.asarray(case.content["logits"])
    assert np.abs(np.ravel(model(case.image())) - original).max() <= 1e-3 * original.std()


@pytest.mark.slow
def test_auxiliary_heads_are_converted_as_asked(file, tmp_path):
    built = []

    def build(**arguments):
        built.append(arguments)
        return build_small(V3, **arguments)

    target = tmp_path / "v3.weights.h5"
    assert not convert(file(V3), target, build, "slim").dropped
    dropped = convert(file(V3), target, build, "slim", aux_heads=False).dropped
    assert {why.partition("aux")[0] for why in dropped.values()} == {"the model has no "}
    assert built == [{"classes": 5, "aux_heads": True}, {"classes": 5, "aux_heads": False}]


def test_files_without_classes_are_converted_without(tmp_path):
    built = []

    def build(case, **arguments):
        built.append(arguments)
        return build_small(case, **arguments)

    for case, head in ((V1, "Logits"), (FACENET, "logits")):
        headless = {name: value for name, value in tensors(case).items() if head not in name}
        path = tmp_path / f"{case.file}.safetensors"
        save_file(headless, path)
        convert(path, tmp_path / "x.weights.h5", functools.partial(build, case), case.publisher)
    assert built == [
        {"include_top": False, "pooling": None},
        {"include_top": False, "pooling": "bottleneck"},
    ]


def test_conversion_is_in_full_precision(file, tmp_path):
    target = tmp_path / "v1.weights.h5"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        convert(file(V1), target, functools.partial(build_small, V1), "slim")
        assert keras.config.dtype_policy().name == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    model = build_small(V1)
    find(target, "GoogLeNet", None).load(model, None)
    kernel = model.get_layer("conv2d_1a_conv").kernel
    np.testing.assert_array_equal(kernel, tensors(V1)["InceptionV1/Conv2d_1a_7x7/weights"])


def test_a_failed_conversion_leaves_the_target(file, tmp_path):
    target = tmp_path / "v1.weights.h5"
    target.write_text("old")
    with pytest.raises(InputError, match="1 left over: surprise"):
        source = file(V1, surprise=np.zeros(1, "float32"))
        convert(source, target, functools.partial(build_small, V1), "slim")
    assert target.read_text() == "old"
    with pytest.raises(InputError, match=r"v1.h5 should end in .weights.h5 or .keras"):
        convert(source, tmp_path / "v1.h5", functools.partial(build_small, V1), "slim")


CONVERT_V4 = """
import functools, json, sys, time
import keras_inception as ki
from keras_inception.jobs.benchmark.worker import most_memory
from keras_inception.weights.loading import convert

build = functools.partial(ki.build, "InceptionV4", weights=None)
start = time.monotonic()
assignment = convert(sys.argv[1], sys.argv[2], build, "slim")
seconds = time.monotonic() - start
print(json.dumps([seconds, most_memory() / 2**30, assignment.loaded]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_inception_v4_is_converted_quickly_and_exactly(tmp_path, ending):
    original = golden("slim_inception_v4").tensors()
    source, target = tmp_path / "v4.safetensors", tmp_path / f"v4{ending}"
    save_file(original, source)
    done = subprocess.run(
        [sys.executable, "-c", CONVERT_V4, source, target],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    seconds, gigabytes, loaded = json.loads(done.stdout.splitlines()[-1])
    assert seconds < 30 and gigabytes < 3
    converted = read_checkpoint(target)
    assert sorted(loaded.values()) == sorted(original)
    for variable, name in loaded.items():
        assert converted[variable].tobytes() == original[name].tobytes(), variable
    assert all(np.all(converted[n] == 1) for n in set(converted) - set(loaded))


# Named weights, from a cache folder that has them


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Put a checkpoint into the cache folder, and return its source."""
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")

    def publish(case, weights_id, keep=lambda name: True):
        entry = dataclasses.replace(
            manifest.info(weights_id),
            urls=(), archive=None, members=(), format="safetensors", size_bytes=None, checksums=(),
        )  # fmt: skip
        path = storage.home() / entry.file_name
        path.parent.mkdir(exist_ok=True)
        save_file({name: value for name, value in tensors(case).items() if keep(name)}, path)
        return NamedWeights(entry), path

    return publish


def builder(case):
    """What `models` gives: it builds the same network with the heads of a checkpoint."""
    return functools.partial(build_small, case)


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_named_weights_are_loaded_and_kept_converted(published):
    source, path = published(V1, "tf_slim.inception_v1_2016_08_28")
    model = build_small(V1)
    source.load(model, builder(V1))
    expected = build_small(V1)
    assign(expected, tensors(V1), "slim")
    assert snapshot(model) == snapshot(expected)

    kept = [p.name for p in storage.home().glob("*.weights.h5")]
    assert len(kept) == 1 and kept[0].startswith("tf_slim.inception_v1_2016_08_28.sha256-")
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    source.load(model, lambda **heads: pytest.fail("converted twice"))
    assert snapshot(model) == snapshot(expected)

    path.unlink()
    loading._check_cache(source.entry)  # what is converted does without the original
    (storage.home() / kept[0]).unlink()
    with pytest.raises(InputError, match="KERAS_INCEPTION_OFFLINE forbids the network"):
        loading._check_cache(source.entry)


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_other_classes_load_the_trunk(published):
    source, _ = published(V3, "tf_slim.inception_v3_2016_08_28")
    model = build_small(V3, classes=3)
    assignment = source.load(model, builder(V3))
    heads = ("logits", "aux_logits")
    assert set(assignment.kept) == {f"{h}/{v}" for h in heads for v in ("kernel", "bias")}
    assert "aux_conv1_conv/kernel" in assignment.loaded
    expected = small(V3)
    assign(expected, tensors(V3), "slim")
    for name in ("conv2d_1a_conv", "aux_conv2_conv"):
        np.testing.assert_array_equal(model.get_layer(name).kernel, expected.get_layer(name).kernel)
    trunk = source.load(build_small(V3, include_top=False), builder(V3))
    assert trunk.dropped["logits/kernel"] == "the model has no logits"


@pytest.mark.filterwarnings("ignore:No checksum of")
@pytest.mark.parametrize("classes", [5, 3])
def test_layers_in_front_keep_what_they_have(published, classes):
    source, _ = published(V1, "tf_slim.inception_v1_2016_08_28")
    in_front = keras.layers.Normalization(name="as_here")
    in_front.adapt(np.random.default_rng(0).normal(3, 2, (50, 4, 4, 3)))
    before = snapshot(in_front)
    image = keras.Sequential([in_front])(keras.Input(small(V1).input_shape[1:]))
    model = build_small(V1, classes=classes, input_tensor=image)
    source.load(model, builder(V1))
    expected = small(V1)
    assign(expected, tensors(V1), "slim")
    for layer in expected.layers:
        if layer.weights and (classes == 5 or layer.name != "logits"):
            assert snapshot(model.get_layer(layer.name)) == snapshot(layer)
    assert snapshot(in_front) == before


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_converting_draws_no_random_numbers(published):
    source, _ = published(V1, "tf_slim.inception_v1_2016_08_28")
    model = build_small(V1)
    before = random.getstate()
    source.load(model, builder(V1))
    assert random.getstate() == before


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_a_download_of_no_use_does_not_stay(published):
    source, path = published(V1, "tf_slim.inception_v1_2016_08_28")
    path.write_text("a page that says sorry")
    message = (
        "but seems to be a text file.* No checksum vouches for .*, so it was deleted; fetch it"
    )
    with pytest.raises(InputError, match=message):
        source.load(build_small(V1), builder(V1))
    assert [file.name for file in storage.home().iterdir() if file.name[0] != "."] == []


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_a_folder_that_cannot_be_written_is_told(published, monkeypatch):
    source, path = published(V1, "tf_slim.inception_v1_2016_08_28")
    source.load(build_small(V1), builder(V1))
    for kept in storage.home().glob("*.weights.h5"):
        kept.unlink()

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", f".{path.name}.lock")

    monkeypatch.setattr(storage, "workshop", refuse)
    with pytest.raises(InputError, match="is there, but its converted form cannot be written bes"):
        source.load(build_small(V1), builder(V1))
    assert path.is_file()


@pytest.fixture
def no_download(monkeypatch):
    def fetch(*arguments, **options):
        pytest.fail("it was fetched")

    monkeypatch.setattr(loading.cache, "fetch_checkpoint", fetch)


def test_what_is_known_to_lack_is_told_before_a_download(no_download, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path))
    with pytest.raises(InputError, match="have no auxiliary heads. Build the model with aux_h"):
        ki.InceptionV3(weights="keras.inception_v3", aux_heads=True)
    monkeypatch.setitem(sys.modules, "torch", None)
    source = find("facenet_pytorch.20180402-114759-vggface2", "InceptionResNetV1", None)
    with pytest.raises(MissingExtra, match=r'pip install "keras-inception\[torch\]"'):
        source.load(build_small(FACENET), builder(FACENET))


@pytest.mark.filterwarnings("ignore:No checksum of")
def test_a_head_of_1000_that_is_left_random_is_told(published):
    source, _ = published(V1, "tf_slim.inception_v1_2016_08_28")
    with pytest.warns(UserWarning, match="2016_08_28' have 5 classes: the class head of the model"):
        source.load(build_small(V1, classes=1000), builder(V1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No checksum of")
def test_auxiliary_heads_that_the_weights_lack(published):
    source, _ = published(V3, "keras.inception_v3", keep=lambda name: "AuxLogits" not in name)
    source = NamedWeights(dataclasses.replace(source.entry, publisher="slim"))
    with pytest.raises(InputError) as caught:
        source.load(build_small(V3), builder(V3))
    message = str(caught.value)
    assert message.startswith(
        "Weights 'keras.inception_v3' have no auxiliary heads. Build the model"
    )
    assert "tf_slim.inception_v3_2016_08_28" in message
    source.load(build_small(V3, aux_heads=False), builder(V3))
