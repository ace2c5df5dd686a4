"""What is said of questions about a model that have no answer."""

import pytest

import keras_inception as ki
from keras_inception import inspection


@pytest.fixture(scope="module")
def model():
    return ki.GoogLeNet(weights=None, width=0.05, input_shape=(None, None, 3), classes=2)


def test_no_endpoint_is_refused_with_the_known_ones(model):
    with pytest.raises(ki.InputError, match="No endpoint was named; choose from: conv2d_1a, "):
        ki.feature_extractor(model, [])


def test_the_cost_at_an_open_size_is_refused(model):
    expected = (
        r"The cost of googlenet depends on its input size, which is \(None, None, None, 3\); "
        "build it with an input_shape of numbers"
    )
    with pytest.raises(ki.InputError, match=expected):
        inspection.multiply_adds(model)


@pytest.mark.parametrize(
    ("network", "options"),
    [(ki.InceptionV3, {}), (ki.GoogLeNet, {"architecture": "paper", "input_shape": (224, 224, 3)})],
)
def test_auxiliary_heads_leave_the_other_blocks_as_they_are(network, options):
    options = {"weights": None, "width": 0.05, "classes": 3} | options
    plain, model = network(**options), network(aux_heads=True, **options)
    found = inspection.blocks(model)
    trunk = [block for block in found if not block.name.startswith("aux")]
    assert trunk == inspection.blocks(plain)
    assert sum(block.parameters for block in found) == inspection.parameters(model)
    assert sum(block.multiply_adds for block in found) == inspection.multiply_adds(model)
