"""The networks on JAX and PyTorch: the same predictions as on TensorFlow, and a train step."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.zoo import PAPER_CASES

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, inputs and TensorFlow's predictions of every network."""
    folder = tmp_path_factory.mktemp("backends")
    for case in PAPER_CASES:
        model = case.small(dropout=0.0)
        x = np.random.default_rng(0).uniform(-1, 1, (2, case.size, case.size, 3)).astype("float32")
        weights = {str(i): weight for i, weight in enumerate(model.get_weights())}
        np.savez(folder / f"{case.id}.npz", x=x, **weights)
        np.save(folder / f"{case.id}.tensorflow.npy", model(x))
    return folder


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_network_gives_the_same_and_trains(backend, folder):
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.backend_worker", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [line.split() for line in done.stdout.splitlines() if backend in line.split()]
    assert reports == [[case.id, backend, "True", "True"] for case in PAPER_CASES]
    for case in PAPER_CASES:
        expected = np.load(folder / f"{case.id}.tensorflow.npy")
        got = np.load(folder / f"{case.id}.out.npy")
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
