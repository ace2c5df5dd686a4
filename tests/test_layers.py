"""The custom layers against Keras, TensorFlow and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.layers import (
    BatchNormalization,
    Conv2D,
    LocalResponseNormalization,
    ScaledResidual,
)

SHAPE = (4, 5, 6, 8)


def _images(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype("float32")


def _operations(layer, shape):
    """Types of the operations of a layer's output and gradients in training."""

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *(v.value for v in layer.trainable_variables)])

    layer.build(shape)
    graph = tf.function(gradients).get_concrete_function(tf.TensorSpec(shape)).graph
    return {operation.type for operation in graph.get_operations()}


def _run(layer, x):
    """Output, gradients, moving statistics after one training step, and inference output."""
    layer.build(x.shape)
    if layer.scale:
        layer.gamma.assign(np.linspace(0.5, 1.5, x.shape[-1]))
    layer.beta.assign(np.linspace(-1, 1, x.shape[-1]))
    x = tf.constant(x)
    variables = [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32") ** 3)
    gradients = tape.gradient(loss, [x, *variables])
    inference = layer(x, training=False)
    return [y, *gradients, layer.moving_mean.value, layer.moving_variance.value, inference]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"], indirect=True)
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"momentum": 0.5, "epsilon": 0.1}])
def test_batch_norm_equals_keras(policy, arguments):
    stock = _run(keras.layers.BatchNormalization(**arguments), _images())
    fused = _run(BatchNormalization(**arguments), _images())
    # 16-bit outputs may round to the neighbouring number.
    tolerance = {"float32": 1e-4, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}[policy]
    for expected, got in zip(stock, fused, strict=True):
        assert got.dtype == expected.dtype
        expected, got = np.asarray(expected, "float32"), np.asarray(got, "float32")
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * abs(got).max())


def test_batch_norm_uses_the_fused_kernel_where_it_should():
    assert "FusedBatchNormV3" in _operations(BatchNormalization(), SHAPE)
    assert "FusedBatchNormV3" not in _operations(BatchNormalization(axis=1), SHAPE)
    assert "FusedBatchNormV3" not in _operations(BatchNormalization(), (4, 8))
    assert "FusedBatchNormV3" not in _operations(BatchNormalization(synchronized=True), SHAPE)


@pytest.mark.parametrize("shape, axis", [((6, 8), -1), ((4, 5, 8), -1), ((4, 8, 5, 6), 1)])
def test_batch_norm_of_other_ranks_and_axes_is_the_stock_one(shape, axis):
    x = _images(shape=shape)
    stock, ours = keras.layers.BatchNormalization(axis=axis), BatchNormalization(axis=axis)
    np.testing.assert_array_equal(stock(x, training=True), ours(x, training=True))


def test_batch_norm_moving_variance_is_of_the_population():
    x = _images()
    layer = BatchNormalization(momentum=0.0)
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_variance, x.var(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, x.mean(axis=(0, 1, 2)), rtol=1e-5)


def test_frozen_batch_norm_keeps_its_statistics_bit_for_bit():
    layer = BatchNormalization()
    layer(_images(), training=True)
    layer.trainable = False
    before = np.array(layer.moving_mean), np.array(layer.moving_variance)
    layer(_images(1), training=True)
    np.testing.assert_array_equal(layer.moving_mean, before[0])
    np.testing.assert_array_equal(layer.moving_variance, before[1])


def test_batch_norm_compiles_with_xla():
    layers, x = (keras.layers.BatchNormalization(), BatchNormalization()), tf.constant(_images())

    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**3)
        return [y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])]

    results = []
    for layer in layers:
        layer.build(x.shape)
        outputs = tf.function(run, jit_compile=True)(layer)
        results.append([*outputs, layer.moving_mean, layer.moving_variance])
    for expected, got in zip(*results, strict=True):
        expected = np.asarray(expected)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


CONVOLUTIONS = [
    {"kernel_size": 1},
    {"kernel_size": 1, "use_bias": False, "padding": "same"},
    {"kernel_size": 1, "strides": 2},
    {"kernel_size": 1, "groups": 2},
    {"kernel_size": (1, 3)},
    {"kernel_size": (3, 1), "padding": "same"},
    {"kernel_size": (4, 2), "padding": "same", "use_bias": False},
    {"kernel_size": 3, "strides": 2},
    {"kernel_size": 3, "dilation_rate": 2},
]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("arguments", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("xla", [False, True], ids=["ops", "xla"])
def test_convolution_equals_keras(policy, arguments, xla):
    stock, ours = keras.layers.Conv2D(4, **arguments), Conv2D(4, **arguments)
    x = tf.constant(_images())
    for layer in (stock, ours):
        layer.build(x.shape)
    ours.set_weights(stock.get_weights())

    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 2)
        return [y, *tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])]

    expected, got = (tf.function(run, jit_compile=xla)(layer) for layer in (stock, ours))
    # The gradient of the bias is a sum of many in bfloat16, in an order that threads decide.
    tolerance = {"float32": 1e-5, "mixed_bfloat16": 2**-4}[policy]
    for theirs, mine in zip(expected, got, strict=True):
        assert mine.dtype == theirs.dtype
        theirs, mine = np.asarray(theirs, "float32"), np.asarray(mine, "float32")
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * abs(mine).max())


