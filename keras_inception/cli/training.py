"""`keras-inception train` and `plot`."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_inception import recipes
from keras_inception.cli.quiet import needs_keras
from keras_inception.training_job import DIGITS_RECIPE, TrainingJob

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainingJob)}
_RECIPE_PANEL = "Values of the recipe; the defaults are those without --recipe"


def _with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every field of a recipe but its name; None leaves the value."""
    signature = inspect.signature(command)
    kinds = typing.get_type_hints(recipes.Recipe)
    flags = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                _plain(kinds[field.name]) | None,
                typer.Option(
                    help=field.metadata["help"],
                    rich_help_panel=_RECIPE_PANEL,
                    show_default=str(getattr(DIGITS_RECIPE, field.name)),
                ),
            ],
        )
        for field in dataclasses.fields(recipes.Recipe)
        if field.name != "name"
    ]
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *flags])
    command.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    return command


def _plain(kind: Any) -> type:
    """Return the type of a field that may also be None."""
    return next(part for part in (typing.get_args(kind) or (kind,)) if part is not type(None))


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
        str | None,
        typer.Option(
            help=f"{', '.join(recipes.RECIPES)}.",
            show_default="fine_tune, shorter and with larger steps",
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
    aux_heads: Annotated[bool, typer.Option(help="Train with auxiliary heads.")] = False,
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
    skip_broken: Annotated[bool, typer.Option(help="Leave unreadable images out.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where TensorFlow Datasets keeps its files.")
    ] = None,
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

    chosen = recipes.get(recipe) if recipe else DIGITS_RECIPE
    changes = {name: value for name, value in values.items() if value is not None}
    job = TrainingJob(
        out=out or Path("runs") / f"{model}-{Path(data).name}",
        model=model,
        data=data,
        recipe=dataclasses.replace(chosen, **changes),
        image_size=image_size,
        width=width,
        aux_heads=aux_heads,
        batch_size=batch_size,
        seed=seed,
        deterministic=deterministic,
        strategy=training.make_strategy(
            strategy, devices=_split(devices), workers=_split(workers), index=index
        ),
        batch_statistics=batch_statistics,
        rematerialize=rematerialize,
        skip_broken=skip_broken,
        data_dir=data_dir,
        overwrite=overwrite,
        resume=resume,
    )
    result = jobs.train(job, announce=typer.echo)
    if result.skipped:
        typer.echo(f"unreadable images left out: {len(result.skipped)}")
        for name in result.skipped:
            typer.echo(f"  {name}")
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


def _split(names: str | None) -> list[str] | None:
    return names.split(",") if names else None
