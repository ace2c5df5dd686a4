"""A recipe for plain Keras: `compile` and the callbacks of `model.fit`."""

import os
from pathlib import Path

import keras

from keras_inception.errors import InputError
from keras_inception.recipes import Plan, Recipe
from keras_inception.training import optimizers
from keras_inception.training.averaging import (
    SharedStatistics,
    WeightAveraging,
    batch_norm_layers,
)
from keras_inception.training.losses import MAIN_HEAD, HeadLosses, head_losses
from keras_inception.training.records import Records, SaveMainModel, StopOnNonFinite


def compile_model(model: keras.Model, plan: Plan, *, from_logits: bool | None = None) -> HeadLosses:
    """Compile a model by a plan: what `Recipe.compile` does.

    Args:
        model: a Functional or Sequential classifier, built inside the strategy's scope if any.
        plan: recipe, images and batch.
        from_logits: whether the outputs are logits; None reads it off the last layers.

    Returns:
        The losses of its heads, as they were compiled.

    Raises:
        InputError: as `head_losses`; if the model and the recipe both penalise kernels by L2.
    """
    _check_penalty(model, plan.recipe)
    losses = head_losses(model, plan.recipe, from_logits)
    if plan.recipe.batch_norm_momentum is not None:
        for layer in batch_norm_layers(model):
            layer.momentum = plan.recipe.batch_norm_momentum
    single = not isinstance(model.output, dict)
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(
        optimizer=optimizers.for_plan(plan),
        loss=losses.losses[MAIN_HEAD] if single else losses.losses,
        loss_weights=None if single else losses.weights,
        metrics=[accuracy] if single else {MAIN_HEAD: [accuracy]},
    )
    return losses


def _check_penalty(model: keras.Model, recipe: Recipe) -> None:
    kernels = [v for v in model.trainable_variables if v.name.endswith("kernel")]
    penalised = [kernel.path for kernel in kernels if getattr(kernel.regularizer, "l2", 0)]
    if penalised and recipe.l2:
        raise InputError(
            f"L2 would count twice: {model.name!r} was built with a kernel_regularizer (of "
            f"{penalised[0]}, {len(penalised)} in all), and the recipe {recipe.name!r} has "
            f"l2={recipe.l2:g}. Build the model without kernel_regularizer, or take "
            "dataclasses.replace(recipe, l2=0.0)."
        )


def callbacks(recipe: Recipe, run_dir: str | os.PathLike) -> list[keras.callbacks.Callback]:
    """Return the callbacks of `Recipe.callbacks`."""
    run_dir = Path(run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"run_dir {str(run_dir)!r} is a file; give a folder.")
    decay = recipe.average_decay
    average = None if decay is None else WeightAveraging(decay)
    rest = [StopOnNonFinite(), Records(run_dir), SaveMainModel(run_dir, average)]
    return [average or SharedStatistics(), *rest]
