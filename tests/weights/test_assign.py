"""Every tensor of a file goes where it belongs, or the model is left as it was."""

import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.weights.assign import assign, class_count, heads_in
from keras_inception.weights.mapping import PUBLISHERS
from keras_inception.weights.mapping.conversion import to_keras
from keras_inception.weights.mapping.units import Place, Slot
from tests.weights.golden_files import GOLDEN, golden
from tests.weights.small_files import build_small, every_network, small, snapshot, tensors

V1 = golden("slim_inception_v1")
V3 = golden("slim_inception_v3")
FACENET = golden("facenet_inception_resnet_v1")


def kernels(case):
    names = tensors(case)
    return [n for n in names if n.endswith(("/weights", ".weight")) and names[n].ndim == 4]


def refusal(case, changed, **arguments):
    """The message of a refused file; the model must be as before."""
    model = small(case)
    before = snapshot(model)
    with pytest.raises(InputError) as caught:
        assign(model, changed, case.publisher, **arguments)
    assert snapshot(model) == before
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.slow
def test_refusal_names_the_architecture_of_the_publisher():
    model = ki.InceptionResNetV2(weights=None, width=1e-9, include_top=False)
    tensors_of_slim = tensors(golden("slim_inception_resnet_v2"))
    with pytest.raises(InputError, match="with the architecture .architecture='slim'., the heads"):
        assign(model, tensors_of_slim, "slim")


@every_network
def test_everything_is_used_once(case):
    model, given_tensors = small(case), tensors(case)
    assignment = assign(model, given_tensors, case.publisher)
    used = [*assignment.loaded.values(), *assignment.dropped]
    assert sorted(used) == sorted(given_tensors)
    filled = [*assignment.loaded, *assignment.ones, *assignment.kept]
    assert sorted(filled) == sorted(
        f"{layer.name}/{variable.name}" for layer in model.layers for variable in layer.weights
    )
    assert not assignment.kept and not assignment.adapted
    gammas = [v for v in model.weights if v.name == "gamma"]
    if case.publisher == "slim":
        assert len(assignment.ones) == len(gammas)
        assert all(np.all(np.asarray(gamma) == 1) for gamma in gammas)
    else:
        assert not assignment.ones


