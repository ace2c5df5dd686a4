"""`keras-inception train` and `plot`."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_inception import recipes
from keras_inception.cli.options import Check, DataDir, LabelOffset, SkipBroken, printable
from keras_inception.cli.quiet import needs_keras
from keras_inception.errors import InputError, unknown
from keras_inception.training_job import DIGITS_RECIPE, TrainingJob

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainingJob)}
_RECIPE_PANEL = "Values of the recipe; the defaults are those without --recipe"
_NONE = object()


def _with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every field of a recipe but its name; None leaves the value."""
    signature = inspect.signature(command)
    kinds = typing.get_type_hints(recipes.Recipe)
    flags = [
        _recipe_flag(field, kinds[field.name])
        for field in dataclasses.fields(recipes.Recipe)
        if field.name != "name"
    ]
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *flags])
    command.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    return command


def _recipe_flag(field: dataclasses.Field, kind: Any) -> inspect.Parameter:
    plain, *may_be_none = typing.get_args(kind) or (kind,)
    option = typer.Option(
        help=field.metadata["help"],
        rich_help_panel=_RECIPE_PANEL,
        show_default=str(getattr(DIGITS_RECIPE, field.name)).lower(),
        **({"parser": _number_or_none, "metavar": "FLOAT|none"} if may_be_none else {}),
    )
    annotation = Annotated[plain | None, option]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _number_or_none(text: str) -> Any:
    return _NONE if text.lower() == "none" else float(text)


@needs_keras
@_with_recipe_flags
def train(
    model: Annotated[str, typer.Option(help="Name of a network, as `list` says.")] = _DEFAULTS[
        "model"
    ],
    data: Annotated[
        str,
        typer.Option(
            help="'digits', a folder of class folders or TFRecords, or a name of TensorFlow "
            "Datasets."
        ),
    ] = _DEFAULTS["data"],
    recipe: Annotated[
        str,
        typer.Option(
            help=f"{', '.join([DIGITS_RECIPE.name, *recipes.RECIPES])}; "
            f"{DIGITS_RECIPE.name} is fine_tune, shorter and with larger steps.",
        ),
    ] = DIGITS_RECIPE.name,
    weights: Annotated[
        str | None,
        typer.Option(
            help="To start from, and to go on training: 'imagenet', an id that `weights list` "
            "names, which take --width 1, or a file. Default: random numbers.",
        ),
    ] = None,
    image_size: Annotated[int, typer.Option(help="Height and width in pixels.")] = _DEFAULTS[
        "image_size"
    ],
    width: Annotated[float, typer.Option(help="Factor on every filter count.")] = _DEFAULTS[
        "width"
    ],
    batch_size: Annotated[int, typer.Option(help="Images in a step, of all devices.")] = _DEFAULTS[
        "batch_size"
    ],
    aux_heads: Annotated[
        bool | None,
        typer.Option(
            help="Train with auxiliary heads.",
            show_default="if the recipe weights them, the network has them and starts at random",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of data, weights and dropout.")] = 0,
    deterministic: Annotated[bool, typer.Option(help="Repeatable to the bit; slower.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The run folder. Default: runs/MODEL-DATA.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace a finished run once this one has succeeded.")
    ] = False,
    resume: Annotated[
        str, typer.Option(help="'auto', 'required' or 'never' go on with an interrupted run.")
    ] = "auto",
    checkpoint_steps: Annotated[
        int | None,
        typer.Option(help="Steps from one checkpoint to the next.", show_default="ten minutes"),
    ] = None,
    skip_broken: SkipBroken = False,
    check: Check = True,
    label_offset: LabelOffset = 0,
    data_dir: DataDir = None,
    strategy: Annotated[
        str, typer.Option(help="'none', 'mirrored' (several GPUs) or 'multi_worker'.")
    ] = "none",
    devices: Annotated[
        str | None, typer.Option(help="For mirrored: the devices, as GPU:0,GPU:1. Default: all.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="For multi_worker: host:port,... Default: TF_CONFIG.")
    ] = None,
    index: Annotated[int | None, typer.Option(help="For multi_worker: this one's number.")] = None,
    batch_statistics: Annotated[
        str, typer.Option(help="'local' or 'synchronized' batch normalisation of replicas.")
    ] = "local",
    rematerialize: Annotated[
        bool,
        typer.Option("--rematerialize", help="Less memory, more time: compute activations again."),
    ] = False,
    **values: Any,
) -> None:
    """Train a network, evaluate it, and save and export it.

    Without arguments: Inception-ResNet-v1 at a small width on the handwritten digits of
    scikit-learn.
    """
    from keras_inception import jobs, training

    chosen = _recipe(recipe)
    given = {name: value for name, value in values.items() if value is not None}
    changes = {name: None if value is _NONE else value for name, value in given.items()}
    job = TrainingJob(
        out=out or Path("runs") / f"{model}-{Path(data).name}",
        model=model,
        weights=weights,
        data=data,
        recipe=dataclasses.replace(chosen, **changes),
        image_size=image_size,
        width=width,
        aux_heads=_heads(aux_heads, changes.get("auxiliary_weight")),
        batch_size=batch_size,
        seed=seed,
        deterministic=deterministic,
        strategy=training.make_strategy(
            strategy, devices=_split(devices), workers=_split(workers), index=index
        ),
        batch_statistics=batch_statistics,
        rematerialize=rematerialize,
        checkpoint_steps=checkpoint_steps,
        check=check,
        skip_broken=skip_broken,
        label_offset=label_offset,
        data_dir=data_dir,
        overwrite=overwrite,
        resume=resume,
    )
    result = jobs.train(job, announce=typer.echo)
    if result.report is None:  # the first of several processes says how it went
        return
    if result.skipped:
        typer.echo(f"unreadable images left out: {len(result.skipped)}")
        for name in result.skipped:
            typer.echo(f"  {printable(name)}")
    typer.echo(f"test accuracy: {1 - result.report.top1_error:.3f}")
    for truth, taken_for, count in result.report.most_confused(5):
        typer.echo(f"  {truth} taken for {taken_for}: {count} of the test images")
    typer.echo(f"run folder: {result.folder}")


@needs_keras
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or history.csv files.")],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("curves.png"),
    value: Annotated[
        str, typer.Option(help="Column of history.csv, such as loss, accuracy or val_loss.")
    ] = "val_accuracy",
) -> None:
    """Draw the curves of several runs in one picture."""
    from keras_inception import jobs

    jobs.plot(runs, out, value)
    typer.echo(str(out))


def _recipe(name: str) -> recipes.Recipe:
    known = {DIGITS_RECIPE.name: DIGITS_RECIPE, **recipes.RECIPES}
    if name not in known:
        raise unknown("recipe", name, known)
    return known[name]


def _heads(heads: bool | None, weight: float | None) -> bool | None:
    """Take a weight of the auxiliary heads on the command line for a wish to have them."""
    if heads is False and weight:
        raise InputError(
            f"auxiliary_weight={weight:g} has nothing to act on with aux_heads=False. Leave one of "
            "them out."
        )
    return True if weight else heads


def _split(names: str | None) -> list[str] | None:
    return [name.strip() for name in names.split(",")] if names else None
