"""Models of every kind that users have: exported, predicted with and folded, or refused clearly."""

import keras
import pytest
from keras import layers

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.inference.export import ExportError, export, network
from keras_inception.inference.export.network import FEATURES, PREDICTIONS
from keras_inception.inference.folding import fold_batch_norm, refresh_folded
from keras_inception.inference.predictor import predictor
from keras_inception.inference.runtimes import open_runtime
from keras_inception.inference.trained import with_defaults
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import info, loading
from tests.inference.small import images, lively, relative_difference

PLAIN = {"runtime": "tensorflow", "dtype": "float32"}
SIDE = 12


def features(inputs):
    x = layers.Conv2D(6, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.GlobalAveragePooling2D()(x)


def functional(*tail, name="given"):
    """A small trunk, and the layers of its end."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = features(inputs)
    for layer in tail:
        x = layer(x)
    return lively(keras.Model(inputs, x, name=name))


def sequential():
    convolution = layers.Conv2D(6, 3, use_bias=False)
    stack = [convolution, layers.BatchNormalization(), layers.GlobalAveragePooling2D()]
    return lively(keras.Sequential([keras.Input((SIDE, SIDE, 3)), *stack, layers.Dense(4)]))


def in_a_list():
    model = functional(layers.Dense(4))
    return keras.Model(model.inputs, model.outputs)


def nested():
    inputs = keras.Input((SIDE, SIDE, 3))
    inner = functional(layers.Dense(4, activation="softmax"))
    return keras.Model(inputs, inner(layers.Rescaling(0.5)(inputs)))


@pytest.mark.parametrize("build", [sequential, in_a_list, nested])
def test_classifiers_of_every_form_are_exported_and_predicted_with(build, tmp_path):
    model, x = build(), images(3, SIDE)
    (expected,) = keras.tree.flatten(model(x))
    export(model, tmp_path / "saved")
    with open_runtime(tmp_path / "saved") as runtime:
        found = runtime.run(x)
    assert set(found) == {PREDICTIONS}
    assert relative_difference(found[PREDICTIONS], expected) < 1e-4
    with predictor(model, **PLAIN, preprocessing=Preprocessing(size=(SIDE, SIDE))) as predict:
        assert relative_difference(predict.run(x), expected) < 1e-4


@pytest.mark.parametrize(
    ("tail", "output", "width"),
    [
        ((layers.Dense(5), layers.BatchNormalization()), FEATURES, 5),
        ((layers.Dense(5), layers.BatchNormalization(), layers.Softmax()), PREDICTIONS, 6),
        ((layers.Dense(5), layers.Dropout(0.5), layers.Softmax()), PREDICTIONS, 6),
        ((layers.Dense(5), layers.UnitNormalization()), FEATURES, 5),
        ((layers.Dense(5, activation="softmax"),), PREDICTIONS, 6),
        ((), FEATURES, 6),
    ],
    ids=["embedding", "normalised", "dropout", "unit length", "classifier", "no head"],
)
@pytest.mark.parametrize("fold", [True, False])
def test_what_an_output_is_called_and_what_comes_before_it(tail, output, width, fold, tmp_path):
    """The width is that of the signature `features`: the trunk's 6 channels, or the embedding."""
    import tensorflow as tf

    fresh = [type(layer).from_config(layer.get_config()) for layer in tail]
    model, x = functional(*fresh), images(2, SIDE)
    export(model, tmp_path / "saved", fold=fold)
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    found = signatures["serving_default"](images=tf.constant(x))
    assert set(found) == {output}
    assert relative_difference(found[output], model(x)) < 1e-4
    assert signatures["features"](images=tf.constant(x))["features"].shape == (2, width)


def test_the_embedding_of_faces_is_exported(tmp_path):
    model = ki.InceptionResNetV1(
        weights=None, architecture="facenet", include_top=False, pooling="bottleneck",
        input_shape=(75, 75, 3), width=0.05,
    )  # fmt: skip
    done = export(lively(model), tmp_path / "faces")
    assert done.metadata["output"]["name"] == FEATURES


def test_models_that_cannot_be_used_are_refused():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = features(inputs)
    two = keras.Model(inputs, {"a": layers.Dense(2)(x), "b": layers.Dense(3)(x)}, name="two")
    pair = keras.Model([inputs, keras.Input((SIDE, SIDE, 3))], x, name="pair")

    class Subclassed(keras.Model):
        pass

    for model, said in (
        (two, "two has 2 outputs and none is named 'predictions'; take one: keras.Model"),
        (keras.Model(inputs, list(two.outputs), name="list"), "list has 2 outputs"),
        (pair, r"pair takes \(None, 12, 12, 3\) and \(None, 12, 12, 3\); expected one batch"),
        (Subclassed(name="mine"), "has no graph to work on; expected a Functional model"),
        (keras.Sequential([layers.Dense(2)]), "has no graph to work on"),
    ):
        with pytest.raises(InputError, match=said):
            predictor(model)
        with pytest.raises(InputError, match=said):
            export(model, "never")


def test_functions_in_layers_are_copied():
    inputs = keras.Input((8, 8, 3))
    scaled = layers.Lambda(lambda x, by: x * by - 1, arguments={"by": 2.0}, name="scale")(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(scaled))
    model, x = lively(keras.Model(inputs, x)), images(2, 8)
    folded = fold_batch_norm(model)
    assert relative_difference(folded(x), model(x)) < 1e-5
    assert folded.get_layer("scale") is not model.get_layer("scale")


def test_layers_that_do_not_say_how_they_are_made_are_refused():
    class Mine(layers.Layer):
        def __init__(self, function, **others):
            super().__init__(**others)
            self.function = function

        def call(self, x):
            return self.function(x)

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(
        inputs, layers.BatchNormalization()(Mine(lambda x: 2 * x, name="mine")(inputs))
    )
    with pytest.raises(InputError, match="'mine' is a Mine, which does not say how it is made"):
        fold_batch_norm(model)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_pool_may_be_all_that_a_convolution_takes_in(use_bias):
    inputs = keras.Input((8, 8, 6))
    pooled = layers.AveragePooling2D(3, 1, "same")(inputs)
    model = lively(keras.Model(inputs, layers.Conv2D(4, 1, use_bias=use_bias)(pooled)))
    x = images(2, 8, channels=6)
    for move_pools in (True, False):
        folded = fold_batch_norm(model, move_pools=move_pools)
        refresh_folded(folded, model)
        assert relative_difference(folded(x), model(x)) < 1e-5


def test_mixed_precision_is_compared_with_what_was_not_folded(tmp_path, monkeypatch):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = functional(layers.Dense(4, activation="softmax", dtype="float32"))
    finally:
        keras.config.set_dtype_policy(before)
    export(model, tmp_path / "right")

    def wrong(model, dtype, **others):
        folded = fold_batch_norm(model, dtype, **others)
        folded.layers[-1].bias.assign_add([0.5, 0, 0, 0])
        return folded

    monkeypatch.setattr(network, "fold_batch_norm", wrong)
    with pytest.raises(ExportError, match="differs from the model by"):
        export(model, tmp_path / "wrong")


def test_public_weights_bring_their_preprocessing_to_the_predictor(tmp_path, monkeypatch):
    """Of a model that a builder has just loaded them into, also if it is for another size."""
    model = ki.InceptionV3(weights=None, width=0.05, input_shape=(75, 75, 3), classes=5)
    assert loading.origin(model) is None
    assert with_defaults(model, "mine").preprocessing == Preprocessing(size=(75, 75))
    model.save_weights(tmp_path / "some.weights.h5")
    monkeypatch.setattr(loading.cache, "converted", lambda *_: tmp_path / "some.weights.h5")
    entry = info("timm.inception_v3.gluon_in1k")
    loading.NamedWeights(entry).load(model, None)
    assert loading.origin(model) is entry
    found = with_defaults(model, "loaded").preprocessing
    assert found == entry.preprocessing.sized((75, 75)) != Preprocessing(size=(75, 75))
    assert with_defaults(model, "loaded", Preprocessing()).preprocessing == Preprocessing()
