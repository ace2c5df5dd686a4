"""`keras-inception train`: interruptions, failures, and several processes."""

import csv
import os
import subprocess
import sys

import pytest

from keras_inception import training
from tests.cli.conftest import write_images
from tests.training.processes import ROOT, TIMEOUT, free_addresses

COMMAND = ["-m", "keras_inception_command"]
STOPPED_AFTER_AN_EPOCH = """
import functools, os, signal, sys
import keras
from keras_inception import cli
from keras_inception.jobs import training

class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        os.kill(os.getpid(), signal.SIGTERM)

training.fit = functools.partial(training.fit, callbacks=[Stop()])
cli.main()
"""


def small(images, out):
    return [
        "train", "--model", "GoogLeNet", "--data", images, "--image-size", 32, "--width", 0.05,
        "--batch-size", 4, "--epochs", 1, "--augmentation", "light", "--out", out,
    ]  # fmt: skip


def start(*arguments):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    output, error = process.communicate(timeout=TIMEOUT)
    return process.returncode, output, error


def history(run):
    rows = list(csv.DictReader((run / "history.csv").open()))
    return [row | {"seconds": None} for row in rows]


@pytest.mark.parametrize(
    "kind, code",
    [
        (training.WorkerLostError, 1),
        (training.NonFiniteError, 1),
        (training.DeadNetworkError, 1),
        (training.Interrupted, 130),
    ],
)
def test_failures_of_a_training_are_one_line(run_cli, monkeypatch, images, tmp_path, kind, code):
    def fit(*args, **kwargs):
        raise kind("Step 3: it went\nwrong.")

    monkeypatch.setattr("keras_inception.jobs.training.fit", fit)
    ended, _, error = run_cli(*small(images, tmp_path / "run"))
    assert ended == code
    assert error == "keras-inception: Step 3: it went wrong.\n"
    assert issubclass(kind, training.TrainingError)


def test_never_to_resume_keeps_an_interrupted_run(run_cli, images, tmp_path):
    unfinished = tmp_path / "run.unfinished"
    checkpoint = unfinished / "checkpoints" / "step_000000001.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"days of work")
    code, _, error = run_cli(*small(images, tmp_path / "run"), "--resume", "never")
    assert code == 2
    assert f"{unfinished} holds a run that was interrupted. Go on with it by --resume auto" in error
    assert "or remove that folder to start anew" in error
    assert checkpoint.read_bytes() == b"days of work"


def test_required_to_resume_needs_an_interrupted_run(run_cli, images, tmp_path):
    code, _, error = run_cli(*small(images, tmp_path / "run"), "--resume", "required")
    assert code == 2
    assert "has no checkpoint to go on from; --resume auto starts anew" in error


@pytest.mark.slow
def test_the_same_command_finishes_an_interrupted_run(images, tmp_path):
    """To the bit: its history is that of a run that was not interrupted."""

    def command(out):
        return [*small(images, tmp_path / out), "--epochs", 2, "--deterministic"]

    whole = start(*COMMAND, *command("whole"))
    code, _, error = finish(start("-c", STOPPED_AFTER_AN_EPOCH, *command("stopped")))
    assert code == 130
    assert error.splitlines()[-1].startswith("keras-inception: Stopped by a signal after step ")
    assert "Traceback" not in error
    assert not (tmp_path / "stopped").exists()
    code, _, error = finish(start(*COMMAND, *command("stopped"), "--width", 0.06))
    assert code == 2
    assert "these differ: facts.width (0.05 there, 0.06 here)" in error
    resumed = finish(start(*COMMAND, *command("stopped"), "--resume", "required"))
    assert (resumed[0], finish(whole)[0]) == (0, 0)
    assert history(tmp_path / "whole") == history(tmp_path / "stopped")
    assert not (tmp_path / "stopped.unfinished").exists()


@pytest.mark.slow
def test_several_workers_end_well_and_the_first_one_tells(tmp_path):
    images = tmp_path / "images"
    write_images(images / "train", count=8)
    write_images(images / "validation", count=40)  # a batch for each worker
    places = ["--strategy", "multi_worker", "--workers", ", ".join(free_addresses(2))]
    workers = [
        start(*COMMAND, *small(images, tmp_path / f"run_{i}"), *places, "--index", i)
        for i in range(2)
    ]
    (chief, said, error), (other, silence, error_of_other) = map(finish, workers)
    assert (chief, other) == (0, 0), error + error_of_other
    assert "test accuracy: " in said and "run folder: " in said
    assert silence == ""
    assert (tmp_path / "run_0" / "config.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"images", "run_0"}
