"""`fit`: train a network by a recipe, on one device, several, or several machines."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from keras_inception.errors import InputError
from keras_inception.files import SETTINGS_FILE, atomic_path
from keras_inception.recipes import Plan, Recipe, as_dict
from keras_inception.training import strategies
from keras_inception.training.checkpoints import Checkpoints, Progress, remove_leftovers, restore
from keras_inception.training.cluster import Cluster
from keras_inception.training.compiling import compile_model
from keras_inception.training.determinism import set_determinism
from keras_inception.training.engine import Engine, check_batch_statistics
from keras_inception.training.loop import Loop
from keras_inception.training.records import MODEL_FILE, Records, save_main_model

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_inception.data import TrainingBatches

RESUME = ("auto", "required", "never")
_OF_DATA = ("images", "global_batch_size", "epoch")


@dataclass(frozen=True)
class TrainingRun:
    """What a training came to.

    Args:
        model: the network without auxiliary heads, with the averaged weights if the recipe keeps
            an average; the same as `run_dir/model.keras`.
        history: a row for each epoch, as in history.csv.
        steps: steps made in all.
        run_dir: the folder with all files.
    """

    model: keras.Model
    history: list[dict[str, Any]]
    steps: int
    run_dir: Path


def fit(
    build: Callable[[], keras.Model],
    recipe: Recipe,
    train: "TrainingBatches",
    validation: "tf.data.Dataset | None" = None,
    *,
    run_dir: str | os.PathLike,
    strategy: "str | Cluster | tf.distribute.Strategy | None" = "none",
    batch_statistics: str = "local",
    resume: str = "auto",
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    deterministic: bool = False,
    checkpoint_steps: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    evaluate_raw: bool = False,
    from_logits: bool | None = None,
    jit_compile: bool = False,
    rematerialize: bool = False,
    verbose: str | int = "auto",
) -> TrainingRun:
    """Train a network by a recipe; go on exactly where an earlier, killed run was.

    Every epoch ends with a validation of the main head by the averaged weights. `run_dir` gets
    checkpoints/, history.csv, curves.png, tensorboard/, training.json and, at the end,
    model.keras: averaged weights, no auxiliary heads. With several processes only the first one
    writes.

    Args:
        build: returns a new model; called inside the strategy's scope after seeding. Functional
            or Sequential, with one output, or a dict of them of which "predictions" is the main.
        recipe: see `ki.recipes`.
        train: the training data, of `ki.data.training_batches` with `mode=recipe.augmentation`; or
            an object of your own with the properties `images` and `global_batch_size` and the
            method `epoch`, which does what `TrainingBatches.epoch` does.
        validation: (images, labels) batches, of `ki.data.evaluation_batches`; None leaves it out.
        run_dir: folder of this run. Several processes need not share it.
        strategy: "none", "mirrored", "multi_worker", what `make_strategy` returns, or a
            `tf.distribute` strategy.
        batch_statistics: "local": each replica normalises by its own part of the batch, and the
            moving statistics are their mean over the replicas; "synchronized": all normalise by
            the whole batch, which is slower. On several devices JAX can only do the second.
        resume: "auto" goes on from a checkpoint in `run_dir` if there is one, "required" insists
            on one, "never" refuses a folder that has one.
        seed: of the weights and dropout. (The data has its own.)
        facts: what else decides on the training, such as the weights that `build` starts from;
            values that JSON can hold. A run does not go on with other ones.
        deterministic: call `set_determinism(seed)`; then a run that was interrupted ends with the
            very same bits as one that was not.
        checkpoint_steps: save after every so many steps; None saves ten minutes after the last
            time. Every epoch ends with a checkpoint, too.
        callbacks: Keras callbacks; they see the model with its raw weights, and run in every
            process. Their own state is not saved. `model.stop_training` ends the training: at
            once, or with several processes at the end of the epoch. One that puts the best
            weights back needs a recipe with `average_decay=None`: else the averages are the result.
        evaluate_raw: also validate the raw weights, as "raw_val_...".
        from_logits: whether the outputs are logits; None reads it off the last layers.
        jit_compile: compile TensorFlow's step with XLA; a single device only. JAX always does.
        rematerialize: keep only what passes from block to block, and compute the activations inside
            a block again for its gradient: less memory, one more forward pass, the same training.
            TensorFlow only.
        verbose: progress bar: "auto" or 1 shows it, 2 is one line an epoch, 0 nothing.

    Returns:
        The finished model, the history, the number of steps.

    Raises:
        InputError: if arguments, data, model and recipe do not fit each other, or the checkpoint
            is of another training; says which value.
        NonFiniteError: if images, loss or weights are not finite; names step and tensor.
        DeadNetworkError: if the layer before the last global pooling gives only zeros.
        WorkerLostError: if another process of the training is gone.
        Interrupted: on SIGINT or SIGTERM, after the step was finished and saved.
        MissingExtra: if matplotlib is not installed.
    """
    _check_arguments(build, recipe, resume, checkpoint_steps, callbacks)
    _check_data(train, recipe)
    check_batch_statistics(batch_statistics)
    plan = recipe.plan(train.images, train.global_batch_size)
    cluster = strategies.resolve(strategy)
    if deterministic:
        set_determinism(seed)
    keras.utils.set_random_seed(seed)
    with cluster.scope():
        model = build()
        losses = compile_model(model, plan, from_logits=from_logits)
        engine = _engine(model, losses, plan, cluster, batch_statistics, jit_compile, rematerialize)

    run_dir = Path(run_dir)
    settings = _settings(plan, train, model, seed, batch_statistics, facts or {})
    checkpoints = Checkpoints(run_dir / "checkpoints")
    if cluster.is_chief:
        _prepare(run_dir, resume, checkpoints)
    progress = _begin(checkpoints, engine, settings)
    _check_epochs(run_dir, progress, recipe)
    if cluster.is_chief:
        _note(run_dir, plan, settings)
    engine.start()
    loop = Loop(
        engine=engine,
        plan=plan,
        train=train,
        validation=validation,
        checkpoints=checkpoints,
        progress=progress,
        records=Records(run_dir if cluster.is_chief else None, progress.rows),
        checkpoint_steps=checkpoint_steps,
        evaluate_raw=evaluate_raw,
    )
    shown = 1 if verbose == "auto" else verbose
    with cluster.lookout():
        loop.run(callbacks, verbose=shown if cluster.is_chief else 0)
        if engine.averages:
            engine.averages.swap_in()
        if cluster.is_chief:
            save_main_model(model, run_dir / MODEL_FILE)
        cluster.sum_over_workers(0.0)  # a process that ended before the others would count as lost
    return TrainingRun(engine.main_model, progress.rows, progress.step, run_dir)


def _check_arguments(
    build: Any,
    recipe: Any,
    resume: str,
    checkpoint_steps: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    if isinstance(build, keras.Model) or not callable(build):
        raise InputError(
            f"build is a {type(build).__name__}; expected a function that returns a new model, so "
            "that it is built where the strategy wants it: lambda: ki.InceptionV3(weights=None)."
        )
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"recipe is {recipe!r}; expected a Recipe, such as ki.recipes.inception_v3 or "
            'ki.recipes.get("inception_v3").'
        )
    if resume not in RESUME:
        raise InputError(f"resume must be one of {', '.join(RESUME)}, not {resume!r}.")
    if checkpoint_steps is not None and checkpoint_steps < 1:
        raise InputError(f"checkpoint_steps must be at least 1 or None, not {checkpoint_steps!r}.")
    for callback in callbacks:
        if recipe.average_decay is not None and getattr(callback, "restore_best_weights", False):
            raise InputError(
                f"{type(callback).__name__} has restore_best_weights=True, but a training by the "
                f"recipe {recipe.name!r} ends with the averages of the weights, which would "
                "replace what it puts back. Leave that out, or average nothing: "
                "dataclasses.replace(recipe, average_decay=None)."
            )


def _check_data(train: Any, recipe: Recipe) -> None:
    missing = [name for name in _OF_DATA if not hasattr(train, name)]
    if missing:
        raise InputError(
            f"train is a {type(train).__name__} without {', '.join(missing)}. Expected what "
            "ki.data.training_batches returns, or an object with images, global_batch_size and "
            "epoch(epoch, first_step, shard=(index, count)) that returns the rest of an epoch's "
            "batches: so it can go on in the middle of an epoch, which a dataset cannot."
        )
    mode = getattr(train, "mode", recipe.augmentation)
    if mode != recipe.augmentation:
        raise InputError(
            f"The training data has the mode {mode!r}, but the recipe {recipe.name!r} has the "
            f"augmentation {recipe.augmentation!r}. Make the data with mode=recipe.augmentation, "
            f"or change the recipe: dataclasses.replace(recipe, augmentation={mode!r})."
        )


def _engine(model, losses, plan, cluster, batch_statistics, jit_compile, rematerialize) -> Engine:
    if keras.backend.backend() == "jax":
        if rematerialize:
            raise InputError("rematerialize=True works on TensorFlow only, not on JAX.")
        from keras_inception.training.jax_engine import JaxEngine

        return JaxEngine(model, losses, plan, cluster, batch_statistics)
    from keras_inception.training.tensorflow_engine import TensorFlowEngine

    return TensorFlowEngine(
        model, losses, plan, cluster, batch_statistics, jit_compile, rematerialize
    )


def _settings(
    plan: Plan,
    train: Any,
    model: keras.Model,
    seed: int,
    batch_statistics: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what must be alike in all parts of one training; more epochs are allowed."""
    settings = {name: value for name, value in as_dict(plan.recipe).items() if name != "epochs"}
    settings |= {"images": plan.images, "global_batch_size": plan.global_batch_size}
    settings |= {f"data.{name}": value for name, value in getattr(train, "facts", {}).items()}
    settings |= {f"facts.{name}": value for name, value in facts.items()}
    settings["input_shape"] = model.inputs[0].shape[1:]
    settings |= {"seed": seed, "batch_statistics": batch_statistics}
    try:
        return json.loads(json.dumps(settings))  # as they come back from a file
    except TypeError as error:
        raise InputError(
            "facts and the facts of the training data must be values that JSON can hold, to "
            f"be compared when the run goes on: {error}. Got {settings}."
        ) from error


