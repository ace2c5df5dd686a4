"""Folding: the same function, in stock layers, for every network and for models of other origin."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.inference.folding import fold_batch_norm, refresh_folded
from tests.inference.small import images, lively, relative_difference, small_convnet
from tests.zoo import CASES, FEW_CASES, every

# The largest difference of a logit, relative to the largest logit, that 16 bits may make.
BFLOAT16_BOUND = 0.03

CASES_BY_ID = {case.id: case for case in CASES}


def own_layers(model):
    """The layers that need this package, also those within models within the model."""
    return [
        layer.name
        for layer in model._flatten_layers()
        if type(layer).__module__.startswith("keras_inception")
    ]


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@every(CASES, quick=FEW_CASES)
def test_every_network_gives_the_same_in_stock_layers(case):
    model = lively(case.small(classifier_activation=None))
    x = images(2, case.size)
    folded = fold_batch_norm(model)
    expected = model(x, training=False)
    assert relative_difference(folded(x), expected) < 1e-5
    assert own_layers(folded) == []
    assert not {"BatchNormalization", "Dropout", "ReLU", "Rescaling"} & set(kinds(folded))
    assert ki.endpoints(folded) == ki.endpoints(model)
    half = fold_batch_norm(model, "bfloat16")
    assert relative_difference(half(x), expected) < BFLOAT16_BOUND
    assert {layer.variable_dtype for layer in half.layers if layer.name != "logits"} <= {
        "bfloat16",
        "float32",  # layers without weights that stand in float32: the head, and squares
    }
    assert {w.dtype for w in half.weights if "logits" not in w.path} - {"float32"} == {"bfloat16"}


def test_every_block_of_the_folded_network_is_the_same():
    model = lively(CASES_BY_ID["googlenet.paper"].small())
    names = list(ki.endpoints(model))
    x = images(1, 64)
    expected = ki.feature_extractor(model, names)(x)
    given = ki.feature_extractor(fold_batch_norm(model), names)(x)
    folded_after = fold_batch_norm(ki.feature_extractor(model, names))(x)
    for name in names:
        assert relative_difference(given[name], expected[name]) < 1e-5, name
        assert relative_difference(folded_after[name], expected[name]) < 1e-5, name


def test_auxiliary_heads_and_dropout_are_gone():
    model = lively(
        ki.GoogLeNet(weights=None, width=0.1, input_shape=(96, 96, 3), classes=5, aux_heads=True)
    )
    folded = fold_batch_norm(model)
    assert not [layer.name for layer in folded.layers if "aux" in layer.name]
    assert not [kind for kind in kinds(folded) if "Dropout" in kind]
    x = images(2, 96)
    expected = model(x, training=False)["predictions"]
    assert relative_difference(folded(x), expected) < 1e-5


def test_the_folded_convolution_is_what_the_formula_says():
    model = small_convnet(layers.Conv2D(4, 1, name="conv"))
    kernel, bias = model.get_layer("conv").get_weights()
    norm = model.get_layer("norm")
    gamma, beta, mean, variance = (value.astype("float64") for value in norm.get_weights())
    slope = gamma / np.sqrt(variance + norm.epsilon)
    folded = fold_batch_norm(model)
    assert kinds(folded) == ["InputLayer", "Conv2D"]
    given_kernel, given_bias = folded.get_layer("relu").get_weights()
    np.testing.assert_allclose(given_kernel, kernel * slope, rtol=1e-6)
    np.testing.assert_allclose(given_bias, (bias - mean) * slope + beta, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("norm", [layers.BatchNormalization, ki.layers.BatchNormalization])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "linear",
    [
        lambda **bias: layers.Conv2D(6, 3, dilation_rate=2, groups=3, **bias),
        lambda **bias: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", **bias),
        lambda **bias: layers.SeparableConv2D(5, 3, depth_multiplier=2, **bias),
        lambda **bias: layers.Dense(4, **bias),
    ],
    ids=["conv", "depthwise", "separable", "dense"],
)
def test_every_linear_layer_folds(linear, use_bias, center, scale, norm):
    model = small_convnet(linear(use_bias=use_bias), norm(scale=scale, center=center, name="norm"))
    folded = fold_batch_norm(model)
    assert len(folded.layers) == 2
    x = images(2, 8)
    assert relative_difference(folded(x), model(x, training=False)) < 1e-5


def test_channels_first(channels_first_kernels):
    inputs = keras.Input((3, 8, 8))
    x = layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = layers.ReLU(name="relu")(ki.layers.BatchNormalization(1)(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.ReLU(name="relu_2")(ki.layers.BatchNormalization(1)(x))
    x = ki.layers.LocalResponseNormalization(axis=1, alpha=0.5)(x)
    model = lively(keras.Model(inputs, x))
    folded = fold_batch_norm(model)
    assert own_layers(folded) == []
    assert "BatchNormalization" not in kinds(folded)
    x = np.moveaxis(images(2, 8), -1, 1)
    assert relative_difference(folded(x), model(x, training=False)) < 1e-5


def between(*steps):
    """A model: convolution, the steps, normalisation."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, layers.BatchNormalization(name="norm")(x))


