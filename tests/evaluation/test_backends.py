"""The other backends of Keras, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_inception.evaluation import crops


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same_answers(backend, tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 20, 30, 3)).astype(np.uint8)
    kernel, bias = random.normal(0, 0.05, (16 * 16 * 3, 5)), random.normal(0, 1, 5)
    np.savez(tmp_path / "data.npz", images=images, kernel=kernel, bias=bias)
    script = Path(__file__).with_name("on_another_backend.py")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, script, tmp_path / "data.npz"],
        env={**os.environ, "PYTHONPATH": root, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    views = np.stack([crops(image, 16, 12) for image in images]).reshape(2, 12, -1) / 127.5 - 1
    exponentials = np.exp(views @ kernel + bias)
    expected = (exponentials / exponentials.sum(axis=2, keepdims=True)).mean(axis=1)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
    assert found["refusal"] == (
        "A tf.distribute strategy needs Keras on the tensorflow backend; "
        f"this one runs on {backend}."
    )
