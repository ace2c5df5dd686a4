import csv
import dataclasses
import json
import os
import re
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.inference.trained import load_trained
from keras_inception.preprocessing import Preprocessing
from keras_inception.training import (
    DeadNetworkError,
    Interrupted,
    NonFiniteError,
    RMSProp,
    fit,
    label_every_head,
)
from keras_inception.training.checkpoints import Checkpoints
from tests.data.pictures import fill
from tests.training import small


def train(build, run_dir, recipe=None, data=None, **options):
    options = {"validation": small.validation(), "verbose": 0} | options
    return fit(build, recipe or small.recipe(), data or small.Batches(), run_dir=run_dir, **options)


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(small.weights_of(a), small.weights_of(b), strict=True)
    )


class Note(keras.callbacks.Callback):
    """Notes the logs; may do something after a step."""

    def __init__(self, after_step=None, do=None):
        super().__init__()
        self.after_step, self.do, self.steps, self.epochs = after_step, do, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append((batch, dict(logs)))
        if int(self.model.optimizer.iterations.numpy()) == self.after_step:
            self.do(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, dict(logs)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole training of the net with batch norm; its callback."""
    note = Note()
    folder = tmp_path_factory.mktemp("fit") / "run"
    done = train(lambda: small.norm_net(0.3), folder, callbacks=[note], evaluate_raw=True)
    return done, note


def test_a_run_leaves_its_files(run):
    done, _ = run
    names = {path.name for path in done.run_dir.iterdir()}
    expected = {"checkpoints", "curves.png", "history.csv", "model.keras", "tensorboard"}
    assert names == expected | {"training.json"}
    assert (done.run_dir / "curves.png").read_bytes()[:4] == b"\x89PNG"
    facts = json.loads((done.run_dir / "training.json").read_text())
    assert facts["learning_rate"] == 0.05
    assert facts["plan"][0].startswith("recipe small: rmsprop")
    assert (facts["epochs"], facts["seed"], facts["global_batch_size"]) == (3, 0, 16)


def test_history_has_a_row_for_each_epoch(run):
    done, note = run
    with open(done.run_dir / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["learning_rate"]) for row in rows] == [0.05, 0.05, 0.05 * 0.94]
    for row, kept, (_, logs) in zip(rows, done.history, note.epochs, strict=True):
        assert {name: float(value) for name, value in row.items()} == kept
        assert logs.items() <= kept.items()
    assert {"val_loss", "val_accuracy", "val_top5_accuracy", "raw_val_accuracy"} <= rows[0].keys()
    assert done.steps == 12


def test_callbacks_see_running_means_of_each_epoch(run):
    done, note = run
    assert [batch for batch, _ in note.steps] == [0, 1, 2, 3] * 3
    assert note.steps[-1][1]["loss"] == done.history[-1]["loss"]
    assert set(note.steps[0][1]) == {"loss", "accuracy", "alive_features"}


def test_tensorboard_has_every_epoch(run):
    from tensorflow.python.summary.summary_iterator import summary_iterator

    (path,) = (run[0].run_dir / "tensorboard").iterdir()
    found = {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for event in summary_iterator(str(path))
        for value in event.summary.value
    }
    for row in run[0].history:
        assert found["epoch/val_loss", row["epoch"]] == pytest.approx(row["val_loss"])
    assert ("batch/loss", 1) in found


def test_model_file_holds_what_fit_returns(run):
    loaded = keras.models.load_model(run[0].run_dir / "model.keras")
    assert same(loaded, run[0].model)
    assert not loaded.compiled


def test_validation_counts_every_image_once(run):
    """27 images in batches of 8, computed again from the saved model, in NumPy."""
    batches = small.validation().as_numpy_iterator()
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert len(labels) == 27
    probabilities = keras.models.load_model(run[0].run_dir / "model.keras").predict(
        images, verbose=0
    )
    row = run[0].history[-1]
    own = probabilities[np.arange(27), labels]
    assert row["val_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert row["val_accuracy"] == pytest.approx((probabilities.argmax(-1) == labels).mean())
    rank = (probabilities > own[:, None]).sum(-1)
    assert row["val_top5_accuracy"] == pytest.approx((rank < 5).mean())
    assert row["val_loss"] != row["raw_val_loss"]


def test_checkpoint_holds_raw_weights_and_model_file_averaged_ones(run):
    from safetensors.numpy import load

    tensors = load(Checkpoints(run[0].run_dir / "checkpoints").read_latest())
    kernels = {name.split("/")[0]: t for name, t in tensors.items() if name.endswith("kernel")}
    averages = [t for name, t in tensors.items() if name.endswith("logits_kernel_average")]
    final = run[0].model.get_layer("logits").kernel.numpy()
    assert not np.array_equal(kernels["model"], final)
    assert averages == [] or np.array_equal(averages[0], final)


@pytest.mark.slow
@pytest.mark.parametrize("net", [small.norm_net, small.plain_net])
def test_fit_makes_the_steps_of_plain_keras(net, tmp_path):
    """The recipe's compile and callbacks with `model.fit` come to the same weights."""
    recipe, data = small.recipe(epochs=2), small.Batches()
    ours = train(net, tmp_path / "ours", recipe)

    keras.utils.set_random_seed(0)
    model = net()
    recipe.compile(model, images=data.images, global_batch_size=data.global_batch_size)
    assert isinstance(model.optimizer, RMSProp)
    batches = data.epoch(0).concatenate(data.epoch(1)).map(label_every_head(model))
    validation = small.validation().map(label_every_head(model))
    history = model.fit(
        batches.repeat(),
        steps_per_epoch=4,
        epochs=2,
        validation_data=validation,
        callbacks=recipe.callbacks(tmp_path / "plain"),
        verbose=0,
    ).history
    plain = keras.models.load_model(tmp_path / "plain" / "model.keras")
    for a, b in zip(small.weights_of(ours.model), small.weights_of(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert history["loss"] == pytest.approx([row["loss"] for row in ours.history], rel=1e-5)
    head = "val_predictions_accuracy" if net is small.plain_net else "val_accuracy"
    assert history[head] == pytest.approx([row["val_accuracy"] for row in ours.history])
    assert (tmp_path / "plain" / "history.csv").exists()
    assert (tmp_path / "plain" / "curves.png").exists()


def test_auxiliary_heads_are_trained_and_left_out_of_the_model(tmp_path):
    models = []

    def build():
        models.append(small.plain_net())
        models.append(small.plain_net())
        return models[0]

    done = train(build, tmp_path, small.recipe(epochs=1))
    before, after = (model.get_layer("aux2_logits").kernel.numpy() for model in models[::-1])
    assert not np.array_equal(before, after)
    assert done.model.output.shape == (None, 7)
    assert "aux2" not in [layer.name for layer in done.model.layers]


def test_batch_norm_momentum_is_the_recipes(run):
    norms = [x for x in run[0].model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert [norm.momentum for norm in norms] == [0.9, 0.9]


@pytest.mark.parametrize("step", [4, *(pytest.param(i, marks=pytest.mark.slow) for i in (3, 6))])
def test_a_run_that_failed_goes_on_where_it_was(run, step, tmp_path):
    def fail(model):
        raise OSError("the power is out")

    build = lambda: small.norm_net(0.3)  # noqa: E731
    with pytest.raises(OSError, match="the power is out"):
        train(build, tmp_path, callbacks=[Note(step, fail)], checkpoint_steps=1, evaluate_raw=True)
    note = Note()
    again = train(build, tmp_path, callbacks=[note], evaluate_raw=True)
    assert len(note.steps) == 12 - (step - 1)
    assert same(again.model, run[0].model)
    for a, b in zip(again.history, run[0].history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_finishes_the_step_and_saves_it(run, number, tmp_path):
    before = signal.getsignal(number)
    send = Note(5, lambda model: os.kill(os.getpid(), number))
    build = lambda: small.norm_net(0.3)  # noqa: E731
    with pytest.raises(Interrupted, match="Stopped by a signal after step 5; it is saved"):
        train(build, tmp_path, callbacks=[send])
    assert signal.getsignal(number) is before
    names = [path.name for path in Checkpoints(tmp_path / "checkpoints").files()]
    assert names[0] == "step_000000005.safetensors"
    if number == signal.SIGTERM:
        assert same(train(build, tmp_path).model, run[0].model)


def test_a_finished_run_can_be_made_longer(tmp_path):
    short = train(small.tiny_net, tmp_path / "a", small.recipe(epochs=1))
    note = Note()
    longer = train(small.tiny_net, tmp_path / "a", callbacks=[note])
    assert len(note.steps) == 8
    assert longer.history[0] == short.history[0]
    assert same(longer.model, train(small.tiny_net, tmp_path / "b").model)
    note = Note()
    again = train(small.tiny_net, tmp_path / "a", callbacks=[note], resume="required")
    assert note.steps == []
    assert same(again.model, longer.model)


def test_a_training_is_not_made_shorter(tmp_path):
    train(small.tiny_net, tmp_path)
    noted = (tmp_path / "training.json").read_text()
    with pytest.raises(InputError, match="of 3 finished epochs, more than the 1 that are asked"):
        train(small.tiny_net, tmp_path, small.recipe(epochs=1))
    assert (tmp_path / "training.json").read_text() == noted


def test_a_model_for_a_builder_and_a_name_for_a_recipe_are_refused(tmp_path):
    with pytest.raises(InputError, match="build is a Functional; expected a function that returns"):
        train(small.tiny_net(), tmp_path / "run")
    with pytest.raises(InputError, match="recipe is 'googlenet'; expected a Recipe, such as"):
        train(small.tiny_net, tmp_path / "run", "googlenet")
    assert not (tmp_path / "run").exists()


def test_a_run_is_loaded_with_the_preprocessing_that_it_was_trained_with(tmp_path):
    recipe = small.recipe(epochs=1)
    preprocessing = Preprocessing(size=(16, 16), crop_fraction=1.0, resize="squash")
    data = ki.data.training_batches(
        ki.data.load("digits").train.select(np.arange(16)),
        preprocessing=preprocessing,
        global_batch_size=8,
        mode=recipe.augmentation,
    )
    train(lambda: pooled(16), tmp_path, recipe, data, validation=None)
    assert load_trained(tmp_path).preprocessing == preprocessing
    (tmp_path / "training.json").unlink()
    assert load_trained(tmp_path).preprocessing == Preprocessing(size=(16, 16))


def test_a_callback_can_stop_the_training(tmp_path):
    def stop(model):
        model.stop_training = True

    done = train(small.tiny_net, tmp_path, callbacks=[Note(6, stop)])
    assert (done.steps, len(done.history)) == (6, 2)
    note = Note()
    assert train(small.tiny_net, tmp_path, callbacks=[note]).steps == 6
    assert note.steps == []
    with pytest.raises(InputError, match="in epoch 2 of 3; it cannot be made longer, to 4. Ask fo"):
        train(small.tiny_net, tmp_path, small.recipe(epochs=4))


def test_the_best_weights_are_put_back_where_nothing_is_averaged(tmp_path):
    class Spoil(Note):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.best = [np.array(weight.numpy()) for weight in self.model.weights]
            else:
                logs["val_accuracy"] = 0.0

    keep, spoil = keras.callbacks.EarlyStopping, Spoil()
    restore = keep("val_accuracy", mode="max", patience=9, restore_best_weights=True)
    recipe = small.recipe(average_decay=None)
    done = train(small.tiny_net, tmp_path / "raw", recipe, callbacks=[spoil, restore])
    for best, weight in zip(spoil.best, done.model.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), best)
    with pytest.raises(InputError, match="EarlyStopping has restore_best_weights=True, but a trai"):
        train(small.tiny_net, tmp_path / "averaged", callbacks=[restore])
    assert not (tmp_path / "averaged").exists()


class Columns(small.Batches):
    """Labels as a column, which some data have."""

    def epoch(self, *args, **kwargs):
        return super().epoch(*args, **kwargs).map(lambda images, labels: (images, labels[:, None]))


def test_labels_may_be_a_column(tmp_path):
    column = small.validation().map(lambda images, labels: (images, labels[:, None]))
    recipe = small.recipe(epochs=1)
    one = train(small.norm_net, tmp_path / "a", recipe)
    two = train(small.norm_net, tmp_path / "b", recipe, Columns(), validation=column)
    for row, other in zip(one.history, two.history, strict=True):
        assert other == pytest.approx(row | {"seconds": other["seconds"]}, rel=1e-4)


def test_early_stopping_follows_the_validation_of_the_main_head(tmp_path):
    stop = keras.callbacks.EarlyStopping("val_accuracy", mode="max", baseline=2.0, patience=1)
    done = train(small.tiny_net, tmp_path, callbacks=[stop])
    assert len(done.history) == 2  # Keras never stops at the first epoch


def test_without_average_and_validation_the_raw_weights_are_the_model(tmp_path):
    model = []
    recipe = small.recipe(epochs=1, average_decay=None)
    build = lambda: model.append(small.tiny_net()) or model[0]  # noqa: E731
    done = train(build, tmp_path, recipe, validation=None)
    assert set(done.history[0]) == {
        "epoch", "learning_rate", "seconds", "loss", "accuracy", "alive_features"
    }  # fmt: skip
    assert same(done.model, model[0])


@pytest.mark.slow
def test_training_learns_the_task(tmp_path):
    recipe = small.recipe(epochs=12, learning_rate=0.1, average_decay=0.99)
    done = train(small.norm_net, tmp_path, recipe, small.Batches(images=256))
    assert done.history[-1]["val_accuracy"] > 0.8 > 2 * done.history[0]["val_accuracy"]


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_mixed_precision_keeps_weights_and_averages_in_float32(policy, tmp_path):
    done = train(small.norm_net, tmp_path, small.recipe(epochs=1))
    assert {weight.dtype for weight in done.model.weights} == {"float32"}
    assert np.isfinite(done.history[0]["val_loss"])


def test_float16_is_refused(tmp_path):
    def build():
        inputs = keras.Input((small.SIDE, small.SIDE, 3))
        x = keras.layers.Conv2D(4, 3, dtype="mixed_float16", name="half")(inputs)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(small.CLASSES)(x), name="net")

    with pytest.raises(InputError, match="net computes in float16 .half, 1 layers in all., wh"):
        train(build, tmp_path)


@pytest.mark.slow
def test_xla_comes_to_the_same_weights(tmp_path):
    recipe = small.recipe(epochs=1)
    compiled = train(small.norm_net, tmp_path / "a", recipe, jit_compile=True)
    plain = train(small.norm_net, tmp_path / "b", recipe)
    for a, b in zip(small.weights_of(compiled.model), small.weights_of(plain.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


class Spoiled(small.Batches):
    """One value of the sixth step is spoiled."""

    spoil: str = "images"

    def arrays(self, epoch):
        images, labels = super().arrays(epoch)
        if epoch == 1:
            if self.spoil == "images":
                images[20, 0, 0, 0] = np.nan
            else:
                labels[20] = 7
        return images, labels


def test_images_that_are_not_finite_end_the_training(tmp_path):
    with pytest.raises(NonFiniteError, match="Step 6: NaN or infinity in the images"):
        train(small.tiny_net, tmp_path, data=Spoiled(), checkpoint_steps=1)
    assert Checkpoints(tmp_path / "checkpoints").files()[0].name == "step_000000005.safetensors"


@pytest.mark.slow
def test_labels_outside_the_classes_end_the_training(tmp_path):
    data = Spoiled()
    object.__setattr__(data, "spoil", "labels")
    with pytest.raises(InputError, match="Step 6: a label is below 0 or not below the model's"):
        train(small.tiny_net, tmp_path, data=data)


def test_an_image_that_cannot_be_read_ends_the_training_with_its_name(tmp_path):
    pictures = fill(tmp_path / "pictures", {"train/a": 3, "train/b": 3})
    for broken in (pictures / "train" / "b").iterdir():
        broken.write_bytes(b"no picture")
    batches = ki.data.training_batches(
        ki.data.load(pictures, check=False).train,
        preprocessing=Preprocessing(size=(small.SIDE, small.SIDE)),
        global_batch_size=2,
        mode="none",
    )
    recipe = small.recipe(augmentation="none")
    with pytest.raises(InputError, match=r"The image .*b/00\d.jpg cannot be read: "):
        train(small.tiny_net, tmp_path / "run", recipe, batches, validation=None)


def test_weights_that_explode_end_the_training_with_their_name(tmp_path):
    recipe = small.recipe(learning_rate=1e38, clip_norm=None, l2=0.0)
    with pytest.raises(
        NonFiniteError, match="Step [1-4]: NaN or infinity in (the loss|the weight)"
    ):
        train(small.tiny_net, tmp_path, recipe)


def test_a_dead_network_ends_the_training(tmp_path):
    def build():
        model = small.tiny_net()
        model.get_layer("last").bias.assign(np.full(4, -1e6))
        return model

    with pytest.raises(DeadNetworkError, match="Step 10: the network has died: .* only zeros"):
        train(build, tmp_path)


def test_data_that_ends_too_early_is_named(tmp_path):
    class Short(small.Batches):
        def epoch(self, epoch, first_step=0, shard=(0, 1)):
            return super().epoch(epoch, first_step, shard).take(3)

    with pytest.raises(InputError, match="has 3 batches from step 0 of epoch 0 on; its 4 steps an"):
        train(small.tiny_net, tmp_path, data=Short())

    class Unknown(Short):
        def epoch(self, epoch, first_step=0, shard=(0, 1)):
            return super().epoch(epoch, first_step, shard).filter(lambda x, y: True)

    with pytest.raises(InputError, match="The training data ended after 3 of 4 steps"):
        train(small.tiny_net, tmp_path, data=Unknown())


def test_validation_without_images_or_with_wrong_labels_is_refused(tmp_path):
    recipe = small.recipe(epochs=1)
    with pytest.raises(InputError, match="The validation data has no images"):
        train(small.tiny_net, tmp_path / "a", recipe, validation=small.validation().take(0))
    wrong = small.validation().map(lambda x, y: (x, y + 3))
    with pytest.raises(InputError, match="The label [789] is not one of the model's 7 classes"):
        train(small.tiny_net, tmp_path / "b", recipe, validation=wrong)


def test_resuming_is_refused_where_it_would_be_wrong(tmp_path):
    recipe = small.recipe(epochs=1)
    with pytest.raises(InputError, match="has no checkpoint to go on from; resume='auto' starts"):
        train(small.tiny_net, tmp_path, recipe, resume="required")
    train(small.tiny_net, tmp_path, recipe)
    with pytest.raises(InputError, match="holds the checkpoints of an earlier run. Use another"):
        train(small.tiny_net, tmp_path, recipe, resume="never")
    other = dataclasses.replace(recipe, l2=0.5)
    with pytest.raises(
        InputError, match=r"another training; these differ: l2 \(0.001 there, 0.5 h"
    ):
        train(small.tiny_net, tmp_path, other)
    with pytest.raises(InputError, match=r"differ: global_batch_size \(16 there, 32 here\)"):
        train(small.tiny_net, tmp_path, recipe, small.Batches(global_batch_size=32))
    with pytest.raises(InputError, match="The checkpoint is of another model"):
        train(small.plain_net, tmp_path, recipe)
    facts = {"weights": "v4.keras", "size": (8, 8)}
    with pytest.raises(InputError, match=r"facts.weights \(None there, 'v4.keras' here\), facts.s"):
        train(small.tiny_net, tmp_path, recipe, facts=facts)
    train(small.tiny_net, tmp_path / "other", recipe, facts=facts)
    train(small.tiny_net, tmp_path / "other", recipe, facts=facts, resume="required")
    with pytest.raises(InputError, match="values that JSON can hold, .*Path is not JSON serializ"):
        train(small.tiny_net, tmp_path / "new", recipe, facts={"weights": tmp_path})
    assert not (tmp_path / "new").exists()


def digits(side=16, **options):
    options = {"mode": "paper", "global_batch_size": 32} | options
    preprocessing = Preprocessing(size=(side, side))
    few = ki.data.load("digits").train.select(options.pop("images", np.arange(64)))
    return ki.data.training_batches(few, preprocessing=preprocessing, **options)


def pooled(side=16):
    inputs = keras.Input((side, side, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def test_resuming_is_refused_with_other_images(tmp_path):
    recipe = small.recipe(epochs=1, augmentation="paper")
    options = {"recipe": recipe, "validation": None}
    train(pooled, tmp_path, data=digits(), **options)
    train(pooled, tmp_path, data=digits(), resume="required", **options)
    for changes, message in [
        ({"seed": 7}, r"differ: data.seed \(0 there, 7 here\)"),
        ({"flip": False}, r"differ: data.flip \(True there, False here\)"),
        ({"area_range": (0.5, 1)}, r"differ: data.area_range \(\[0.08, 1.0\] there, \[0.5, 1\]"),
        ({"images": np.arange(1, 65)}, "differ: data.split "),
    ]:
        with pytest.raises(InputError, match=message):
            train(pooled, tmp_path, data=digits(**changes), **options)
    with pytest.raises(InputError, match=r"data.preprocessing .*, input_shape \(\[16, 16, 3\] the"):
        train(lambda: pooled(32), tmp_path, data=digits(32), **options)
    light = options | {"recipe": dataclasses.replace(recipe, augmentation="light")}
    with pytest.raises(InputError, match="differ: augmentation .*, data.mode "):
        train(pooled, tmp_path, data=digits(mode="light"), **light)


def test_data_of_another_mode_than_the_recipes_is_refused(tmp_path):
    message = (
        "The training data has the mode 'light', but the recipe 'small' has the augmentation "
        "'paper'. Make the data with mode=recipe.augmentation, or change the recipe: "
        "dataclasses.replace(recipe, augmentation='light')."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        train(pooled, tmp_path, data=digits(mode="light"))


def test_data_that_cannot_be_entered_at_any_step_is_refused(tmp_path):
    message = (
        "without images, global_batch_size, epoch. Expected what ki.data.training_batches returns, "
        "or an object with images, global_batch_size and epoch(epoch, first_step, "
    )
    with pytest.raises(InputError, match=re.escape(message)):
        train(small.tiny_net, tmp_path, data=small.validation())
    with pytest.raises(InputError, match="train is a Split without images, global_batch_size, ep"):
        train(small.tiny_net, tmp_path, data=ki.data.load("digits").train)


def test_l2_of_both_the_model_and_the_recipe_is_refused(tmp_path):
    def build():
        x = inputs = keras.Input((small.SIDE, small.SIDE, 3))
        x = keras.layers.Conv2D(4, 3, kernel_regularizer="l2", name="penalised")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(small.CLASSES)(x), name="net")

    message = (
        "L2 would count twice: 'net' was built with a kernel_regularizer (of penalised/kernel, 1 "
        "in all), and the recipe 'small' has l2=0.001. Build the model without "
        "kernel_regularizer, or take dataclasses.replace(recipe, l2=0.0)."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        train(build, tmp_path)
    with pytest.raises(InputError, match="L2 would count twice"):
        small.recipe().compile(build(), images=64, global_batch_size=16)
    small.recipe(l2=0.0).compile(build(), images=64, global_batch_size=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": "yes"}, "resume must be one of auto, required, never, not 'yes'"),
        ({"checkpoint_steps": 0}, "checkpoint_steps must be at least 1 or None, not 0"),
        ({"batch_statistics": "global"}, "must be one of local, synchronized, not 'global'"),
        ({"strategy": "mirored"}, "Unknown strategy: 'mirored'. Did you mean mirrored"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(small.tiny_net, tmp_path, **options)
    assert not any(tmp_path.iterdir())