def used_twice():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, layers.Add()([x, layers.BatchNormalization(name="norm")(x)]))


def is_an_output():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, [x, layers.BatchNormalization(name="norm")(x)])


def shared(kind):
    inputs = keras.Input((8, 8, 3))
    conv, norm = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization(name="norm")
    if kind == "convolution":
        return keras.Model(inputs, conv(norm(conv(inputs))))
    return keras.Model(inputs, norm(conv(norm(inputs))))


def over_rows():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(
        inputs, layers.BatchNormalization(1, name="norm")(layers.Conv2D(3, 3)(inputs))
    )


def normalised_at_once():
    inputs = keras.Input((8, 8, 3))
    x = ki.layers.BatchNormalization(name="norm")(inputs)
    return keras.Model(inputs, layers.Conv2D(3, 3, activation="relu")(x))


@pytest.mark.parametrize(
    "build",
    [
        lambda: between(layers.ReLU()),
        lambda: between(layers.ZeroPadding2D()),
        lambda: between(layers.MaxPooling2D()),
        used_twice,
        is_an_output,
        lambda: shared("convolution"),
        lambda: shared("normalisation"),
        over_rows,
        normalised_at_once,
    ],
    ids=lambda build: build.__name__,
)
def test_what_would_not_be_exact_is_left_alone(build):
    model = lively(build())
    folded = fold_batch_norm(model)
    assert type(folded.get_layer("norm")) is layers.BatchNormalization
    x = images(2, 8)
    for given, expected in zip(
        keras.tree.flatten(folded(x)), keras.tree.flatten(model(x, training=False)), strict=True
    ):
        assert relative_difference(given, expected) < 1e-5


@pytest.mark.parametrize(
    "relu",
    [layers.ReLU(max_value=6), layers.ReLU(negative_slope=0.1), layers.Activation("gelu")],
    ids=["relu6", "leaky", "gelu"],
)
def test_other_activations_stay_layers(relu):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3)(inputs))
    model = lively(keras.Model(inputs, relu(x)))
    folded = fold_batch_norm(model)
    assert kinds(folded) == ["InputLayer", "Conv2D", type(relu).__name__]
    assert relative_difference(folded(images(2, 8)), model(images(2, 8), training=False)) < 1e-5


def test_layers_told_to_train_are_run_as_predict_runs_them():
    inputs = keras.Input((8, 8, 3))
    x = layers.Dropout(0.5)(layers.Conv2D(4, 3)(inputs), training=True)
    x = layers.BatchNormalization()(layers.ReLU()(x), training=True)
    model = lively(keras.Model(inputs, layers.BatchNormalization()(x, training=True)))
    folded = fold_batch_norm(model)
    assert "Dropout" not in kinds(folded)
    expected = model.predict(images(2, 8), verbose=0)
    assert relative_difference(folded(images(2, 8)), expected) < 1e-5


def test_folding_sees_through_dropout():
    assert kinds(fold_batch_norm(between(layers.Dropout(0.5)))) == ["InputLayer", "Conv2D"]


@pytest.mark.parametrize("scale", [0.2, 1.0, 0.0])
@pytest.mark.parametrize("activation", ["relu", None])
def test_residual_scales_are_folded_where_a_linear_layer_computes_the_residual(activation, scale):
    inputs = keras.Input((8, 8, 3))
    change = layers.Conv2D(3, 1, use_bias=False, name="up")(inputs)
    add = ki.layers.ScaledResidual(scale, activation, name="sum")
    model = lively(keras.Model(inputs, add([inputs, change])))
    folded = fold_batch_norm(model)
    assert "Rescaling" not in kinds(folded)
    assert folded.get_layer("sum").output is folded.output
    assert relative_difference(folded(images(2, 8)), model(images(2, 8))) < 1e-6


def test_residual_scales_stay_a_layer_where_the_residual_is_not_linear():
    inputs = keras.Input((8, 8, 3))
    change = layers.ReLU()(layers.Conv2D(3, 1)(inputs))
    model = lively(keras.Model(inputs, ki.layers.ScaledResidual(0.2, name="sum")([inputs, change])))
    folded = fold_batch_norm(model)
    assert "Rescaling" in kinds(folded)
    assert own_layers(folded) == []
    assert relative_difference(folded(images(2, 8)), model(images(2, 8))) < 1e-6