def _prepare(run_dir, resume, checkpoints) -> None:
    """Tidy the folder up after a killed run."""
    if resume == "never" and checkpoints.files():
        raise InputError(
            f"{run_dir} holds the checkpoints of an earlier run. Use another run_dir, or "
            "resume='auto' to go on with it."
        )
    if resume == "required" and not checkpoints.files():
        raise InputError(f"{run_dir} has no checkpoint to go on from; resume='auto' starts anew.")
    remove_leftovers(run_dir)
    remove_leftovers(checkpoints.folder)


def _check_epochs(run_dir, progress: Progress, recipe: Recipe) -> None:
    if 0 < progress.stopped < recipe.epochs:
        raise InputError(
            f"A callback ended the training in {run_dir} in epoch {len(progress.rows)} of "
            f"{progress.stopped}; it cannot be made longer, to {recipe.epochs}. Ask for "
            f"{progress.stopped} to get what it came to, or start from its {MODEL_FILE} in another "
            "folder."
        )
    if len(progress.rows) > recipe.epochs:
        raise InputError(
            f"{run_dir} holds a training of {len(progress.rows)} finished epochs, more than the "
            f"{recipe.epochs} that are asked for. Ask for at least {len(progress.rows)}, or use "
            "another folder."
        )


def _note(run_dir, plan, settings) -> None:
    """Write down what this training does."""
    with atomic_path(run_dir / SETTINGS_FILE) as temporary:
        facts = settings | {"epochs": plan.recipe.epochs, "plan": str(plan).splitlines()}
        temporary.write_text(json.dumps(facts, indent=2) + "\n")


def _begin(checkpoints, engine, settings) -> Progress:
    """Restore the newest checkpoint, the same in every process, or start anew."""
    data = checkpoints.read_latest() if engine.cluster.is_chief else b""
    data = engine.cluster.broadcast(data)
    if not data:
        return Progress(settings=settings)
    return restore(data, engine.state, settings)
