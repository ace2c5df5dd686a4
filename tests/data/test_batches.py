import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import InputError, data
from keras_inception.preprocessing import Preprocessing
from tests.data.pictures import fill

SMALL = Preprocessing(size=(10, 12), resize="squash", crop_fraction=1.0)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """23 JPEGs: 13 of class 0, then 10 of class 1."""
    root = tmp_path_factory.mktemp("pictures")
    fill(root / "train", {"a": 13, "b": 10})
    fill(root / "val", {"a": 1, "b": 1})
    return data.load(root).train


def in_memory(images) -> data.Split:
    """Pixels (n, height, width, channels), whose labels are their numbers."""

    def read(number):
        name = tf.strings.as_string(number)
        return {"image": tf.gather(images, number), "label": number, "name": name}

    return data.Split(read, np.arange(len(images)))


def batches(split, **options):
    options = {"preprocessing": SMALL, "global_batch_size": 4} | options
    return data.training_batches(split, **options)


def arrays(dataset) -> tuple[np.ndarray, np.ndarray]:
    """All images and all labels, with the batches as first axis."""
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.stack(images), np.stack(labels)


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", ["paper", "light", "none"])
def test_two_runs_are_identical_and_epochs_and_seeds_are_not(split, mode):
    images, labels = first = arrays(batches(split, mode=mode).epoch(0))
    assert images.shape == (5, 4, 10, 12, 3) and images.dtype == "float32"
    assert labels.shape == (5, 4) and labels.dtype == "int32"
    assert -1 <= images.min() < -0.5 and 0.5 < images.max() <= 1
    assert_equal(first, arrays(batches(split, mode=mode).epoch(0)))
    for other in (batches(split, mode=mode).epoch(1), batches(split, mode=mode, seed=1).epoch(0)):
        assert (arrays(other)[0] != images).mean() > 0.5


@pytest.mark.parametrize("mode", ["paper", "light"])
def test_an_epoch_can_be_entered_at_any_step(split, mode):
    source = batches(split, mode=mode)
    images, labels = arrays(source.epoch(3))
    for step in (1, 4):
        assert_equal((images[step:], labels[step:]), arrays(source.epoch(3, first_step=step)))
    assert list(source.epoch(3, first_step=5)) == []


@pytest.mark.parametrize("count", [2, 4])
def test_shards_join_to_the_global_batch(split, count):
    source = batches(split)
    whole = arrays(source.epoch(1, first_step=2))
    parts = [arrays(source.epoch(1, 2, (index, count))) for index in range(count)]
    assert parts[0][0].shape == (3, 4 // count, 10, 12, 3)
    assert_equal(whole, [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)])


def test_dataset_is_all_epochs(split):
    source = batches(split)
    dataset = source.dataset(3)
    assert int(dataset.cardinality()) == 15 and int(source.epoch(0, 2).cardinality()) == 3
    epochs = [arrays(source.epoch(epoch)) for epoch in range(3)]
    assert_equal(arrays(dataset), [np.concatenate(part) for part in zip(*epochs, strict=True)])


def test_an_epoch_has_every_image_once_at_most(split):
    source = batches(split, mode="none")
    assert (source.images, source.steps_per_epoch, source.global_batch_size) == (23, 5, 4)
    pictures = arrays(data.evaluation_batches(split, preprocessing=SMALL, batch_size=1))[0]
    left_out = set()
    for epoch in range(8):
        images, labels = arrays(source.epoch(epoch))
        equal = (images.reshape(20, 1, -1) == pictures.reshape(1, 23, -1)).all(-1)
        assert (equal.sum(1) == 1).all() and (equal.sum(0) <= 1).all()
        np.testing.assert_array_equal(labels.ravel(), equal.argmax(1) >= 13)
        left_out |= set(np.flatnonzero(equal.sum(0) == 0))
    assert len(left_out) > 8, "other images are left out in other epochs"


def test_order_is_a_fair_shuffle():
    images = tf.constant(np.zeros((10, 10, 12, 3), "uint8"))
    source = batches(in_memory(images), mode="none", global_batch_size=10)
    orders = arrays(source.dataset(600))[1]
    assert (np.sort(orders, 1) == range(10)).all()
    counts = np.array([np.bincount(place, minlength=10) for place in orders.T])
    # 60 are expected of each image at each place; chi-squared with 81 degrees of freedom, 1e-6.
    assert ((counts - 60) ** 2 / 60).sum() < 154


@pytest.mark.parametrize("mode", ["paper", "light"])
def test_an_image_is_distorted_anew_each_time(split, mode):
    source = batches(split.select(np.zeros(23, int)), mode=mode, global_batch_size=23)
    images = np.concatenate([arrays(source.epoch(epoch))[0][0] for epoch in range(2)])
    assert len(np.unique(images.reshape(46, -1), axis=0)) == 46


def test_mode_none_is_the_evaluation(split):
    every = Preprocessing(
        size=(8, 6), mean=(104.0, 117.0, 123.0), std=(1.0, 2.0, 3.0), channel_order="BGR"
    )
    source = batches(split, mode="none", preprocessing=every, global_batch_size=23)
    images = arrays(source.epoch(0))[0][0]
    expected = arrays(data.evaluation_batches(split, preprocessing=every, batch_size=23))[0][0]
    distances = np.abs(images[:, None] - expected[None]).max((2, 3, 4))
    assert sorted(distances.argmin(1)) == list(range(23))
    assert distances.min(1).max() < 1e-3


def test_values_are_clipped_before_they_are_scaled(split):
    """Distorted colours leave 0..255; black is -1 for the network, never less."""
    source = batches(split, seed=5, preprocessing=Preprocessing(size=(10, 12), mean=(0.0,) * 3))
    images = arrays(source.epoch(0))[0] * 127.5
    assert images.min() == 0 and images.max() == 255


