"""`keras-inception train`: what its flags make of the job, and of the auxiliary heads."""

import dataclasses

import numpy as np
import pytest
import typer

from keras_inception import InputError, build, cli, recipes, weights
from keras_inception.jobs import DIGITS_RECIPE, TrainingJob
from keras_inception.preprocessing import Preprocessing
from keras_inception.training import Cluster

FLAGS = {flag.name for flag in typer.main.get_command(cli.app).commands["train"].params}
SMALL = ["--model", "GoogLeNet", "--width", 0.05, "--batch-size", 4]


@pytest.fixture
def job_of(run_cli, monkeypatch):
    """Return a function from flags to the job that they make."""

    def job_of(*flags):
        jobs = []

        def train(job, announce):
            jobs.append(job)
            raise InputError("not to be run")

        monkeypatch.setattr("keras_inception.jobs.train", train)
        _, _, error = run_cli("train", *flags)
        assert jobs, error
        return jobs[0]

    return job_of


@pytest.fixture
def before_training(run_cli, monkeypatch, images, tmp_path):
    """Return a function that runs `train` up to its first step."""

    def stop(*args, **kwargs):
        raise InputError("not to be run")

    monkeypatch.setattr("keras_inception.jobs.training.fit", stop)
    return lambda *flags: run_cli("train", "--data", images, "--out", tmp_path / "run", *flags)


def test_every_field_of_a_recipe_has_a_flag():
    assert {field.name for field in dataclasses.fields(recipes.Recipe)} - {"name"} <= FLAGS


def test_every_field_of_a_job_has_a_flag():
    fields = {field.name for field in dataclasses.fields(TrainingJob)}
    assert fields - FLAGS == {"crop_fraction", "verbose"}


def test_without_flags_it_is_the_main_job(job_of):
    job = job_of()
    assert job.recipe == DIGITS_RECIPE
    assert dataclasses.replace(job, out=None, strategy="none") == TrainingJob(out=None)
    assert job_of("--recipe", DIGITS_RECIPE.name).recipe == DIGITS_RECIPE


def test_flags_reach_the_job(job_of):
    job = job_of(
        "--resume", "required", "--deterministic", "--batch-statistics", "synchronized",
        "--checkpoint-steps", 7, "--label-offset", 1, "--no-check",
    )  # fmt: skip
    assert (job.resume, job.deterministic, job.batch_statistics) == (
        "required", True, "synchronized",
    )  # fmt: skip
    assert (job.checkpoint_steps, job.label_offset, job.check) == (7, 1, False)


@pytest.mark.parametrize("field", ["clip_norm", "average_decay", "batch_norm_momentum"])
def test_none_is_a_value_where_the_recipe_allows_it(job_of, run_cli, field):
    flag = f"--{field.replace('_', '-')}"
    recipe = ["--recipe", "inception_v3"]
    assert getattr(recipes.inception_v3, field) is not None
    assert getattr(job_of(*recipe, flag, "none").recipe, field) is None
    assert getattr(job_of(*recipe, flag, "0.5").recipe, field) == 0.5
    assert job_of(*recipe).recipe == recipes.inception_v3
    code, _, error = run_cli("train", flag, "nothing")
    assert (code, "nothing" in error) == (2, True)


def test_places_may_be_written_with_blanks(job_of, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "keras_inception.training.make_strategy",
        lambda name, **places: asked.append((name, places)) or Cluster(),
    )
    job_of("--strategy", "multi_worker", "--workers", "a:1, b:2", "--index", 1)
    job_of("--strategy", "mirrored", "--devices", "GPU:0, GPU:1")
    assert asked == [
        ("multi_worker", {"devices": None, "workers": ["a:1", "b:2"], "index": 1}),
        ("mirrored", {"devices": ["GPU:0", "GPU:1"], "workers": None, "index": None}),
    ]


@pytest.mark.parametrize(
    "flags, shown, weight",
    [
        (["--recipe", "googlenet"], "GoogLeNet, with auxiliary heads, width", "0.3"),
        (["--auxiliary-weight", 0.2], "GoogLeNet, with auxiliary heads, width", "0.2"),
        (["--recipe", "googlenet", "--no-aux-heads"], "GoogLeNet, without the auxiliary heads", ""),
        (
            ["--recipe", "googlenet", "--model", "BNInception"],
            "BNInception, without the auxiliary heads that the recipe weights, width",
            "",
        ),
        ([], "GoogLeNet, width", ""),
    ],
)
def test_there_are_heads_if_the_recipe_weights_them(before_training, flags, shown, weight):
    _, output, error = before_training(*SMALL, "--image-size", 65, *flags)
    assert "not to be run" in error
    assert shown in output
    plan = output.partition("\n")[2]
    assert f"auxiliary heads {weight} each" in plan if weight else "auxiliary" not in plan


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--recipe", "googlenet", "--image-size", 64],
            "GoogLeNet (paper) with its auxiliary heads cannot work on 64x64 images: layer "
            "'aux1_pool' would shrink to nothing. Give images of at least 65x65 pixels. Or leave "
            "the heads out, which the recipe 'googlenet' weights: --no-aux-heads.",
        ),
        (
            ["--model", "InceptionV3", "--recipe", "inception_v3", "--image-size", 60],
            "InceptionV3 (paper) cannot work on 60x60 images",
        ),
        (
            ["--aux-heads", "--image-size", 65],
            "--aux-heads, but the recipe 'digits' gives the heads no weight: they would not be "
            "trained. Say --auxiliary-weight 0.3, as",
        ),
        (
            ["--no-aux-heads", "--auxiliary-weight", 0.3],
            "--auxiliary-weight 0.3 has nothing to act on with --no-aux-heads. Leave one of them",
        ),
        (
            ["--model", "InceptionResNetV1", "--auxiliary-weight", 0.3, "--image-size", 75],
            "InceptionResNetV1 (paper) has no auxiliary heads; build it with --no-aux-heads.",
        ),
    ],
)
def test_heads_that_cannot_be_are_refused(before_training, flags, message):
    code, output, error = before_training(*SMALL, *flags)
    assert (code, output) == (2, "")
    assert message in error


def test_public_weights_bring_their_preprocessing_and_no_heads(images, tmp_path):
    from keras_inception.jobs import training

    job = TrainingJob(
        tmp_path, model="InceptionV3", data=str(images), width=1.0, recipe=recipes.inception_v3,
        weights="timm.inception_v3.gluon_in1k",
    )  # fmt: skip
    own = weights.info(job.weights).preprocessing
    assert training._preprocessing(job) == own.sized((75, 75))
    smaller = dataclasses.replace(job, crop_fraction=0.5)
    assert training._preprocessing(smaller).crop_fraction == 0.5
    assert not training._with_heads_decided(dataclasses.replace(job, image_size=299)).aux_heads


def test_training_starts_from_a_file(tmp_path):
    from keras_inception.jobs import training

    arguments = {"width": 0.05, "input_shape": (75, 75, 3), "classes": 3}
    trained = build("InceptionV3", weights=None, **arguments)
    trained.save_weights(tmp_path / "mine.weights.h5")
    job = TrainingJob(
        tmp_path, model="InceptionV3", width=0.05, aux_heads=False,
        weights=str(tmp_path / "mine.weights.h5"),
    )  # fmt: skip
    assert training._preprocessing(job) == Preprocessing(size=(75, 75), crop_fraction=1.0)
    for given, found in zip(trained.weights, training._build(job, 3).weights, strict=True):
        np.testing.assert_array_equal(found, given)