def pooled(pool, conv, *, uses=1):
    inputs = keras.Input((8, 8, 6))
    x = pool(inputs)
    y = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(conv(x)))
    outputs = [y] + [layers.Flatten(name="flat")(x)] * (uses - 1)
    return lively(keras.Model(inputs, outputs if uses > 1 else y))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_average_pools_move_behind_1x1_convolutions_with_fewer_channels(padding):
    pool = layers.AveragePooling2D(3, 1, padding, name="pool")
    model = pooled(pool, layers.Conv2D(4, 1, name="conv"))
    folded = fold_batch_norm(model)
    assert [layer.name for layer in folded.layers[1:]] == ["conv", "pool", "relu"]
    x = images(2, 8, channels=6)
    assert relative_difference(folded(x), model(x, training=False)) < 1e-5
    lively(model, seed=1)
    refresh_folded(folded, model)
    assert relative_difference(folded(x), model(x, training=False)) < 1e-5


def test_pools_stay_if_asked_to():
    model = pooled(layers.AveragePooling2D(3, 1, name="pool"), layers.Conv2D(4, 1, name="conv"))
    folded = fold_batch_norm(model, move_pools=False)
    assert [layer.name for layer in folded.layers[1:]] == ["pool", "relu"]
    x = images(2, 8, channels=6)
    lively(model, seed=1)
    refresh_folded(folded, model)
    assert relative_difference(folded(x), model(x, training=False)) < 1e-5


@pytest.mark.parametrize(
    "model",
    [
        lambda: pooled(layers.AveragePooling2D(3, 1, name="pool"), layers.Conv2D(6, 1)),
        lambda: pooled(layers.AveragePooling2D(3, 1, name="pool"), layers.Conv2D(4, 3)),
        lambda: pooled(layers.AveragePooling2D(3, 1, name="pool"), layers.Conv2D(4, 1, strides=2)),
        lambda: pooled(layers.AveragePooling2D(3, 2, name="pool"), layers.Conv2D(4, 1)),
        lambda: pooled(layers.MaxPooling2D(3, 1, name="pool"), layers.Conv2D(4, 1)),
        lambda: pooled(layers.AveragePooling2D(3, 1, name="pool"), layers.Conv2D(4, 1), uses=2),
        lambda: pooled(
            lambda x: layers.AveragePooling2D(3, 1, name="pool")(layers.ZeroPadding2D(1)(x)),
            layers.Conv2D(4, 1),
        ),
    ],
    ids=["as many channels", "3x3", "strided", "strided pool", "max", "used twice", "padded"],
)
def test_other_pools_stay_where_they_are(model):
    model = model()
    folded = fold_batch_norm(model)
    kept = [x for x in folded.layers[1:] if not isinstance(x, layers.ZeroPadding2D)]
    assert [layer.name for layer in kept[:2]] == ["pool", "relu"]
    x = images(2, 8, channels=6)
    for given, expected in zip(
        keras.tree.flatten(folded(x)), keras.tree.flatten(model(x, training=False)), strict=True
    ):
        assert relative_difference(given, expected) < 1e-5


def test_models_within_the_model_are_folded():
    trunk = small_convnet(layers.Conv2D(4, 3), name="trunk")
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Rescaling(0.5), trunk, layers.Flatten(), layers.Dense(3)]
    )
    lively(model)
    folded = fold_batch_norm(model)
    assert kinds(folded.get_layer("trunk")) == ["InputLayer", "Conv2D"]
    assert relative_difference(folded(images(2, 8)), model(images(2, 8), training=False)) < 1e-5
    lively(model, seed=1)
    refresh_folded(folded, model)
    assert relative_difference(folded(images(2, 8)), model(images(2, 8), training=False)) < 1e-5


def test_the_model_is_left_alone_and_shares_nothing():
    model = lively(CASES_BY_ID["googlenet.slim"].small())
    before = [np.array(value) for value in model.get_weights()]
    folded = fold_batch_norm(model)
    for variable in folded.weights:
        variable.assign(np.zeros(variable.shape))
    for given, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(given, expected)


def test_a_refreshed_model_is_a_folded_anew_one():
    model = lively(CASES_BY_ID["googlenet.slim"].small())
    folded, half = fold_batch_norm(model), fold_batch_norm(model, "bfloat16")
    lively(model, seed=1)
    for given, dtype in ((folded, None), (half, "bfloat16")):
        refresh_folded(given, model)
        anew = fold_batch_norm(model, dtype)
        for a, b in zip(given.weights, anew.weights, strict=True):
            np.testing.assert_array_equal(np.float32(a), np.float32(b))