@every_network
def test_refuses_a_file_with_a_tensor_missing(case):
    for name in (kernels(case)[0], kernels(case)[len(kernels(case)) // 2]):
        variable = next(
            k
            for k, v in assign(small(case), tensors(case), case.publisher).loaded.items()
            if v == name
        )
        changed = tensors(case)
        del changed[name]
        message = refusal(case, changed)
        assert f"nothing was loaded: 1 missing in it: {variable}." in message
        assert "architecture" in message


@every_network
def test_refuses_a_file_with_a_tensor_left_over(case):
    changed = tensors(case) | {"surprise": np.zeros(3)}
    assert "nothing was loaded: 1 left over: surprise." in refusal(case, changed)


@every_network
def test_refuses_a_file_with_a_tensor_of_another_shape(case):
    name = kernels(case)[len(kernels(case)) // 2]
    changed = tensors(case)
    shape = changed[name].shape
    changed[name] = np.zeros((*shape[:3], shape[3] + 1), "float32")
    message = refusal(case, changed)
    assert f"from {name} {changed[name].shape}." in message
    assert re.search(r"1 of another shape: \w+/kernel \(\d+, \d+, \d+, \d+\) from", message)


@every_network
def test_refuses_numbers_that_are_none(case):
    name = kernels(case)[0]
    changed = tensors(case)
    changed[name] = np.where(np.arange(changed[name].size) == 1, np.nan, 0).reshape(
        changed[name].shape
    )
    message = refusal(case, changed)
    assert f"Tensor {name!r} holds NaN or infinity in 1 of {changed[name].size} values" in message
    changed[name] = np.full(changed[name].shape, np.inf, "float32")
    assert "NaN or infinity" in refusal(case, changed)


def test_a_convolution_too_many_is_not_guessed_about():
    """Three convolutions in a file for a branch of two: which is too many, names cannot say."""
    changed = tensors(V1)
    kernel = changed["InceptionV1/Mixed_3b/Branch_1/Conv2d_0b_3x3/weights"]
    changed["InceptionV1/Mixed_3b/Branch_1/Conv2d_0c_3x3/weights"] = kernel
    message = refusal(V1, changed)
    assert "8 missing in it: inception_3a_branch1_conv1/kernel" in message
    assert "9 left over: InceptionV1/Mixed_3b/Branch_1/Conv2d_0a_1x1/weights" in message


def test_a_long_list_is_cut():
    changed = {name: value for name, value in tensors(V1).items() if "Mixed_3b" not in name}
    message = refusal(V1, changed)
    assert re.search(r"\d{3} missing in it: \S+, \S+, \S+ and \d{3} more;", message)


def test_two_tensors_for_one_place():
    changed = tensors(V1)
    changed["InceptionV1/Logits/Logits/biases"] = np.zeros(5, "float32")
    assert "1 left over: InceptionV1/Logits/Logits/biases." in refusal(V1, changed)


def test_unknown_publisher():
    with pytest.raises(InputError, match="Unknown publisher: 'tim'. Did you mean timm"):
        assign(small(V1), {}, "tim")


@pytest.mark.parametrize(
    ("publisher", "real"), [("timm", "'slim' or 'facenet'"), ("keras", "'slim' or 'facenet'")]
)
def test_names_of_another_publisher_are_recognised(publisher, real):
    before = snapshot(small(V1))
    with pytest.raises(InputError, match=f"The names are those of publisher {real}."):
        assign(small(V1), tensors(V1), publisher)
    assert snapshot(small(V1)) == before


def test_file_of_another_network():
    with pytest.raises(InputError, match="do not fit googlenet as a file of publisher 'slim'"):
        assign(small(V1), tensors(V3), "slim")


def test_counters_and_optimizer_state_are_dropped_by_name():
    extra = {
        "global_step": np.zeros((), "int64"),
        "InceptionV1/Conv2d_1a_7x7/weights/RMSProp": np.zeros(1),
        "InceptionV1/Conv2d_1a_7x7/weights/RMSProp_1": np.zeros(1),
        "InceptionV1/Conv2d_1a_7x7/weights/Momentum": np.zeros(1),
        "InceptionV1/Conv2d_1a_7x7/weights/ExponentialMovingAverage": np.zeros(1),
        "beta1_power": np.zeros(()),
    }
    assignment = assign(small(V1), tensors(V1) | extra, "slim")
    assert set(assignment.dropped) == set(extra)
    assert assignment.dropped["global_step"] == "a counter of the training"
    torch_extra = {"conv2d_1a.bn.num_batches_tracked": np.zeros((), "int64")}
    assignment = assign(small(FACENET), tensors(FACENET) | torch_extra, "facenet")
    assert assignment.dropped == {"conv2d_1a.bn.num_batches_tracked": "a counter of the training"}


# Heads


def test_skip_head_keeps_the_models_classes():
    model = build_small(V3, classes=7)
    changed = tensors(V3)
    before = {name: np.asarray(model.get_layer(name).kernel) for name in ("logits", "aux_logits")}
    with pytest.raises(InputError, match="keep its own head: skip_head=True") as caught:
        assign(model, changed, "slim")
    assert "4 of another shape" in str(caught.value)

    assignment = assign(model, changed, "slim", skip_head=True)
    heads = ("logits", "aux_logits")
    assert set(assignment.kept) == {f"{h}/{v}" for h in heads for v in ("kernel", "bias")}
    assert set(assignment.dropped.values()) == {"a class head, skipped as asked"}
    assert len(assignment.dropped) == 4
    assert "aux_conv2_conv/kernel" in assignment.loaded
    for name, kernel in before.items():
        np.testing.assert_array_equal(model.get_layer(name).kernel, kernel)
    reference = small(V3)
    assign(reference, changed, "slim")
    for name in ("mixed_7c_branch2_conv4", "aux_conv1_conv"):
        np.testing.assert_array_equal(
            model.get_layer(name).kernel, reference.get_layer(name).kernel
        )


def test_heads_that_the_model_lacks_are_dropped_and_listed():
    without_aux = assign(build_small(V3, aux_heads=False), tensors(V3), "slim")
    assert set(without_aux.dropped.values()) == {
        f"the model has no {head}" for head in ("aux_conv1", "aux_conv2", "aux_logits")
    }
    trunk = assign(build_small(V3, include_top=False), tensors(V3), "slim")
    assert set(without_aux.dropped) < set(trunk.dropped)
    assert trunk.dropped["InceptionV3/Logits/Conv2d_1c_1x1/weights"] == "the model has no logits"


def test_auxiliary_heads_that_the_file_lacks_are_missing():
    changed = {name: value for name, value in tensors(V3).items() if "AuxLogits" not in name}
    message = refusal(V3, changed)
    assert "10 missing in it: aux_conv1_conv/kernel" in message


def test_layers_added_by_the_user_count_as_a_head():
    base = build_small(V1, include_top=False, pooling="avg")
    scores = keras.layers.Dense(3, name="flowers")(base.output)
    model = keras.Model(base.input, scores)
    with pytest.raises(InputError, match="2 missing in it: flowers/kernel, flowers/bias"):
        assign(model, tensors(V1), "slim")
    assignment = assign(model, tensors(V1), "slim", skip_head=True)
    assert assignment.kept == ("flowers/kernel", "flowers/bias")


def test_a_model_in_a_model_is_refused():
    base = small(V1)
    inputs = keras.Input(base.input_shape[1:])
    wrapped = keras.Model(inputs, base(inputs), name="wrapped")
    with pytest.raises(InputError, match="wrapped holds the model googlenet as one layer; give"):
        assign(wrapped, tensors(V1), "slim")


def test_a_model_without_variables_in_front_is_no_matter():
    image = keras.Sequential([keras.layers.RandomFlip()])(keras.Input(small(V1).input_shape[1:]))
    assignment = assign(build_small(V1, input_tensor=image), tensors(V1), "slim")
    assert assignment.loaded == assign(small(V1), tensors(V1), "slim").loaded


def test_heads_for_images_of_another_size():
    def heads(size):
        return ki.GoogLeNet(
            weights=None, width=0.05, classes=3, aux_heads=True, input_shape=(size, size, 3)
        )

    values = {f"{layer.name}/{v.name}": v for layer in heads(224).layers for v in layer.weights}
    message = r"2 of another shape: aux1_dense/kernel .* Build the model for the file's image size"
    with pytest.raises(InputError, match=message):
        assign(heads(288), values, "keras_inception")
    assign(heads(224), values, "keras_inception")


def test_classes_and_heads_of_a_file():
    for case in GOLDEN:
        content = case.content
        named = {name: np.empty(shape) for name, shape in content["variables"]}
        assert class_count(named, case.publisher) == len(content["logits"])
        has_aux = any(head.startswith("aux") for head in heads_in(named, case.publisher))
        assert has_aux == (case.aux_heads or case.publisher == "torchvision")
    assert "bottleneck" in heads_in(tensors(FACENET), "facenet")
    assert class_count({}, "slim") is None


# Gammas and biases


def test_gammas_of_a_slim_file_are_loaded_all_or_none():
    betas = [name for name in tensors(V1) if name.endswith("beta")]
    gammas = {re.sub("beta$", "gamma", n): np.full_like(tensors(V1)[n], 2.5) for n in betas}
    model = build_small(V1)
    assignment = assign(model, tensors(V1) | gammas, "slim")
    assert not assignment.ones
    assert all(np.all(np.asarray(v) == 2.5) for v in model.weights if v.name == "gamma")
    gammas.popitem()
    assert "1 missing in it: inception_5b_branch3_conv1_bn/gamma." in refusal(
        V1, tensors(V1) | gammas
    )


def test_gammas_of_a_torch_file_must_be_there():
    changed = tensors(FACENET)
    del changed["conv2d_1a.bn.weight"]
    assert "1 missing in it: conv2d_1a_bn/gamma." in refusal(FACENET, changed)


def test_vectors_with_axes_of_length_one():
    """An older BN-Inception of cadene has its statistics as (1, n)."""
    changed = tensors(FACENET)
    expected = changed["conv2d_1a.bn.bias"]
    changed["conv2d_1a.bn.bias"] = expected[None]
    assign(small(FACENET), changed, "facenet")
    np.testing.assert_array_equal(small(FACENET).get_layer("conv2d_1a_bn").beta, expected)


def test_half_precision_files_are_loaded():
    changed = {name: value.astype("float16") for name, value in tensors(V1).items()}
    assign(small(V1), changed, "slim")
    kernel = small(V1).get_layer("conv2d_1a_conv").kernel
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel, changed["InceptionV1/Conv2d_1a_7x7/weights"])


# Image channels


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_answer_to_grey_as_before(channels):
    size = small(V1).input_shape[1]
    grey = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 1)).astype("float32")
    assign(small(V1), tensors(V1), "slim")
    model = build_small(V1, input_shape=(size, size, channels))
    assignment = assign(model, tensors(V1), "slim")
    done = f"summed into {channels}" if channels < 3 else f"repeated for {channels}"
    assert assignment.adapted == {"conv2d_1a_conv/kernel": f"3 image channels {done}"}
    expected = small(V1)(np.repeat(grey, 3, -1))
    np.testing.assert_allclose(model(np.repeat(grey, channels, -1)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", range(1, 9))
def test_any_number_of_channels_keeps_the_sum_of_the_kernels(channels):
    layer = keras.layers.Conv2D(8, 3)
    layer.build((None, 9, 9, channels))
    place = Place("trunk", "1a", "", "", "kernel")
    slot = Slot("conv2d_1a_conv/kernel", "conv2d_1a", place, layer, layer.kernel)
    original = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype("float32")
    kernel, note = to_keras(original, slot, output_first=False)
    assert kernel.shape == layer.kernel.shape
    assert (note is None) == (channels == 3)
    np.testing.assert_allclose(kernel.sum(axis=2), original.sum(axis=2), rtol=1e-4, atol=1e-5)


def test_four_channels_hold_the_original_kernels():
    model = build_small(V1, input_shape=(64, 64, 4))
    assign(model, tensors(V1), "slim")
    kernel = np.asarray(model.get_layer("conv2d_1a_conv").kernel)
    original = tensors(V1)["InceptionV1/Conv2d_1a_7x7/weights"]
    np.testing.assert_array_equal(kernel[:, :, 1:3], original[:, :, 1:])
    np.testing.assert_array_equal(kernel[:, :, 0], original[:, :, 0] / 2)
    np.testing.assert_array_equal(kernel[:, :, 3], original[:, :, 0] / 2)


@pytest.mark.slow
def test_a_separable_first_layer_takes_more_channels_but_not_fewer():
    case = golden("slim_inception_v2")
    assign(small(case), tensors(case), "slim")
    size = small(case).input_shape[1]
    grey = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 1)).astype("float32")
    model = build_small(case, input_shape=(size, size, 5))
    assign(model, tensors(case), "slim")
    expected = small(case)(np.repeat(grey, 3, -1))
    np.testing.assert_allclose(model(np.repeat(grey, 5, -1)), expected, rtol=1e-4, atol=1e-4)
    model = build_small(case, input_shape=(size, size, 1))
    message = "2 of another shape: conv2d_1a_conv/depthwise_kernel .* Build the model for three ch"
    with pytest.raises(InputError, match=message):
        assign(model, tensors(case), "slim")


def test_a_file_of_other_channels_is_not_adapted():
    changed = tensors(V1)
    changed["InceptionV1/Conv2d_1a_7x7/weights"] = np.zeros((7, 7, 4, 8), "float32")
    assert "1 of another shape: conv2d_1a_conv/kernel (7, 7, 3, 8) from" in refusal(V1, changed)


# Names


NAMES = sorted({name for case in GOLDEN for name, _ in case.content["variables"]})
PARTS = sorted({part for name in NAMES[::7] for part in re.split("[./]", name)})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.lists(st.sampled_from(PARTS), max_size=6).map("/".join),
            st.lists(st.sampled_from(PARTS), max_size=6).map(".".join),
        ),
        unique=True,
        max_size=5,
    )
)
def test_no_name_breaks_a_rule(names):
    for schemes in PUBLISHERS.values():
        for scheme in schemes:
            assert set(scheme.locate(names)) == set(names)


def test_every_golden_name_has_a_place_of_its_own():
    for case in GOLDEN:
        names = [name for name, _ in case.content["variables"]]
        fitting = [s for s in PUBLISHERS[case.publisher] if None not in s.locate(names).values()]
        assert len(fitting) == 1, case.file
        assert len(set(fitting[0].locate(names).values())) == len(names)
