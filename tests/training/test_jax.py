"""The same training on the JAX backend: one device, two devices, two processes."""

import signal

import pytest

from tests.training import run_fit
from tests.training.processes import Training
from tests.training.test_kills import assert_same_bits
from tests.training.test_replicas import TWENTY_STEPS, in_folders, largest_difference

pytestmark = pytest.mark.backends

FIXED = {"net": "fixed_net", **TWENTY_STEPS}
NORM = {"net": "norm_net", "dropout": 0.3, "batch_statistics": "synchronized", **TWENTY_STEPS}


def train(folder, runs, **options):
    return Training(folder / "process", in_folders(folder, *runs), backend="jax", **options)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """FIXED, NORM, FIXED by plain Keras, and both without averages, on one device."""
    folder = tmp_path_factory.mktemp("jax")
    raw = {"recipe": FIXED["recipe"] | {"average_decay": None}}
    plain = FIXED | {"plain": True}
    return train(folder, [FIXED, NORM, plain, FIXED | raw, plain | raw]).results()


def test_jax_trains_as_tensorflow_does(one, tmp_path):
    other = run_fit.train(FIXED | {"run_dir": str(tmp_path)})
    assert largest_difference(one[0]["averaged"], other["averaged"]) < 1e-5
    for row, wanted in zip(one[0]["history"], other["history"], strict=True):
        assert row == pytest.approx(wanted, rel=1e-4)


def test_plain_keras_on_jax_trains_as_fit_does(one):
    assert largest_difference(one[0]["averaged"], one[2]["averaged"]) < 1e-5
    assert largest_difference(one[3]["averaged"], one[4]["averaged"]) < 1e-5


def test_a_single_device_is_the_one_that_was_named(one, tmp_path):
    options = {"strategy": "mirrored", "devices": 2, "names": ["cpu:1"]}
    (named,) = train(tmp_path, [FIXED], **options).results()
    assert (one[0]["devices"], named["devices"]) == ([0], [1])
    assert largest_difference(one[0]["averaged"], named["averaged"]) < 1e-5


@pytest.mark.parametrize(("strategy", "devices"), [("mirrored", 2), ("multi_worker", 1)])
def test_several_devices_train_as_one_does(one, strategy, devices, tmp_path):
    """Dropout, too: its masks are drawn for the whole batch."""
    several = train(tmp_path, [FIXED, NORM], strategy=strategy, devices=devices).results()
    for a, b in zip(one, several, strict=False):
        assert largest_difference(a["raw"], b["raw"]) < 1e-4
        for row, other in zip(a["history"], b["history"], strict=True):
            assert other == pytest.approx(row, rel=1e-3)


def test_killed_on_jax_a_training_ends_with_the_same_bits(tmp_path):
    run = {"net": "norm_net", "dropout": 0.3, "checkpoint_steps": 3, "pause": 0.02}
    whole = train(tmp_path / "whole", [run])
    killed = train(tmp_path / "killed", [run])
    killed.wait_for_step(5)
    killed.kill()
    last = Training(
        tmp_path / "last", [run | {"run_dir": str(tmp_path / "killed" / "0")}], backend="jax"
    )
    assert_same_bits(whole.results()[0], last.results()[0])


def test_killed_on_two_jax_devices_a_training_ends_with_the_same_bits(tmp_path):
    run = {"net": "norm_net", "batch_statistics": "synchronized", "checkpoint_steps": 3}

    def started(name, run_dir):
        one = run | {"dropout": 0.3, "pause": 0.01, "run_dir": str(tmp_path / run_dir)}
        two = {"strategy": "mirrored", "devices": 2, "backend": "jax"}
        return Training(tmp_path / name, [one], **two)

    whole = started("whole", "whole_run")
    for step in (4, 8):
        killed = started(f"killed_{step}", "killed_run")
        killed.wait_for_step(step)
        killed.kill()
        assert killed.processes[0].returncode == -signal.SIGKILL
    assert_same_bits(whole.results()[0], started("last", "killed_run").results()[0])


@pytest.mark.parametrize(("lost", "number"), [(1, signal.SIGKILL), (0, signal.SIGSTOP)])
def test_a_lost_worker_ends_the_other_with_a_clear_message(lost, number, tmp_path):
    """Within a minute, be it gone or only silent."""
    endless = NORM | {"recipe": {"epochs": 1000}, "pause": 0.02}
    both = train(tmp_path, [endless], strategy="multi_worker")
    both.wait_for_step(4)
    both.check_loss_ends_the_other(lost, number)


def test_rematerialization_is_refused(tmp_path):
    training = train(tmp_path, [{"net": "norm_net", "rematerialize": True}])
    assert training.processes[0].wait(300) == 1
    assert "rematerialize=True works on TensorFlow only, not on JAX." in training.log()


def test_local_statistics_are_refused_on_several_devices(tmp_path):
    training = train(tmp_path, [{"net": "norm_net"}], strategy="mirrored", devices=2)
    assert training.processes[0].wait(300) == 1
    message = "On JAX the batch statistics are always those of the whole batch: pass batch_stat"
    assert message in training.log()
