import dataclasses

import keras
import numpy as np
import pytest

from keras_inception import recipes
from keras_inception.errors import InputError
from keras_inception.training import Momentum, RMSProp, optimizers

STEPS = 50


def variables():
    rng = np.random.default_rng(3)
    shapes = {"kernel": (3, 4), "bias": (4,), "gamma": (4,)}
    return [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        for name, shape in shapes.items()
    ]


def gradients(step):
    rng = np.random.default_rng([7, step])
    return [rng.normal(size=shape).astype("float32") * 3 for shape in ((3, 4), (4,), (4,))]


def clipped(grads, norm, scope):
    grads = [grad.astype("float64") for grad in grads]
    if norm is None:
        return grads
    norms = [np.sqrt((grad**2).sum()) for grad in grads]
    if scope == "global":
        norms = [np.sqrt(sum(one**2 for one in norms))] * len(grads)
    return [g * (norm / one if one > norm else 1) for g, one in zip(grads, norms, strict=True)]


def penalised(grads, weights, l2):
    """slim's penalty l2 * sum(w * w) / 2, on the kernel only."""
    return [grads[0] + l2 * weights[0], *grads[1:]]


def staircase(step):
    return 0.1 * 0.5 ** (step // 15)


def rmsprop_trace(l2, norm, scope):
    """tf.train.RMSPropOptimizer of TensorFlow 1, in NumPy."""
    weights = [v.numpy().astype("float64") for v in variables()]
    mean_squares = [np.ones_like(w) for w in weights]
    moments = [np.zeros_like(w) for w in weights]
    for step in range(STEPS):
        grads = clipped(penalised(gradients(step), weights, l2), norm, scope)
        for i, grad in enumerate(grads):
            mean_squares[i] += (grad**2 - mean_squares[i]) * (1 - 0.8)
            moments[i] = moments[i] * 0.9 + staircase(step) * grad / np.sqrt(mean_squares[i] + 1.0)
            weights[i] = weights[i] - moments[i]
    return weights


def momentum_trace(l2, norm, scope):
    """tf.train.MomentumOptimizer of TensorFlow 1, in NumPy."""
    weights = [v.numpy().astype("float64") for v in variables()]
    sums = [np.zeros_like(w) for w in weights]
    for step in range(STEPS):
        grads = clipped(penalised(gradients(step), weights, l2), norm, scope)
        for i, grad in enumerate(grads):
            sums[i] = sums[i] * 0.9 + grad
            weights[i] = weights[i] - staircase(step) * sums[i]
    return weights


def schedule():
    return keras.optimizers.schedules.ExponentialDecay(0.1, 15, 0.5, staircase=True)


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize(("norm", "scope"), [(None, "global"), (4.0, "global"), (4.0, "tensor")])
@pytest.mark.parametrize("name", ["rmsprop", "momentum"])
def test_optimizer_equals_a_numpy_trace_over_50_steps(name, norm, scope, l2):
    options = {"l2": l2, "clip_norm": norm, "clip_scope": scope}
    if name == "rmsprop":
        optimizer = RMSProp(schedule(), rho=0.8, momentum=0.9, epsilon=1.0, **options)
        expected = rmsprop_trace(l2, norm, scope)
    else:
        optimizer = Momentum(schedule(), momentum=0.9, **options)
        expected = momentum_trace(l2, norm, scope)
    weights = variables()
    for step in range(STEPS):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients(step)], weights)
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight.numpy(), value, rtol=2e-5, atol=2e-6)


def test_first_rmsprop_step_divides_by_the_root_of_two():
    """With epsilon 1 and a mean square of 1, not of 0 as in Keras."""
    weight = keras.Variable([0.0], name="bias")
    RMSProp(0.1, rho=1.0 - 1e-7).apply([keras.ops.convert_to_tensor([1.0])], [weight])
    np.testing.assert_allclose(weight.numpy(), [-0.1 / np.sqrt(2)], rtol=1e-5)


def test_momentum_applies_a_new_rate_to_old_gradients_unlike_keras():
    ours, theirs = keras.Variable([0.0]), keras.Variable([0.0])
    step = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
    for optimizer, weight in (
        (Momentum(step), ours),
        (keras.optimizers.SGD(step, momentum=0.9), theirs),
    ):
        for _ in range(2):
            optimizer.apply([keras.ops.convert_to_tensor([1.0])], [weight])
    assert ours.numpy() == [-1.0]
    np.testing.assert_allclose(theirs.numpy(), [-1.9])


def test_clipping_leaves_nan_visible():
    weight = keras.Variable([0.0, 0.0], name="bias")
    Momentum(0.1, clip_norm=1.0).apply([keras.ops.convert_to_tensor([np.nan, 1.0])], [weight])
    assert np.isnan(weight.numpy()).all()


@pytest.mark.parametrize("optimizer", [RMSProp, Momentum])
def test_optimizers_survive_saving_with_the_model(optimizer, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(optimizer(schedule(), momentum=0.7, l2=0.1, clip_norm=3.0), "mse")
    model.fit(np.ones((8, 4)), np.zeros((8, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert (loaded.optimizer.momentum, loaded.optimizer.l2) == (0.7, 0.1)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_optimizer_of_a_plan_takes_every_value_of_the_recipe():
    recipe = dataclasses.replace(recipes.inception_v3, rho=0.7, momentum=0.6, epsilon=0.5)
    config = optimizers.for_plan(recipe.plan(1000, 100)).get_config()
    wanted = {"rho": 0.7, "momentum": 0.6, "epsilon": 0.5, "l2": 4e-5, "clip_norm": 2.0}
    assert wanted.items() <= config.items()
    assert config["clip_scope"] == "global"
    plain = optimizers.for_plan(recipes.googlenet.plan(1000, 100))
    assert isinstance(plain, Momentum)
    assert plain.clip_norm is None


def test_schedule_of_a_plan_is_the_plans_staircase():
    plan = recipes.inception_v3.plan(1000, 100)
    optimizer = optimizers.for_plan(plan)
    optimizer.build([keras.Variable([0.0])])
    for step in (0, 19, 20, 39, 40, 999):
        optimizer.iterations.assign(step)
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        assert rate == pytest.approx(plan.learning_rate(step), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_scope": "all"}, "clip_scope must be one of .*'global', 'tensor'.*, not 'all'"),
        ({"l2": -1.0}, "l2 must be at least 0, .* not l2=-1.0 and clip_norm=None"),
        ({"clip_norm": 0.0}, "clip_norm above 0 or None, not l2=0.0 and clip_norm=0.0"),
    ],
)
@pytest.mark.parametrize("optimizer", [RMSProp, Momentum])
def test_values_that_make_no_sense_are_refused(optimizer, options, message):
    with pytest.raises(InputError, match=message):
        optimizer(0.1, **options)
