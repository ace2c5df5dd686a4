import keras
import numpy as np
import pytest

from keras_inception.errors import InputError
from keras_inception.training import AveragedWeights, WeightAveraging
from keras_inception.training.averaging import moving_statistics
from tests.training import small


def ramp(decay, updates):
    return min(decay, (1 + updates) / (10 + updates))


def averaged(decay, start, trace):
    """The release's running average in NumPy, float64."""
    averages = [value.astype("float64") for value in start]
    for n, values in enumerate(trace, 1):
        d = ramp(decay, n)
        averages = [d * a + (1 - d) * v for a, v in zip(averages, values, strict=True)]
    return averages


def values_of(variables):
    return [np.array(variable.numpy()) for variable in variables]


@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_averages_follow_the_releases_ramp(decay):
    model = small.norm_net()
    averages = AveragedWeights(model, decay)
    start, trace = values_of(averages.weights), []
    rng = np.random.default_rng(0)
    for _ in range(40):
        for weight in averages.weights:
            weight.assign(rng.normal(size=weight.shape))
        averages.update()
        trace.append(values_of(averages.weights))
    expected = averaged(decay, start, trace)
    for got, wanted in zip(values_of(averages.averages), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert int(averages.updates.numpy()) == 40


def test_statistics_of_batch_norm_are_averaged_and_frozen_weights_are_not():
    model = small.norm_net()
    first_conv, first_norm = model.layers[1], model.layers[2]
    first_conv.trainable = first_norm.trainable = False
    names = [weight.path for weight in AveragedWeights(model, 0.9).weights]
    assert f"{first_norm.name}/moving_mean" not in names
    assert f"{first_conv.name}/kernel" not in names
    assert sum(name.endswith(("moving_mean", "moving_variance")) for name in names) == 2
    assert len(names) == len(model.trainable_variables) + 2


def test_swapping_a_hundred_times_changes_no_bit():
    model = small.norm_net()
    averages = AveragedWeights(model, 0.9)
    for weight in averages.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape) / 3)
    averages.update()
    raw, mean = values_of(averages.weights), values_of(averages.averages)
    for _ in range(100):
        with averages.swapped():
            pass
    with averages.swapped():
        for got, wanted in zip(values_of(averages.weights), mean, strict=True):
            np.testing.assert_array_equal(got, wanted)
    for got, wanted in zip(values_of(averages.weights), raw, strict=True):
        np.testing.assert_array_equal(got, wanted)
    for got, wanted in zip(values_of(averages.averages), mean, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_weights_come_back_when_the_body_fails():
    model = small.norm_net()
    averages = AveragedWeights(model, 0.9)
    model.layers[1].kernel.assign_add(np.ones(model.layers[1].kernel.shape))
    raw = values_of(averages.weights)
    with pytest.raises(KeyError), averages.swapped():
        raise KeyError
    for got, wanted in zip(values_of(averages.weights), raw, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_outside_its_range_is_refused(decay):
    with pytest.raises(InputError, match=f"decay of the average must be in .0, 1., not {decay}"):
        AveragedWeights(small.norm_net(), decay)


class Trace(keras.callbacks.Callback):
    """Notes what the callback before it averaged."""

    def __init__(self, averaging):
        super().__init__()
        self.averaging, self.steps = averaging, []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(values_of(self.averaging.averages.weights))


def fit(model, averaging, *others, **options):
    model.compile("sgd", "sparse_categorical_crossentropy", **options)
    images, labels = small.Batches().arrays(0)
    model.fit(
        images,
        labels,
        batch_size=16,
        epochs=2,
        verbose=0,
        shuffle=False,
        validation_data=small.validation(),
        callbacks=[averaging, *others],
    )


def test_callback_averages_every_step_and_keeps_the_raw_weights():
    model, averaging = small.norm_net(), WeightAveraging(0.8)
    start = values_of([*model.trainable_variables, *moving_statistics(model)])
    trace = Trace(averaging)
    fit(model, averaging, trace)
    assert len(trace.steps) == 8
    for got, wanted in zip(values_of(averaging.averages.weights), trace.steps[-1], strict=True):
        np.testing.assert_array_equal(got, wanted)
    expected = averaged(0.8, start, trace.steps)
    for got, wanted in zip(values_of(averaging.averages.averages), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_callback_validates_the_averaged_weights():
    model, averaging = small.norm_net(), WeightAveraging(0.999)
    fit(model, averaging)
    raw = model.evaluate(small.validation(), verbose=0)
    with averaging.swapped():
        mean = model.evaluate(small.validation(), verbose=0)
    assert model.history.history["val_loss"][-1] == pytest.approx(mean, rel=1e-6)
    assert abs(raw - mean) > 1e-4


def test_callback_goes_on_in_a_second_fit():
    model, averaging = small.norm_net(), WeightAveraging(0.9)
    fit(model, averaging)
    fit(model, averaging)
    assert int(averaging.averages.updates.numpy()) == 16


def test_callback_refuses_steps_that_it_would_not_see():
    with pytest.raises(InputError, match="compile with steps_per_execution=1, not 4"):
        fit(small.norm_net(), WeightAveraging(0.9), steps_per_execution=4)