@pytest.mark.parametrize(
    "arguments, shape, products",
    [
        ({"kernel_size": 1}, (2, 35, 35, 8), True),
        ({"kernel_size": 1}, (2, None, None, 8), True),
        ({"kernel_size": 1, "strides": 2}, (2, 8, 8, 8), False),
        ({"kernel_size": 3}, (2, 8, 8, 8), True),
        ({"kernel_size": 3}, (2, 8, 9, 8), False),
        ({"kernel_size": 3}, (2, None, 8, 8), False),
        ({"kernel_size": 3, "dilation_rate": 2}, (2, 8, 8, 8), False),
    ],
    ids=str,
)
def test_gradients_of_small_kernels_and_on_small_grids_are_products(arguments, shape, products):
    operations = _operations(Conv2D(4, **arguments), shape)
    assert ("MatMul" in operations) == products
    assert ("Conv2DBackpropFilter" not in operations) == products


def test_beside_a_gpu_larger_kernels_are_computed_as_ever(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert "Conv2DBackpropFilter" in _operations(Conv2D(4, 3), (2, 8, 8, 8))
    assert "Conv2DBackpropFilter" not in _operations(Conv2D(4, 1), (2, 8, 8, 8))


def test_scaled_residual_adds_and_activates():
    x, residual = _images(0), _images(1)
    got = ScaledResidual(0.17)([x, residual])
    np.testing.assert_allclose(got, np.maximum(x + 0.17 * residual, 0), rtol=1e-6)
    linear = ScaledResidual(1.0, activation=None)([x, residual])
    np.testing.assert_allclose(linear, x + residual, rtol=1e-6)


def test_scale_zero_is_the_identity_on_positive_input():
    x = abs(_images())
    np.testing.assert_array_equal(ScaledResidual(0.0)([x, _images(1)]), x)


def test_wrong_depth_is_refused_with_both_depths():
    with pytest.raises(InputError, match=r"residual of depth 16 .* input of depth 8 .*filters"):
        ScaledResidual(0.1, name="sum")([np.ones((1, 4, 4, 8)), np.ones((1, 4, 4, 16))])


def test_wrong_depth_in_channels_first(channels_first):
    with pytest.raises(InputError, match="residual of depth 16 .* input of depth 8"):
        ScaledResidual(0.1)([np.ones((1, 8, 4, 4)), np.ones((1, 16, 4, 4))])


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "much", None])
def test_scale_must_be_a_finite_number(scale):
    with pytest.raises(InputError, match="expected a finite number"):
        ScaledResidual(scale)


def test_scaled_residual_takes_a_pair():
    with pytest.raises(InputError, match=r"expected the pair \[x, residual\]"):
        ScaledResidual(0.1)(np.ones((1, 4, 4, 8)))


def test_lrn_equals_tensorflow_with_alpha_over_the_window():
    x = _images(shape=(2, 3, 3, 16))
    expected = tf.nn.local_response_normalization(
        x, depth_radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75
    )
    np.testing.assert_allclose(LocalResponseNormalization()(x), expected, rtol=1e-6)


def test_gradients_of_lrn_equal_tensorflows():
    x = tf.constant(_images(shape=(2, 3, 3, 16)))
    layer = LocalResponseNormalization(alpha=5.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        got = layer(x)
        expected = tf.nn.local_response_normalization(x, 2, bias=1.0, alpha=1.0, beta=0.75)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    weights = _images(shape=(2, 3, 3, 16), seed=1)
    np.testing.assert_allclose(
        tape.gradient(got, x, weights), tape.gradient(expected, x, weights), rtol=1e-4, atol=1e-6
    )


def test_lrn_equals_the_formula_on_either_axis():
    x = _images(shape=(1, 2, 2, 7)).astype("float64")
    settings = {"depth_radius": 1, "alpha": 0.5, "beta": 2.0, "bias": 3.0}
    expected = np.empty_like(x)
    for c in range(7):
        window = x[..., max(c - 1, 0) : c + 2]
        expected[..., c] = x[..., c] / (3.0 + 0.5 / 3 * (window**2).sum(-1)) ** 2.0
    got = LocalResponseNormalization(**settings)(x)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    first = LocalResponseNormalization(**settings, axis=1)(x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(first, expected.transpose(0, 3, 1, 2), rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"depth_radius": -1}, {"bias": 0.0}])
def test_lrn_refuses_settings_that_divide_by_zero(wrong):
    with pytest.raises(InputError, match="expected a depth_radius of 0 or more and a positive"):
        LocalResponseNormalization(**wrong)


@pytest.mark.parametrize(
    "layer",
    [
        ScaledResidual(0.3, activation="gelu", name="a"),
        BatchNormalization(momentum=0.7, epsilon=0.1, scale=False, name="b"),
        Conv2D(8, 1, kernel_regularizer="l2", name="d"),
        LocalResponseNormalization(1, 0.2, 0.5, 2.0, axis=1, name="c"),
    ],
)
def test_layers_serialise(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
