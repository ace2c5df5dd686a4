"""`stem_stride` and `stem_pool` of InceptionV3: table 2 of the v3 paper (arXiv:1512.00567)."""

import inspect

import numpy as np
import pytest

import keras_inception as ki
from keras_inception.inspection import multiply_adds

# First stride, first pool, image size, and the grid that the modules then see.
ROWS = ((1, False, 79, 36), (1, True, 151, 35), (2, True, 299, 35))


def build(size, **arguments):
    arguments = {"weights": None, "classes": 5, "width": 0.05} | arguments
    return ki.InceptionV3(input_shape=(size, size, 3), **arguments)


@pytest.mark.parametrize("stride, pool, size, grid", ROWS)
def test_the_rows_of_table_2_reach_the_same_modules(stride, pool, size, grid):
    shapes = ki.endpoints(build(size, stem_stride=stride, stem_pool=pool))
    assert shapes["conv2d_1a"][0] == (size - 3) // stride + 1
    assert ("max_pool_3a" in shapes) == pool
    assert shapes["mixed_5b"][:2] == (grid, grid)
    assert shapes["mixed_6a"][:2] == (17, 17)
    assert shapes["mixed_7c"][:2] == (8, 8)


def test_the_rows_of_table_2_cost_about_the_same():
    costs = [
        multiply_adds(build(size, stem_stride=stride, stem_pool=pool, width=1.0, classes=1000))
        for stride, pool, size, _ in ROWS
    ]
    assert costs[2] == pytest.approx(5.713e9, rel=1e-3)  # as without the arguments
    assert costs[1] == pytest.approx(costs[2], rel=0.01)
    assert costs[0] == pytest.approx(costs[2], rel=0.1)


def test_defaults_are_the_printed_network():
    parameters = inspect.signature(ki.InceptionV3).parameters
    assert (parameters["stem_stride"].default, parameters["stem_pool"].default) == (2, True)
    plain, spelt = build(75), build(75, stem_stride=2, stem_pool=True)
    assert ki.endpoints(plain) == ki.endpoints(spelt)
    assert [layer.get_config() for layer in plain.layers[1:]] == [
        layer.get_config() for layer in spelt.layers[1:]
    ]


def test_weights_fit_every_stem(tmp_path):
    trained = build(75)
    trained.save(tmp_path / "model.keras")
    low = build(39, stem_stride=1, weights=tmp_path / "model.keras")
    for ours, theirs in zip(low.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("architecture", ["torchvision", "fid"])
def test_releases_know_the_arguments_too(architecture):
    options = {"stem_stride": 1, "stem_pool": False}
    shapes = ki.endpoints(build(21, architecture=architecture, **options))
    assert "max_pool_3a" not in shapes
    assert shapes["conv2d_1a"][0] == 19


@pytest.mark.slow
@pytest.mark.parametrize("stride, pool, smallest", [(2, True, 75), (1, True, 39), (1, False, 21)])
def test_smallest_input_follows_the_stem(stride, pool, smallest):
    options = {"stem_stride": stride, "stem_pool": pool}
    assert ki.smallest_input("InceptionV3", **options) == smallest
    build(smallest, **options)
    with pytest.raises(ki.InputError, match=f"at least {smallest}x{smallest} pixels"):
        build(smallest - 1, **options)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"stem_stride": 3}, "stem_stride is 3; expected 1 or 2"),
        ({"stem_stride": True}, "stem_stride is True; expected 1 or 2"),
        ({"stem_pool": 1}, "stem_pool is 1; expected True or False"),
    ],
)
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(ki.InputError, match=message):
        build(75, **arguments)


@pytest.mark.parametrize("argument", [{"stem_stride": 1}, {"stem_pool": False}])
@pytest.mark.parametrize("network", ["InceptionV2", "InceptionResNetV2"])
def test_other_networks_refuse_them(network, argument):
    with pytest.raises(TypeError, match=f"{network}: Unknown argument: '{next(iter(argument))}'"):
        ki.build(network, weights=None, **argument)
