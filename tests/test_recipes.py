import dataclasses
import math

import pytest

from keras_inception import recipes
from keras_inception.errors import InputError

IMAGENET = 1_281_167


def test_recipes_hold_the_numbers_of_the_papers():
    v3 = recipes.inception_v3
    assert (v3.optimizer, v3.rho, v3.momentum, v3.epsilon) == ("rmsprop", 0.9, 0.9, 1.0)
    assert (v3.learning_rate, v3.learning_rate_decay, v3.epochs_per_decay) == (0.045, 0.94, 2)
    assert (v3.epochs, v3.clip_norm, v3.clip_scope, v3.label_smoothing) == (100, 2.0, "global", 0.1)
    google = recipes.googlenet
    assert (google.optimizer, google.momentum, google.auxiliary_weight) == ("momentum", 0.9, 0.3)
    assert (google.learning_rate_decay, google.epochs_per_decay) == (0.96, 8)
    assert (google.label_smoothing, google.clip_norm) == (0.0, None)
    for name in ("inception_v4", "inception_resnet_v1", "inception_resnet_v2"):
        recipe = recipes.get(name)
        changed = {"name": name, "clip_norm": None, "auxiliary_weight": 0.0}
        assert recipe == dataclasses.replace(v3, **changed)


def test_the_ladder_of_v2_changes_one_thing_at_a_time():
    ladder = ["inception_v2", "rmsprop", "label_smoothing", "factorized", "bn_auxiliary"]
    values = [recipes.as_dict(recipes.get(name)) for name in ladder]
    changes = [
        {key for key in a if a[key] != b[key]} - {"name"}
        for a, b in zip(values, values[1:], strict=False)
    ]
    assert changes == [{"optimizer"}, {"label_smoothing"}, set(), set()]


def test_every_field_is_described_and_of_a_simple_type():
    for field in dataclasses.fields(recipes.Recipe):
        assert len(field.metadata["help"]) > 10
        assert field.type in (str, int, float, float | None)


def test_every_recipe_is_listed_under_its_name():
    for name, recipe in recipes.RECIPES.items():
        assert getattr(recipes, name) is recipe
        assert recipe.name == name
        assert recipes.get(name) is recipe


def test_unknown_recipe_names_near_ones():
    with pytest.raises(InputError, match="Unknown recipe: 'inception_v33'. Did you mean incep"):
        recipes.get("inception_v33")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("optimizer", "adam", "one of rmsprop, momentum"),
        ("clip_scope", "all", "'global' or 'tensor'"),
        ("augmentation", "strong", "one of paper, light, none"),
        ("epochs", 0, "a whole number of at least 1"),
        ("epochs", 2.5, "a whole number of at least 1"),
        ("epochs", True, "a whole number of at least 1"),
        ("learning_rate", 0, "a number above 0"),
        ("learning_rate", math.nan, "a number above 0"),
        ("learning_rate", math.inf, "a number above 0"),
        ("learning_rate", "0.1", "a number above 0"),
        ("epochs_per_decay", -1, "a number above 0"),
        ("epsilon", 0, "a number above 0"),
        ("l2", -1e-5, "a number of at least 0"),
        ("auxiliary_weight", -0.1, "a number of at least 0"),
        ("momentum", 1, "at least 0 and below 1"),
        ("rho", -0.1, "at least 0 and below 1"),
        ("label_smoothing", 1.0, "at least 0 and below 1"),
        ("learning_rate_decay", 1.1, "above 0 and at most 1"),
        ("clip_norm", 0.0, "a number above 0, or None"),
        ("batch_norm_momentum", 1.0, "at least 0 and below 1, or None"),
        ("average_decay", 1.5, "at least 0 and below 1, or None"),
    ],
)
def test_values_that_make_no_sense_are_refused(field, value, expected):
    with pytest.raises(InputError) as error:
        dataclasses.replace(recipes.inception_v3, **{field: value})
    assert str(error.value) == f"Recipe 'inception_v3': {field} must be {expected}, not {value!r}."


