"""Computing activations again changes nothing but the memory and the time that training takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.training import health
from keras_inception.training.rematerialization import Rematerialized
from tests.training import small
from tests.training.processes import Training
from tests.training.test_fit import train
from tests.training.test_replicas import in_folders, largest_difference


def build(name, side, **arguments):
    keras.utils.set_random_seed(0)
    return health.with_features(
        ki.build(
            name, weights=None, input_shape=(side, side, 3), classes=4, width=0.05, **arguments
        )
    )


def step(model, call):
    """Outputs, gradients and the weights afterwards, of one pass in a graph."""
    images = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype("float32")
    weights = model.trainable_variables

    @tf.function(autograph=False)
    def run(images):
        with tf.GradientTape() as tape:
            outputs = call(images)
            loss = tf.add_n([tf.reduce_sum(head**2) for head in outputs["heads"].values()])
        return outputs, tape.gradient(loss, [w.value for w in weights])

    outputs, gradients = run(images)
    operations = run.get_concrete_function(images).graph.get_operations()
    convolutions = sum(operation.type == "Conv2D" for operation in operations)
    return tf.nest.flatten(outputs), gradients, [w.numpy() for w in model.weights], convolutions


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("GoogLeNet", 65, {"aux_heads": True, "dropout": 0.0}),
        pytest.param("InceptionV3", 75, {"dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param("InceptionResNetV2", 75, {"dropout": 0.0}, marks=pytest.mark.slow),
    ],
)
def test_outputs_gradients_and_statistics_stay(name, side, options):
    kept, again = build(name, side, **options), build(name, side, **options)
    if name == "GoogLeNet":
        for layer in (*kept.layers, *again.layers):
            if isinstance(layer, keras.layers.Dropout):  # the auxiliary heads'
                layer.rate = 0.0
    expected = step(kept, lambda images: kept(images, training=True))
    got = step(again, Rematerialized(again))
    assert got[3] > 1.8 * expected[3]  # convolutions in the graph
    for theirs, ours in zip(expected[:3], got[:3], strict=True):
        assert len(theirs) == len(ours)
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max() + 1e-9)


@pytest.mark.slow
def test_a_training_comes_to_the_same_weights(tmp_path):
    runs = [
        train(
            small.googlenet,
            tmp_path / str(rematerialize),
            small.recipe(epochs=1),
            data=small.Batches(side=32),
            validation=small.validation(side=32),
            rematerialize=rematerialize,
        )
        for rematerialize in (False, True)
    ]
    for a, b in zip(*(small.weights_of(run.model) for run in runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["local", "synchronized"])
def test_replicas_come_to_the_same_weights(statistics, tmp_path):
    run = {
        "net": "blocks_net",
        "dtype": "float64",
        "data": {"images": 32},
        "recipe": {"epochs": 2, "learning_rate": 0.001},
        "batch_statistics": statistics,
    }
    runs = in_folders(tmp_path, run, run | {"rematerialize": True})
    kept, again = Training(tmp_path / "process", runs, strategy="mirrored", devices=2).results()
    assert largest_difference(kept["raw"], again["raw"]) < 1e-4


def test_a_model_without_blocks_is_refused(tmp_path):
    with pytest.raises(InputError, match="rematerialize=True has no effect on 'norm'"):
        train(small.norm_net, tmp_path, rematerialize=True)
