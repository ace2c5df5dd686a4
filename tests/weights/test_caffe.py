"""BVLC's GoogLeNet, written once more in torch with the names of its prototxt."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.weights.assign import assign
from tests.weights.golden_files import fill

pytestmark = pytest.mark.backends

WIDTH, CLASSES = 0.1, 7
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
BRANCHES = (("1x1",), ("3x3_reduce", "3x3"), ("5x5_reduce", "5x5"), ("pool_proj",))


@pytest.fixture(scope="module")
def model():
    return ki.GoogLeNet(
        weights=None,
        architecture="caffe",
        aux_heads=True,
        width=WIDTH,
        classes=CLASSES,
        classifier_activation=None,
    )


@pytest.fixture(scope="module")
def blobs(model):
    """A caffemodel: kernels (out, in, height, width), dense layers (out, in)."""

    def layer(name, ours):
        kernel = model.get_layer(ours).kernel
        shape = (
            tuple(kernel.shape[i] for i in (3, 2, 0, 1)) if len(kernel.shape) == 4
            else tuple(kernel.shape)[::-1]
        )  # fmt: skip
        found[f"{name}/0"] = fill(f"{name}/0", shape, f"kernel:{np.prod(shape[1:])}")
        found[f"{name}/1"] = fill(f"{name}/1", shape[:1], "bias")

    found = {}
    layer("conv1/7x7_s2", "conv2d_1a_conv")
    layer("conv2/3x3_reduce", "conv2d_2b_conv")
    layer("conv2/3x3", "conv2d_2c_conv")
    for module in MODULES:
        for branch, names in enumerate(BRANCHES):
            for number, name in enumerate(names, 1):
                layer(
                    f"inception_{module}/{name}", f"inception_{module}_branch{branch}_conv{number}"
                )
    for aux, loss in (("aux1", "loss1"), ("aux2", "loss2")):
        layer(f"{loss}/conv", f"{aux}_conv1_conv")
        layer(f"{loss}/fc", f"{aux}_dense")
        layer(f"{loss}/classifier", f"{aux}_logits")
    layer("loss3/classifier", "logits")
    return found


def caffe_googlenet(blobs, x):
    """The forward pass of BVLC's deploy.prototxt, with the losses of train_val.prototxt."""
    parts = {name: torch.from_numpy(value) for name, value in blobs.items()}

    def conv(x, name, stride=1):
        kernel = parts[f"{name}/0"]
        padding = kernel.shape[2] // 2
        return F.relu(F.conv2d(x, kernel, parts[f"{name}/1"], stride, padding))

    def dense(x, name):
        return F.linear(x, parts[f"{name}/0"], parts[f"{name}/1"])

    def pool(x, stride=2):
        return F.max_pool2d(x, 3, stride, padding=stride % 2, ceil_mode=True)

    def norm(x):
        return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

    def inception(x, name):
        ones = conv(x, f"{name}/1x1")
        threes = conv(conv(x, f"{name}/3x3_reduce"), f"{name}/3x3")
        fives = conv(conv(x, f"{name}/5x5_reduce"), f"{name}/5x5")
        return torch.cat([ones, threes, fives, conv(pool(x, 1), f"{name}/pool_proj")], 1)

    def loss(x, name):
        x = conv(F.avg_pool2d(x, 5, 3, ceil_mode=True), f"{name}/conv").flatten(1)
        return dense(F.relu(dense(x, f"{name}/fc")), f"{name}/classifier")

    outputs = {}
    x = norm(pool(conv(x, "conv1/7x7_s2", 2)))
    x = pool(norm(conv(conv(x, "conv2/3x3_reduce"), "conv2/3x3")))
    for module in MODULES:
        x = inception(x, f"inception_{module}")
        if module in ("4a", "4d"):
            aux, name = ("aux1", "loss1") if module == "4a" else ("aux2", "loss2")
            outputs[aux] = loss(x, name)
        if module in ("3b", "4e"):
            x = pool(x)
    outputs["predictions"] = dense(x.mean((2, 3)), "loss3/classifier")
    return {name: value.numpy() for name, value in outputs.items()}


def with_four_axes(blobs):
    """Blobs as they were before 2015: dense kernels 1x1xOUTxIN, biases 1x1x1xOUT."""
    return {name: v if v.ndim == 4 else v[(None,) * (4 - v.ndim)] for name, v in blobs.items()}


def as_onnx(blobs):
    names = {name: name[:-2] + {"0": "_w_0", "1": "_b_0"}[name[-1]] for name in blobs}
    return {names[name]: v for name, v in blobs.items()} | {"OC2_DUMMY_1": np.array([0, 1024])}


@pytest.mark.parametrize("form", [dict, with_four_axes, as_onnx])
def test_all_outputs_are_those_of_caffe(model, blobs, form):
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    assignment = assign(model, form(blobs), "caffe")
    assert set(assignment.dropped) == set(form(blobs)) & {"OC2_DUMMY_1"}
    image = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")
    expected = caffe_googlenet(blobs, torch.from_numpy(image.transpose(0, 3, 1, 2)))
    outputs = model(image)
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        assert np.abs(outputs[name] - values).max() <= 1e-4 * values.std(), name


def test_the_order_of_flattening_matters(model, blobs):
    """The premise: without reordering, the auxiliary heads would compute something else."""
    assign(model, blobs, "caffe")
    kernel = np.asarray(model.get_layer("aux1_dense").kernel)
    assert kernel.shape == blobs["loss1/fc/0"].T.shape
    assert not np.array_equal(kernel, blobs["loss1/fc/0"].T)
    np.testing.assert_array_equal(np.sort(kernel, axis=0), np.sort(blobs["loss1/fc/0"].T, axis=0))


def test_heads_that_the_model_lacks_are_dropped(blobs):
    model = ki.GoogLeNet(
        weights=None, width=WIDTH, classes=CLASSES, include_top=False, architecture="caffe"
    )
    dropped = assign(model, blobs, "caffe").dropped
    assert set(dropped) == {name for name in blobs if name.startswith("loss")}
    assert dropped["loss1/fc/0"] == "the model has no aux1_dense"
    broken = {name: value for name, value in blobs.items() if name != "conv2/3x3/0"}
    with pytest.raises(InputError, match="1 missing in it: conv2d_2c_conv/kernel"):
        assign(model, broken, "caffe")