def test_plan_counts_steps_of_the_global_batch():
    plan = recipes.inception_v3.plan(IMAGENET, 1600)
    assert (plan.steps_per_epoch, plan.steps, plan.decay_steps) == (800, 80_000, 1600)
    smaller = recipes.inception_v3.plan(IMAGENET, 32)
    assert smaller.decay_steps == 2 * 40_036


def test_plan_learning_rate_is_a_staircase():
    plan = recipes.inception_v3.plan(1000, 100)
    rates = [plan.learning_rate(step) for step in range(61)]
    assert rates[:20] == [0.045] * 20
    assert rates[20:40] == [0.045 * 0.94] * 20
    assert rates[60] == 0.045 * 0.94**3


def test_plan_decays_within_an_epoch_at_least_one_step_apart():
    quick = dataclasses.replace(recipes.fine_tune, epochs_per_decay=0.01)
    assert quick.plan(100, 10).decay_steps == 1


def test_plan_average_decay_is_the_releases_ramp():
    plan = recipes.inception_v3.plan(1000, 100)
    assert plan.average_decay(1) == 2 / 11
    assert plan.average_decay(90) == 0.91
    assert plan.average_decay(10**6) == 0.9999
    none = dataclasses.replace(recipes.inception_v3, average_decay=None).plan(1000, 100)
    with pytest.raises(InputError, match="'inception_v3' keeps no running average"):
        none.average_decay(1)


def test_plan_prints_what_will_happen():
    lines = str(recipes.inception_v3.plan(IMAGENET, 1600)).splitlines()
    assert lines == [
        "recipe inception_v3: rmsprop, momentum 0.9, rho 0.9, epsilon 1, norm of all gradients "
        "together clipped at 2",
        "loss: label smoothing 0.1, auxiliary heads 0.4 each, L2 4e-05 on kernels",
        "steps: 1,281,167 images in batches of 1,600: 800 an epoch, 80,000 in 100 epochs",
        "learning rate by epoch: 1-2: 0.045, 3-4: 0.0423, 5-6: 0.03976, 7-8: 0.03738, "
        "9-10: 0.03513, 11-12: 0.03303, ..., 99-100: 0.00217",
        "running average: decay min(0.9999, (1 + n) / (10 + n)), its maximum not reached; at the "
        "end it spans about 8,890 steps; it is what is evaluated and saved",
    ]


def test_plan_prints_short_trainings_whole_and_no_average():
    recipe = dataclasses.replace(
        recipes.fine_tune, epochs=3, average_decay=None, clip_scope="tensor"
    )
    text = str(recipe.plan(320, 32))
    assert "learning rate by epoch: 1: 0.01, 2: 0.008, 3: 0.0064\n" in text
    assert "running average: none; the last weights are evaluated and saved" in text
    assert "momentum 0.9, norm of each gradient clipped at 2\n" in text


def test_plan_says_when_the_average_reaches_its_maximum():
    text = str(dataclasses.replace(recipes.inception_v3, average_decay=0.99).plan(32000, 32))
    assert "its maximum reached at step 890;" in text


def test_plan_warns_of_batch_statistics_too_slow_for_a_short_training():
    short = dataclasses.replace(recipes.inception_v3, epochs=10).plan(320, 32)
    (warning,) = short.warnings
    assert "batch_norm_momentum 0.9997 is slow for 100 steps" in warning
    assert f"keep {0.9997**100:.0%} of their initial values" in warning
    assert f"warning: {warning}" in str(short)
    assert recipes.inception_v3.plan(IMAGENET, 1600).warnings == ()
    assert recipes.googlenet.plan(320, 32).warnings == ()


@pytest.mark.parametrize(
    ("images", "batch", "message"),
    [
        (0, 32, "images must be a whole number above 0, not 0."),
        (100, 3.5, "global_batch_size must be a whole number above 0, not 3.5."),
        (16, 32, "The global batch of 32 images is larger than the 16 training images"),
    ],
)
def test_plan_refuses_numbers_that_make_no_step(images, batch, message):
    with pytest.raises(InputError, match=message):
        recipes.inception_v3.plan(images, batch)