def test_adapted_normalisations_are_copied_and_refreshed():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    norm = layers.Normalization(name="adapted")
    inputs = keras.Input((8, 8, 3))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3)(norm(inputs)))
    model = lively(keras.Model(inputs, y))
    norm.adapt(rng.normal(120, 60, (16, 8, 8, 3)))
    folded = fold_batch_norm(model)
    before = model(x, training=False)
    assert relative_difference(folded(x), before) < 1e-5
    norm.adapt(rng.normal(30, 20, (16, 8, 8, 3)))
    after = model(x, training=False)
    assert relative_difference(after, before) > 0.1
    refresh_folded(folded, model)
    assert relative_difference(folded(x), after) < 1e-5
    half = fold_batch_norm(model, "bfloat16")(x)
    assert relative_difference(half, after) < BFLOAT16_BOUND


def test_refresh_refuses_another_network_and_writes_nothing():
    model = small_convnet(layers.Conv2D(4, 3))
    folded = fold_batch_norm(model)
    before = folded.get_weights()
    other = small_convnet(layers.Conv2D(4, 3), name="other", relu="other_relu")
    with pytest.raises(InputError, match=r"'other' gives: 2 layers .* such as 'other_relu'"):
        refresh_folded(folded, other)
    wider = small_convnet(layers.Conv2D(5, 3))
    with pytest.raises(InputError, match=r"'relu' have the shape \(3, 3, 3, 5\), but \(3, 3, 3, 4"):
        refresh_folded(folded, wider)
    for given, expected in zip(folded.get_weights(), before, strict=True):
        np.testing.assert_array_equal(given, expected)


def test_saved_folded_models_load_without_this_package(tmp_path):
    model = lively(CASES_BY_ID["googlenet.paper"].small())  # the one with most layers of our own
    x = images(2, 64)
    fold_batch_norm(model).save(tmp_path / "folded.keras")
    np.save(tmp_path / "images.npy", x)
    code = (
        "import sys, keras, numpy; model = keras.models.load_model('folded.keras');"
        "numpy.save('given.npy', model(numpy.load('images.npy')));"
        "sys.exit('keras_inception' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    given = np.load(tmp_path / "given.npy")
    assert relative_difference(given, model(x, training=False)) < 1e-5


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"], indirect=True)
def test_the_precision_of_the_weights_is_kept(policy):
    model = lively(CASES_BY_ID["googlenet.slim"].small())
    folded = fold_batch_norm(model)
    dtype = "float64" if policy == "float64" else "float32"
    assert {layer.compute_dtype for layer in folded.layers[1:]} == {dtype}
    assert {variable.dtype for variable in folded.weights} == {dtype}
    bound = 1e-12 if policy == "float64" else BFLOAT16_BOUND
    assert relative_difference(folded(images(1, 64)), model(images(1, 64), training=False)) < bound


def test_features_without_a_head_are_16_bit_and_a_dense_head_is_not():
    trunk = lively(CASES_BY_ID["googlenet.paper"].small(include_top=False))
    assert fold_batch_norm(trunk, "bfloat16").output.dtype == "bfloat16"
    inner = small_convnet(layers.Conv2D(4, 3), name="inner")
    x = layers.Dense(3, name="logits")(layers.Flatten()(inner.output))
    whole = keras.Model(inner.input, layers.Softmax()(x), name="whole")
    model = keras.Sequential([keras.Input((8, 8, 3)), whole])
    folded = fold_batch_norm(model, "float16")
    assert folded.output.dtype == "float32"
    inside = folded.get_layer("whole")
    assert inside.get_layer("logits").kernel.dtype == "float32"
    assert inside.get_layer("relu").kernel.dtype == "float16"


def test_mistakes_are_explained():
    model = small_convnet(layers.Conv2D(4, 3))
    with pytest.raises(InputError, match="Unknown dtype: 'bfloat'. Did you mean bfloat16"):
        fold_batch_norm(model, "bfloat")
    model.get_layer("norm").moving_variance.assign(np.zeros(4))
    model.get_layer("norm").gamma.assign(np.full(4, 1e5))
    with pytest.raises(InputError, match=r"weight of 'relu' is .*more than float16 holds"):
        fold_batch_norm(model, "float16")
    with pytest.raises(InputError, match="has no graph .* has been built"):
        fold_batch_norm(keras.Sequential([layers.Dense(2)]))

    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(InputError, match="has no graph"):
        fold_batch_norm(Own())
