"""`keras-inception weights`: public checkpoints."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated

import typer

from keras_inception.cli.quiet import needs_keras
from keras_inception.errors import InputError, unknown

app = typer.Typer(help="Public checkpoints: list, download, convert, verify.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="As `weights list` names it.")]


@app.command("list")
@needs_keras
def list_weights(
    model: Annotated[str | None, typer.Argument(help="Only those of this network.")] = None,
) -> None:
    """List the checkpoints that can be loaded, with their published accuracy."""
    from keras_inception import weights as checkpoints

    typer.echo(str(checkpoints.list_weights(model)))


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
    architecture: Annotated[
        str | None,
        typer.Option(help="One of those that `list` names. Default: what the publisher's need."),
    ] = None,
    aux_heads: Annotated[
        bool | None,
        typer.Option(help="Convert auxiliary heads too. Default: if file and network have some."),
    ] = None,
) -> None:
    """Convert a checkpoint into a file of this package."""
    from keras_inception import models
    from keras_inception import weights as checkpoints

    form = _architecture(model, publisher, architecture)
    build = functools.partial(models.build, model, weights=None, architecture=form)
    assignment = checkpoints.convert(source, target, build, publisher, aux_heads=aux_heads)
    typer.echo(f"{target} written: {model} ({form}).")
    for name, reason in assignment.dropped.items():
        typer.echo(f"dropped {name}: {reason}")


def _architecture(model: str, publisher: str, asked: str | None) -> str:
    """Return the architecture that a publisher's checkpoints need, or say which there are."""
    from keras_inception import models, weights
    from keras_inception.networks import NETWORKS

    if publisher not in weights.PUBLISHERS:
        raise unknown("publisher", publisher, weights.PUBLISHERS)
    needed = weights.architectures(model, publisher)
    if asked is not None:
        if needed and asked not in needed:
            raise InputError(
                f"Checkpoints of publisher {publisher!r} for {model} need "
                f"architecture={' or '.join(map(repr, needed))}, not {asked!r}. Leave it out."
            )
        return asked
    known = needed or tuple(NETWORKS[models.BUILDERS[model].__name__].architectures)
    if len(known) > 1:
        raise InputError(
            f"Which architecture of {model} checkpoints of publisher {publisher!r} need is not "
            f"known; give --architecture with one of {', '.join(known)}."
        )
    return known[0]


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
