"""Trainings that are killed, and go on."""

import random
import re
import signal

import numpy as np
import pytest

from tests.training.processes import Training

RUN = {
    "net": "norm_net",
    "dropout": 0.3,
    "deterministic": True,
    "checkpoint_steps": 3,
    "pause": 0.02,
}
STEPS = 12
DEVICES = {"none": 1, "mirrored": 2, "multi_worker": 1}


def start(folder, name, strategy, run_dir):
    run = RUN | {"run_dir": str(folder / run_dir)}
    return Training(folder / name, [run], strategy=strategy, devices=DEVICES[strategy])


def assert_same_bits(one, other):
    for name in ("raw", "averaged", "seeds"):
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)
    assert one["history"] == other["history"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["none", "mirrored", "multi_worker"])
def test_killed_ten_times_a_training_ends_with_the_same_bits(strategy, tmp_path):
    steps = random.Random(f"kills of {strategy}").choices(range(1, STEPS + 1), k=10)
    whole = start(tmp_path, "whole", strategy, "whole_run")
    for i, step in enumerate(sorted(steps)):
        killed = start(tmp_path, f"killed_{i}", strategy, "killed_run")
        killed.wait_for_step(step)
        killed.kill()
    last = start(tmp_path, "last", strategy, "killed_run")
    assert_same_bits(whole.results()[0], last.results()[0])


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_ends_the_other_with_a_clear_message(lost, tmp_path):
    both = start(tmp_path, "both", "multi_worker", "run")
    both.wait_for_step(4)
    both.kill(slice(lost, lost + 1))
    left = 1 - lost
    assert both.processes[left].wait(60) == 1
    message = f"Worker {left} of 2 cannot reach another worker, which has ended, crashed or lost"
    assert f"WorkerLostError: {message}" in both.log(left)
    assert "start all of them again to go on from the last checkpoint" in both.log(left)


@pytest.mark.slow
def test_a_signal_to_one_worker_ends_both_after_the_same_step(tmp_path):
    whole = start(tmp_path, "whole", "multi_worker", "whole_run").results()
    both = start(tmp_path, "both", "multi_worker", "run")
    both.wait_for_step(4)
    both.processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(60) for process in both.processes] == [1, 1]
    ends = [
        re.search("Interrupted: Stopped by a signal after step ([0-9]+)", both.log(i))
        for i in (0, 1)
    ]
    assert ends[0].group(1) == ends[1].group(1)
    assert (tmp_path / "run/checkpoints" / f"step_{int(ends[0].group(1)):09d}.safetensors").exists()
    assert_same_bits(whole[0], start(tmp_path, "last", "multi_worker", "run").results()[0])