@pytest.mark.parametrize(
    ("options", "mirrored"),
    [
        ({"mode": "none"}, False),
        ({"mode": "none", "flip": True}, True),
        ({"mode": "light"}, False),
        ({"mode": "light", "flip": True}, True),
        ({"mode": "paper", "aspect_range": (1.0, 1.0)}, True),
        ({"mode": "paper", "aspect_range": (1.0, 1.0), "flip": False}, False),
    ],
)
def test_flip(options, mirrored):
    """On an image that grows brighter from left to right."""
    ramp = np.linspace(20, 230, 24).astype("uint8")[None, :, None].repeat(24, 0)
    source = batches(in_memory(np.stack([ramp] * 40)), global_batch_size=40, **options)
    images = arrays(source.epoch(0))[0][0]
    brighter_on_the_left = images[:, :, :5].mean((1, 2, 3)) > images[:, :, -5:].mean((1, 2, 3))
    share = brighter_on_the_left.mean()
    assert 0.2 < share < 0.8 if mirrored else share == 0


def test_wrong_arguments(split):
    def error(pattern):
        return pytest.raises(InputError, match=pattern)

    with error("Unknown mode: 'papr'. Did you mean paper"):
        batches(split, mode="papr")
    for size in (0, 24):
        with error(f"global_batch_size={size} must lie between 1 and the 23 images"):
            batches(split, global_batch_size=size)
    with error("seed must lie between 0 and .*, but got -1"):
        batches(split, seed=-1)
    with error("area_range and aspect_range are for mode=\"paper\", but mode is 'light'"):
        batches(split, mode="light", area_range=(0.5, 1.0))
    with error(r"area_range needs 0 < least <= greatest <= 1, but got \(0.5, 1.5\)"):
        batches(split, area_range=(0.5, 1.5))
    with error(r"aspect_range needs 0 < least <= greatest, but got \(2.0, 1.0\)"):
        batches(split, aspect_range=(2.0, 1.0))
    source = batches(split)
    with error("epoch counts from 0, but got -1"):
        source.epoch(-1)
    with error("first_step=6 lies outside an epoch of 5 steps"):
        source.epoch(0, first_step=6)
    with error(r"needs 0 <= index < count, but got \(2, 2\)"):
        source.epoch(0, shard=(2, 2))
    with error("global_batch_size=4 cannot be shared by 3 workers"):
        source.epoch(0, shard=(0, 3))
    with error("epochs must be at least 1, but got 0"):
        source.dataset(0)
    with error("batch_size must be at least 1, but got 0"):
        data.evaluation_batches(split, preprocessing=SMALL, batch_size=0)


def test_facts_tell_what_decides_the_images(split):
    facts = batches(split).facts
    assert json.loads(json.dumps(facts)) is not None and facts == batches(split).facts
    changes = [
        {"mode": "light", "flip": True},
        {"seed": 1},
        {"flip": False},
        {"area_range": (0.5, 1.0)},
        {"aspect_range": (1.0, 1.0)},
        {"preprocessing": Preprocessing(size=(10, 13), resize="squash", crop_fraction=1.0)},
    ]
    for change in changes:
        other = batches(split, **change).facts
        differing = {name for name in facts if facts[name] != other[name]}
        assert differing == set(change) - ({"flip"} if "mode" in change else set())
    other = batches(split.select(np.arange(23)[::-1])).facts
    assert {name for name in facts if facts[name] != other[name]} == {"split"}


def test_evaluation_has_every_image_once_in_order(split):
    preprocessing = Preprocessing(size=(9, 9))
    dataset = data.evaluation_batches(split, preprocessing=preprocessing, batch_size=5)
    found = list(dataset.as_numpy_iterator())
    assert [len(labels) for _, labels in found] == [5, 5, 5, 5, 3]
    assert np.concatenate([labels for _, labels in found]).tolist() == [0] * 13 + [1] * 10
    assert found[0][0].dtype == "float32" and found[0][1].dtype == "int32"
    files = [example["image"] for example in split.examples().as_numpy_iterator()]
    expected = [preprocessing(tf.io.decode_image(file).numpy()) for file in files]
    np.testing.assert_allclose(np.concatenate([x for x, _ in found]), expected, atol=1e-5)


def test_plain_fit(split):
    source = batches(split, mode="light")
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(
        source.dataset(2), epochs=2, steps_per_epoch=source.steps_per_epoch, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all() and len(history.epoch) == 2
    assert model.optimizer.iterations == 10


def output_of(script: str) -> str:
    """What a Python script prints in a process of its own."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.strip()


@pytest.mark.slow
def test_loading_leaves_time_to_make_a_multi_worker_strategy(tmp_path):
    """TensorFlow refuses to make one after its first operation. Optional packages stay out."""
    fill(tmp_path, {"a": 4, "b": 4})
    script = f"""
import json, os, sys
from keras_inception import data
from keras_inception.preprocessing import Preprocessing
for name in ("digits", {str(tmp_path)!r}):
    batches = data.training_batches(
        data.load(name).train, preprocessing=Preprocessing(size=(8, 8)), global_batch_size=2
    )
cluster = {{"cluster": {{"worker": ["localhost:0"]}}, "task": {{"type": "worker", "index": 0}}}}
os.environ["TF_CONFIG"] = json.dumps(cluster)
import tensorflow as tf
with tf.distribute.MultiWorkerMirroredStrategy().scope():
    images, labels = next(iter(batches.epoch(0)))
print(images.shape, "tensorflow_datasets" in sys.modules)
"""
    assert output_of(script) == "(2, 8, 8, 3) False"
