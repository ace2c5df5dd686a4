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
