"""The original networks' outputs, reproduced after loading their variables by our rules."""

import re

import keras
import numpy as np
import pytest

from keras_inception.weights.assign import assign
from tests.weights.golden_files import GOLDEN, golden

OUTPUTS = {"logits": "predictions", "aux_logits": "aux", "pool_features": "avg_pool"}
SMALL = ("slim_inception_v1", "slim_inception_v2", "torchvision_googlenet")


def close(ours, original, name):
    """The release criterion: one part in a thousand of the spread of the values."""
    original = np.asarray(original)
    assert np.abs(np.ravel(ours) - original).max() <= 1e-3 * original.std(), name


def slim_endpoints(model, names):
    """Our block for each end point of slim; those inside the heads have none."""
    modules = [layer.name for layer in model.layers if re.fullmatch(r"inception_\d\w", layer.name)]
    blocks = {}
    for name in names:
        match = re.fullmatch(r"(Conv2d|MaxPool|Mixed)_(\d[a-z])(_\dx\d)?", name)
        if match and match[1] == "Mixed" and modules:
            blocks[name] = modules[sum(other.startswith("inception") for other in blocks.values())]
        elif match:
            kind = {"Conv2d": "conv2d", "MaxPool": "max_pool", "Mixed": "mixed"}[match[1]]
            blocks[name] = f"{kind}_{match[2]}"
        elif name == "PreAuxLogits":
            blocks[name] = "block17_20"
        elif name == "global_pool" or name.startswith("AvgPool"):
            blocks[name] = "avg_pool"
    return blocks


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.file, marks=() if case.file in SMALL else pytest.mark.slow)
        for case in GOLDEN
    ],
)
def test_outputs_are_those_of_the_original(case):
    expected = case.content
    model = case.build()
    assignment = assign(model, case.tensors(), case.publisher)
    if case.aux_heads:
        assert not assignment.dropped
    assert not assignment.adapted and not assignment.kept

    blocks = slim_endpoints(model, expected.get("endpoints", ()))
    assert len(blocks) >= 0.75 * len(expected.get("endpoints", ()))
    taps = {name: model.get_layer(name).output for name in {*blocks.values(), "avg_pool"}}
    heads = {"predictions": model.output} if isinstance(model.output, keras.KerasTensor) else None
    outputs = keras.Model(model.input, {**taps, **(heads or model.output)})(case.image())

    compared = [key for key in OUTPUTS if key in expected and OUTPUTS[key] in outputs]
    assert compared[0] == "logits"
    for key in compared:
        close(outputs[OUTPUTS[key]], expected[key], key)
    for name, block in blocks.items():
        statistics = expected["endpoints"][name]
        values = np.asarray(outputs[block], "float64")
        assert values.size == np.prod(statistics["shape"]), name
        assert values.mean() == pytest.approx(statistics["mean"], rel=1e-4), name
        assert values.std() == pytest.approx(statistics["std"], rel=1e-4), name


@pytest.mark.slow
def test_embedding_is_that_of_facenet():
    case = golden("facenet_inception_resnet_v1")
    model = case.build(include_top=False, pooling="embedding")
    assignment = assign(model, case.tensors(), "facenet")
    assert assignment.dropped == {
        "logits.weight": "the model has no logits",
        "logits.bias": "the model has no logits",
    }
    embedding = np.asarray(model(case.image()))
    close(embedding, case.content["embedding"], "embedding")
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)


def test_background_class_is_cut_off_for_1000_classes():
    case = golden("slim_inception_v1")
    model = case.build(classes=1000)
    assignment = assign(model, case.tensors(), "slim")
    note = "classes 1 to 1000 of 1001"
    assert assignment.adapted == {"logits/kernel": note, "logits/bias": note}
    close(model(case.image()), case.content["logits"][1:], "logits")


@pytest.mark.slow
def test_background_class_of_the_auxiliary_head_is_cut_off_too():
    case = golden("slim_inception_v3")
    model = case.build(classes=1000)
    assign(model, case.tensors(), "slim")
    outputs = model(case.image())
    close(outputs["predictions"], case.content["logits"][1:], "logits")
    close(outputs["aux"], case.content["aux_logits"][1:], "aux_logits")


@pytest.mark.slow
def test_the_graph_of_2015_gives_1000_of_its_1008_classes():
    case = golden("pytorch_fid_inception_v3")
    model = case.build(classes=1000)
    assignment = assign(model, case.tensors(), "pytorch_fid")
    assert assignment.adapted["logits/bias"] == "classes 1 to 1000 of 1008"
    close(model(case.image()), case.content["logits"][1:1001], "logits")


def test_trunk_alone_gives_the_same_features():
    case = golden("slim_inception_v1")
    model = case.build(include_top=False, pooling="avg")
    assignment = assign(model, case.tensors(), "slim")
    assert set(assignment.dropped.values()) == {"the model has no logits"}
    statistics = case.content["endpoints"]["AvgPool_0a_7x7"]
    features = np.asarray(model(case.image()))
    assert features.mean() == pytest.approx(statistics["mean"], rel=1e-4)
    assert features.std() == pytest.approx(statistics["std"], rel=1e-4)


def test_channels_first_gives_the_same_logits(channels_first_kernels):
    case = golden("slim_inception_v1")
    size = case.content["input_size"]
    model = case.build(input_shape=(3, size, size))
    assign(model, case.tensors(), "slim")
    close(model(case.image().transpose(0, 3, 1, 2)), case.content["logits"], "logits")
