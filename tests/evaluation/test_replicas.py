"""Several replicas, in a process of their own: logical devices are fixed once TensorFlow runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np


def test_13_images_in_batches_of_4_over_2_replicas_are_counted_as_13(tmp_path):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("two_replicas.py")],
        env={**os.environ, "PYTHONPATH": str(root), "KERAS_BACKEND": "tensorflow"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # Each replica saw half of every batch, always of one shape; in `predict` of 32 crops.
    assert found["shapes"] == [[2, 16, 16, 3], [16, 16, 16, 3]]
    for runs in found["runs"].values():
        assert sum(map(sum, runs["one"]["confusion"])) == 13
        assert runs["built in the scope"] == runs["one"]
        assert runs["given"] == runs["one"]
    one, two = found["probabilities"]
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-7)
