"""`keras-inception weights`: public checkpoints."""

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from keras_inception.cli.quiet import needs_keras
from keras_inception.errors import InputError, unknown

if TYPE_CHECKING:
    from keras_inception.weights import Checkpoint

app = typer.Typer(help="Public checkpoints: list, download, convert, verify.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="As `weights list` names it.")]


@app.command("list")
@needs_keras
def list_weights(
    model: Annotated[str | None, typer.Argument(help="Only those of this network.")] = None,
) -> None:
    """List the checkpoints that can be loaded, with their published accuracy."""
    from keras_inception import models
    from keras_inception import weights as checkpoints

    if model is not None and model not in models.BUILDERS:
        raise unknown("model", model, models.BUILDERS)
    name = model and models.BUILDERS[model].__name__
    table = Table(
        title="Public weights; * is what weights='imagenet' means",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for heading in ("", "id"):
        table.add_column(heading, no_wrap=True)
    for heading in ("classes", "top-1 / 5 %"):
        table.add_column(heading, justify="right")
    for network in [name] if name else models.list_models():
        entries = checkpoints.list_weights(network)
        for architecture, group in itertools.groupby(entries, lambda entry: entry.architecture):
            table.add_row("", f"[bold]{network}[/bold], {architecture}")
            for entry in group:
                star, classes = "*" if entry.default else "", str(entry.classes or "-")
                table.add_row(star, entry.id, classes, _published(entry))
            table.add_section()
    Console().print(table)


def _published(entry: "Checkpoint") -> str:
    """Return the first published accuracy that names a top-1 score."""
    scores = [accuracy for accuracy in entry.accuracy if accuracy.top1 is not None]
    return f"{scores[0].top1} / {scores[0].top5 or '-'}" if scores else "-"


@app.command()
@needs_keras
def info(weights_id: Id) -> None:
    """Print everything that is known of a checkpoint, as JSON."""
    from keras_inception import weights as checkpoints

    typer.echo(json.dumps(dataclasses.asdict(checkpoints.info(weights_id)), indent=2))


@app.command()
@needs_keras
def download(weights_id: Id) -> None:
    """Download a checkpoint into the cache, verify it, and print where it is."""
    from keras_inception import weights as checkpoints

    typer.echo(str(checkpoints.fetch_checkpoint(checkpoints.info(weights_id))))


@app.command()
@needs_keras
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The checkpoint.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help=".weights.h5 or .keras.")],
    model: Annotated[str, typer.Option(help="Name of the network.")],
    publisher: Annotated[
        str, typer.Option(help="Who named its tensors, such as slim or torchvision.")
    ],
    architecture: Annotated[str, typer.Option(help="One of those that `list` names.")] = "paper",
    aux_heads: Annotated[
        bool | None, typer.Option(help="Convert auxiliary heads too. Default: if there are some.")
    ] = None,
) -> None:
    """Convert a checkpoint into a file of this package."""
    from keras_inception import models
    from keras_inception import weights as checkpoints

    build = functools.partial(models.build, model, weights=None, architecture=architecture)
    assignment = checkpoints.convert(source, target, build, publisher, aux_heads=aux_heads)
    typer.echo(f"{target} written.")
    for name, reason in assignment.dropped.items():
        typer.echo(f"dropped {name}: {reason}")


@app.command()
@needs_keras
def verify(
    weights_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
) -> None:
    """Check the files in the cache against their checksums; without ID, all of them."""
    from keras_inception import weights as checkpoints

    entries = [checkpoints.info(weights_id)] if weights_id else checkpoints.list_weights()
    found = [file for entry in entries for file in checkpoints.verify_cache(entry)]
    for file in found:
        typer.echo(f"{file.state:10} {file.path}: {file.detail}")
    if weights_id and not found:
        raise InputError(f"Nothing of {weights_id!r} is in the cache.")
    if any(file.state == "damaged" for file in found):
        raise InputError("There are damaged files; remove them and download them again.")
    if not found:
        typer.echo("The cache is empty.")
