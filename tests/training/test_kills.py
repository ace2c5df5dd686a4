"""Trainings that are killed, and go on."""

import random
import re
import signal
import time
from concurrent import futures

import numpy as np
import pytest

from tests.training.processes import Training

RUN = {"net": "norm_net", "dropout": 0.3, "deterministic": True, "checkpoint_steps": 3}
SLOW = RUN | {"pause": 0.02}
STEPS, EPOCHS = 24, 6
SECONDS_OF_SOME_STEPS = 0.1
DEVICES = {"none": 1, "mirrored": 2, "multi_worker": 1}


def start(folder, name, strategy, run_dir, run=SLOW, **options):
    run = run | {"run_dir": str(folder / run_dir)}
    return Training(folder / name, [run], strategy=strategy, devices=DEVICES[strategy], **options)


def assert_same_bits(one, other):
    for name in ("raw", "averaged", "seeds"):
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)
    assert one["history"] == other["history"]


@pytest.mark.slow
def test_killed_ten_times_a_training_ends_with_the_same_bits(tmp_path):
    """The kills come at any moment: in a step, while it saves, validates or writes its files."""
    with futures.ThreadPoolExecutor() as at_once:  # mostly they wait for each other's processor
        ended = {name: at_once.submit(kill_ten_times, tmp_path / name, name) for name in DEVICES}
    for name, end in ended.items():
        whole, last, codes = end.result()
        assert_same_bits(whole, last)
        assert codes.count(-signal.SIGKILL) >= 8, (name, codes)


def kill_ten_times(folder, strategy):
    """Return what a whole run came to, what a killed one did, and how that one's parts ended."""

    def started(name, run_dir):
        run = RUN | {"recipe": {"epochs": EPOCHS}}
        return start(folder, name, strategy, run_dir, run, forked=True)

    moments = random.Random(f"kills of {strategy}")
    whole, codes = started("whole", "whole_run"), []
    for i, step in enumerate(sorted(moments.choices(range(1, STEPS - 2), k=10))):
        killed = started(f"killed_{i}", "killed_run")
        killed.wait_for_step(step)
        time.sleep(moments.uniform(0, SECONDS_OF_SOME_STEPS))
        killed.kill()
        codes.append(killed.processes[0].returncode)
    last = started("last", "killed_run")
    return whole.results()[0], last.results()[0], codes


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_ends_the_other_with_a_clear_message(lost, number, tmp_path):
    """Within a minute, be it gone or only silent."""
    endless = SLOW | {"recipe": {"epochs": 1000}}
    both = start(tmp_path, "both", "multi_worker", "run", endless)
    both.wait_for_step(4)
    both.check_loss_ends_the_other(lost, number)


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
