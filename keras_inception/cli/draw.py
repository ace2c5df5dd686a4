"""`keras-inception draw`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_inception.cli.networks import Model
from keras_inception.cli.quiet import needs_keras
from keras_inception.errors import unknown
from keras_inception.files import atomic_path


@needs_keras
def draw(
    model: Model,
    architecture: Annotated[str, typer.Option(help="One of those that `list` names.")] = "paper",
    out: Annotated[Path | None, typer.Option(help="The SVG file. Default: MODEL.svg here.")] = None,
    aux_heads: Annotated[bool, typer.Option(help="With the auxiliary heads.")] = False,
    image_size: Annotated[
        int | None, typer.Option(help="Height and width in pixels; default: the paper's.")
    ] = None,
    width: Annotated[float, typer.Option(help="Factor on every filter count.")] = 1.0,
) -> None:
    """Draw a network as its paper does: blocks, branches, kernels, strides, V marks, grids."""
    from keras_inception import drawing, models
    from keras_inception.networks import NETWORKS

    if model not in models.BUILDERS:
        raise unknown("model", model, models.BUILDERS)
    size = image_size or NETWORKS[models.BUILDERS[model].__name__].input_size
    network = models.build(
        model,
        weights=None,
        architecture=architecture,
        aux_heads=aux_heads,
        input_shape=(size, size, 3),
        width=width,
    )
    title = model if architecture == "paper" else f"{model} ({architecture})"
    path = out or Path(f"{model}.svg")
    with atomic_path(path) as temporary:
        temporary.write_text(drawing.draw(network, title), encoding="utf-8")
    typer.echo(str(path))
