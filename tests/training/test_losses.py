import keras
import numpy as np
import pytest

from keras_inception.errors import InputError
from keras_inception.training import SmoothedCrossentropy, label_every_head, losses, main_model
from tests.training import small

LABELS = np.array([0, 3, 6, 2], "int32")
LOGITS = np.random.default_rng(0).normal(size=(4, 7)).astype("float32") * 4


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def smoothed(logits, labels, share):
    classes = logits.shape[-1]
    targets = np.full(logits.shape, share / classes)
    targets[np.arange(len(labels)), labels] += 1 - share
    return -(targets * np.log(softmax(logits.astype("float64")))).sum(-1)


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [True, False])
def test_loss_equals_the_papers_formula(share, from_logits):
    loss = SmoothedCrossentropy(share, from_logits=from_logits)
    predicted = LOGITS if from_logits else softmax(LOGITS)
    expected = smoothed(LOGITS, LABELS, share).mean()
    assert float(loss(LABELS, predicted)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(LABELS[:, None], predicted)) == pytest.approx(expected, rel=1e-5)


def test_loss_equals_keras_on_one_hot_labels():
    ours = SmoothedCrossentropy(0.1, from_logits=True)(LABELS, LOGITS)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert float(ours) == pytest.approx(float(theirs(np.eye(7)[LABELS], LOGITS)), rel=1e-6)


def test_loss_survives_saving():
    loss = SmoothedCrossentropy(0.2, from_logits=True, name="head")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def test_loss_refuses_a_share_of_one():
    with pytest.raises(InputError, match="smoothing must be at least 0 and below 1, not 1.0"):
        SmoothedCrossentropy(1.0)


def tail(make):
    x = inputs = keras.Input((5,))
    return keras.Model(inputs, make(x))


@pytest.mark.parametrize(
    ("make", "logits"),
    [
        (keras.layers.Dense(3), True),
        (keras.layers.Dense(3, activation="softmax"), False),
        (lambda x: keras.layers.Softmax()(keras.layers.Dense(3)(x)), False),
        (lambda x: keras.layers.Activation("softmax")(keras.layers.Dense(3)(x)), False),
        (lambda x: keras.layers.Activation(None)(keras.layers.Dense(3)(x)), True),
        (lambda x: keras.layers.Flatten()(keras.layers.Dense(3, activation="softmax")(x)), False),
        (lambda x: keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])(x), True),
    ],
)
def test_logits_are_told_from_probabilities(make, logits):
    assert losses.gives_logits(tail(make).output) is logits


def test_an_output_that_does_not_tell_must_be_explained():
    model = tail(lambda x: keras.layers.Dense(3, activation="sigmoid", name="odd")(x))
    with pytest.raises(InputError, match="output of the layer 'odd' is logits or prob.*from_logit"):
        losses.head_losses(model, small.recipe())
    assert losses.head_losses(model, small.recipe(), from_logits=False).from_logits is False


def test_heads_are_weighted_and_smoothed_by_the_recipe():
    model = small.plain_net()
    heads = losses.head_losses(model, small.recipe(auxiliary_weight=0.3, label_smoothing=0.2))
    outputs = {name: softmax(LOGITS / k) for k, name in enumerate(model.output, 1)}
    weights = {"predictions": 1.0, "aux1": 0.3, "aux2": 0.3}
    expected = sum(
        weights[name] * smoothed(LOGITS / k, LABELS, 0.2).mean()
        for k, name in enumerate(model.output, 1)
    )
    assert float(heads.total(LABELS, outputs)) == pytest.approx(expected, rel=1e-4)


def test_auxiliary_heads_without_a_weight_are_refused():
    with pytest.raises(InputError, match="auxiliary heads aux1, aux2, but the recipe 'small' gi"):
        losses.head_losses(small.plain_net(), small.recipe(auxiliary_weight=0.0))


def test_outputs_that_are_not_understood_are_refused():
    x = inputs = keras.Input((5,))
    twice = [keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)]
    with pytest.raises(InputError, match="returns a list of 2 outputs; give them names"):
        losses.outputs_by_head(keras.Model(inputs, twice, name="pair"))
    named = keras.Model(inputs, {"main": twice[0], "aux": twice[1]}, name="named")
    with pytest.raises(InputError, match="are called main, aux; the main one must be called 'pred"):
        losses.outputs_by_head(named)

    class Custom(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(InputError, match="'mine' has no symbolic outputs. Give a Functional or"):
        losses.outputs_by_head(Custom(name="mine"))


def test_main_model_leaves_the_auxiliary_heads_out():
    model = small.plain_net()
    main = main_model(model)
    images = np.ones((2, small.SIDE, small.SIDE, 3), "float32")
    np.testing.assert_array_equal(main(images), model(images)["predictions"])
    assert main.name == model.name
    assert {layer.name for layer in model.layers} - {layer.name for layer in main.layers} >= {
        "aux1",
        "aux2_logits",
    }


def test_labels_go_to_every_head():
    images, labels = np.ones(3), np.arange(3)
    same, by_head = label_every_head(small.plain_net())(images, labels)
    assert same is images
    assert list(by_head) == ["predictions", "aux1", "aux2"]
    assert all(one is labels for one in by_head.values())
    assert label_every_head(small.norm_net())(images, labels) == (images, labels)
