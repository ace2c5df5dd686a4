"""Fixtures that change global state and put it back."""

import gc
import os

# TensorFlow uses oneDNN's kernels by default on some processors only; with them the numbers and
# what can run, channels_first for one, are alike on all. Read at TensorFlow's import.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import hypothesis
import keras
import pytest
import tensorflow as tf

# Keras and TensorFlow make a million objects for a network; looking for garbage after every 700 new
# ones, as Python does by default, takes a quarter of the time.
gc.set_threshold(50_000)

# The same examples in every run, so that a failure is never another commit's.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.fixture
def channels_first_kernels(channels_first):
    """For tests that also run such networks; TensorFlow lacks the kernels without oneDNN (Macs)."""
    one = keras.ops.ones((1, 1, 1, 1))
    try:
        keras.ops.conv(one, one, data_format="channels_first")
    except tf.errors.UnimplementedError:
        pytest.skip("TensorFlow has no convolution with the channels first for this processor")


@pytest.fixture
def policy(request):
    """The global dtype policy named by `request.param`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)
