"""Files of our own networks: the same bits back, and nothing that Keras would load by chance."""

import functools
import io
import re
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception import models
from keras_inception.errors import InputError
from keras_inception.networks import NETWORKS
from keras_inception.weights.loading import find
from keras_inception.weights.own_files import trunk_of
from tests.weights.small_files import snapshot
from tests.zoo import CASES, Case, every

ENDINGS = (".weights.h5", ".keras")
SMALL = ("googlenet.paper", "inception_v2.paper")
every_network = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.id, marks=() if case.id in SMALL else pytest.mark.slow)
        for case in {case.model: case for case in reversed(CASES)}.values()  # one a network
    ],
)
every_ending = pytest.mark.parametrize("ending", ENDINGS)
GOOGLENET = next(case for case in CASES if case.id == "googlenet.slim")


@functools.cache
def network(case: Case) -> keras.Model:
    """A small network with numbers of its own in every variable."""
    model = case.small()
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 1, variable.shape))
    return model


@functools.cache
def content(case: Case) -> list[bytes]:
    """What is in `network(case)` before a test, and in its files."""
    return snapshot(network(case))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the file of a network, written by Keras once."""
    folder = tmp_path_factory.mktemp("saved")

    def save(case, ending):
        path = folder / f"{case.id}{ending}"
        if not path.exists():
            assert snapshot(network(case)) == content(case)
            (network(case).save if ending == ".keras" else network(case).save_weights)(path)
        return path

    return save


def edit(path, target, change):
    """Copy a file and change the HDF5 file in it."""
    if path.suffix != ".keras":
        shutil.copy(path, target)
        with h5py.File(target, "r+") as file:
            change(file["layers"])
        return target
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        change(file["layers"])
    members["model.weights.h5"] = stream.getvalue()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def names(layers):
    return {key: group["vars"].attrs["name"] for key, group in layers.items() if "vars" in group
            and len(group["vars"])}  # fmt: skip


def load(path, model):
    return find(path, "GoogLeNet", None).load(model, None)


@every_network
def test_every_bit_comes_back(case, saved):
    for path in [saved(case, ending) for ending in ENDINGS]:
        for variable in network(case).weights:
            variable.assign(np.zeros(variable.shape))
        assignment = load(path, network(case))
        assert snapshot(network(case)) == content(case)
        assert not (assignment.dropped or assignment.ones or assignment.kept)


@every_network
@every_ending
def test_refuses_layers_under_other_names(case, ending, saved, tmp_path):
    def rename(layers):
        layers["conv2d_1"]["vars"].attrs["name"] = "mixed_9z_branch0_conv1"

    path = edit(saved(case, ending), tmp_path / f"renamed{ending}", rename)
    model = network(case)
    with pytest.raises(InputError) as caught:
        load(path, model)
    assert snapshot(model) == content(case)
    message = str(caught.value)
    assert message.startswith(f"{path}: These weights do not fit {model.name}")
    second = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][1]
    assert f"missing in it: {second}/kernel" in message
    assert "left over: mixed_9z_branch0_conv1/kernel" in message
    assert "keras-inception weights convert" not in message  # it is ours already


def swap_names(layers):
    """Exchange the names of the first two layers of one class and shape; return them."""
    keys = {}
    for key, name in names(layers).items():
        variables = layers[key]["vars"]
        kind = (key.rstrip("_0123456789"), variables["0"].shape)
        if kind in keys:
            other = layers[keys[kind]]["vars"]
            swapped = other.attrs["name"], name
            variables.attrs["name"], other.attrs["name"] = swapped
            return swapped
        keys[kind] = key
    raise AssertionError("no two layers of one shape")


@every_network
@every_ending
def test_refuses_layers_in_another_order(case, ending, saved, tmp_path):
    swapped = []
    path = edit(
        saved(case, ending),
        tmp_path / f"swapped{ending}",
        lambda h5: swapped.extend(swap_names(h5)),
    )
    with pytest.raises(InputError, match="The layers stand in another order than in") as caught:
        load(path, network(case))
    assert snapshot(network(case)) == content(case)
    assert all(repr(name) in str(caught.value) for name in swapped)


@every_network
@every_ending
@pytest.mark.parametrize("part", [0.5, 0.99])
def test_refuses_files_that_are_cut_off(case, ending, part, saved, tmp_path):
    whole = saved(case, ending).read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError) as caught:
        load(path, network(case))
    assert snapshot(network(case)) == content(case)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert "cut off" in message and "fetch it again" in message.lower()


def test_keras_takes_layers_in_another_order(saved, tmp_path):
    """The premise of the two tests above: names are nothing to Keras."""
    path = edit(saved(GOOGLENET, ".weights.h5"), tmp_path / "swapped.weights.h5", swap_names)
    network(GOOGLENET).load_weights(path)
    assert snapshot(network(GOOGLENET)) == content(GOOGLENET)


def test_a_file_with_heads_fits_a_model_without(saved):
    trunk = GOOGLENET.small(include_top=False)
    assignment = load(saved(GOOGLENET, ".weights.h5"), trunk)
    assert assignment.dropped == {
        "logits/kernel": "the model has no logits",
        "logits/bias": "the model has no logits",
    }
    kernel = network(GOOGLENET).get_layer("conv2d_2c_conv").kernel
    np.testing.assert_array_equal(trunk.get_layer("conv2d_2c_conv").kernel, kernel)


def test_classes_must_match_or_the_head_be_left_out(saved):
    """The error says how, and that works."""
    path, model = saved(GOOGLENET, ".weights.h5"), GOOGLENET.small(classes=4)
    with pytest.raises(InputError) as caught:
        load(path, model)
    message = str(caught.value)
    assert f"{path}: The file has 5 classes, the model has 4. Build the model with cl" in message
    assert "keras-inception weights convert" not in message
    advice = re.search(r"ki\.weights\.assign\(.*\)", message)[0]
    assert eval(advice, {"ki": ki, "model": model}).kept == ("logits/kernel", "logits/bias")
    kernel = network(GOOGLENET).get_layer("conv2d_2c_conv").kernel
    np.testing.assert_array_equal(model.get_layer("conv2d_2c_conv").kernel, kernel)


def test_a_file_without_classes_says_so(saved, tmp_path):
    def behead(layers):
        (key,) = (key for key, name in names(layers).items() if name == "logits")
        del layers[key]

    path = edit(saved(GOOGLENET, ".weights.h5"), tmp_path / "trunk.weights.h5", behead)
    with pytest.raises(InputError, match="The file has no classes, the model has 5. To load all"):
        load(path, network(GOOGLENET))
    assert snapshot(network(GOOGLENET)) == content(GOOGLENET)


def test_compiled_and_trained_models_come_back(tmp_path):
    """Optimizer state and the seeds of dropout are not weights."""
    model = GOOGLENET.small()
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(np.ones((2, *model.input_shape[1:]), "float32"), np.arange(2))
    trained = snapshot(model)
    for ending in ENDINGS:
        path = tmp_path / f"trained{ending}"
        (model.save if ending == ".keras" else model.save_weights)(path)
        for variable in model.weights:
            variable.assign(np.zeros(variable.shape))
        load(path, model)
        assert snapshot(model) == trained


def test_by_the_builder(saved):
    model = GOOGLENET.small(weights=saved(GOOGLENET, ".keras"))
    assert snapshot(model) == content(GOOGLENET)


several = [case for case in CASES if len(NETWORKS[case.model].architectures) > 1]


@every(several, quick=[case for case in several if case.model == "GoogLeNet"])
@every_ending
def test_architecture_is_that_of_the_file(case, ending, saved):
    """Also where another one has the same tensors, and would load them into another network."""
    path = saved(case, ending)
    model = case.small(weights=path, architecture=None)
    assert snapshot(model) == content(case)
    assert trunk_of(model) == trunk_of(network(case))
    other = next(form for form in NETWORKS[case.model].architectures if form != case.architecture)
    with pytest.raises(ValueError) as caught:
        case.small(weights=path, architecture=other)
    assert str(caught.value) == (
        f"{path} was written from {case.model} with architecture={case.architecture!r}, not "
        f"{other!r}. Leave architecture out, or give weights of {other!r}."
    )


@pytest.mark.slow
def test_options_do_not_hide_the_architecture(tmp_path):
    """Auxiliary heads, layers in front and a stem without its pool."""
    image = keras.layers.Rescaling(1 / 127.5, -1)(keras.Input((299, 299, 3)))
    options = {"input_tensor": image, "stem_pool": False, "aux_heads": True, "classes": 5}
    v3 = functools.partial(ki.InceptionV3, width=0.05, **options)
    path = tmp_path / "v3.weights.h5"
    v3(weights=None, architecture="torchvision").save_weights(path)
    assert trunk_of(v3(weights=path)) == trunk_of(v3(weights=None, architecture="torchvision"))
    with pytest.raises(InputError, match="architecture='torchvision', not 'paper'"):
        ki.InceptionV3(weights=path, architecture="paper", width=0.05, classes=5)


@every_ending
def test_layers_in_front_come_back_too(ending, tmp_path):
    def build(**options):
        image = keras.Input((32, 32, 3))
        for layer in (
            keras.layers.Normalization(name="normalization"),
            keras.layers.Conv2D(3, 1, name="colours"),
        ):
            image = layer(image)
        return ki.GoogLeNet(width=0.05, classes=3, input_tensor=image, **options)

    model, path = build(weights=None), tmp_path / f"model{ending}"
    model.layers[1].adapt(np.random.default_rng(0).normal(3, 2, (50, 4, 4, 3)))
    (model.save if ending == ".keras" else model.save_weights)(path)
    loaded, images = build(weights=path), np.random.default_rng(1).normal(3, 2, (2, 32, 32, 3))
    assert snapshot(loaded) == snapshot(model)
    np.testing.assert_array_equal(loaded(images), model(images))


def test_links_are_not_followed(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(
        tmp_path / "other.weights.h5"
    )
    path = tmp_path / "linked.weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv2d_1a_conv"]
        file.create_group("conv2d_1a_conv").attrs["weight_names"] = ["kernel"]
        file["conv2d_1a_conv/kernel"] = np.zeros((7, 7, 3, 8), "float32")
        file["layers"] = h5py.ExternalLink(str(tmp_path / "other.weights.h5"), "/layers")
    with pytest.raises(InputError, match="has 'layers' as a link: links are not followed"):
        find(path, "GoogLeNet", None, trunks=[("paper", trunk_of(network(GOOGLENET)))])


def test_file_of_a_part_of_a_network_is_loaded_by_its_tensors(tmp_path):
    part = keras.Model(network(GOOGLENET).input, network(GOOGLENET).get_layer("conv2d_2c").output)
    path = tmp_path / "part.weights.h5"
    part.save_weights(path)
    with pytest.raises(InputError, match="These weights do not fit googlenet"):
        ki.GoogLeNet(weights=path, include_top=False, width=0.05)
    assert find(path, "GoogLeNet", "caffe").architecture is None


def test_recognising_a_file_draws_no_random_numbers(saved):
    path = saved(GOOGLENET, ".weights.h5")
    seeds = []
    models._trunk.cache_clear()
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = GOOGLENET.small(weights=path, architecture=None)
        seeds.append(model.get_layer("dropout").seed_generator.state.numpy().tolist())
    assert seeds[0] == seeds[1]


def test_file_of_another_network(saved):
    other = next(case for case in CASES if case.id == "bn_inception.slim")
    with pytest.raises(InputError, match="These weights do not fit googlenet"):
        load(saved(other, ".keras"), network(GOOGLENET))


@pytest.mark.slow
def test_file_of_keras_itself(tmp_path):
    theirs = keras.applications.InceptionV3(
        weights=None, include_top=False, input_shape=(75, 75, 3)
    )
    path = tmp_path / "inception_v3.weights.h5"
    theirs.save_weights(path)
    model = ki.InceptionV3(weights=None, include_top=False, input_shape=(75, 75, 3), width=0.05)
    with pytest.raises(InputError, match="The names are those of publisher 'keras'") as caught:
        load(path, model)
    assert "keras-inception weights convert" in str(caught.value)
