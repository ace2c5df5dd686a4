"""`keras-inception list` and `describe`: what there is and what is inside."""

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from keras_inception.cli.quiet import needs_keras
from keras_inception.errors import unknown
from keras_inception.facts import facts

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a network, as `list` says.")]


@needs_keras
def list_networks() -> None:
    """List the networks: architectures, parameters, multiply-adds, input sizes, weights."""
    from keras_inception.weights import list_weights

    table = Table(
        title="Networks for 1000 classes",
        caption="input, least: usual and smallest image size; weights: public checkpoints",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for heading in ("network", "architecture"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "mult-adds", "input", "least", "weights"):
        table.add_column(heading, justify="right")
    for name, architectures in facts().items():
        for architecture, fact in architectures.items():
            fitting = [w for w in list_weights(name) if w.architecture == architecture]
            table.add_row(
                name if architecture == "paper" else "",
                architecture,
                f"{fact.parameters / 1e6:.1f} M",
                f"{fact.multiply_adds / 1e9:.2f} G",
                str(fact.input_size),
                str(fact.smallest_input),
                str(len(fitting)) if fitting else "-",
                end_section=architecture == list(architectures)[-1],
            )
    Console().print(table)


@needs_keras
def describe(
    model: Model,
    architecture: Annotated[str, typer.Option(help="One of those that `list` names.")] = "paper",
    image_size: Annotated[
        int | None, typer.Option(help="Height and width in pixels; default: the paper's.")
    ] = None,
    width: Annotated[float, typer.Option(help="Factor on every filter count.")] = 1.0,
) -> None:
    """Show a network block by block: grid, depth, parameters, multiply-adds."""
    from keras_inception import inspection, models
    from keras_inception.networks import NETWORKS

    if model not in models.BUILDERS:
        raise unknown("model", model, models.BUILDERS)
    size = image_size or NETWORKS[models.BUILDERS[model].__name__].input_size
    network = models.build(
        model, weights=None, architecture=architecture, input_shape=(size, size, 3), width=width
    )
    table = Table(title=f"{model} ({architecture}), {size}x{size} images", box=box.SIMPLE_HEAD)
    table.add_column("block", no_wrap=True)
    for heading in ("output", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right")
    for block in inspection.blocks(network):
        table.add_row(
            block.name,
            "x".join(map(str, block.shape)),
            f"{block.parameters:,}",
            f"{block.multiply_adds:,}",
        )
    table.add_section()
    table.add_row(
        "total",
        "",
        f"{inspection.parameters(network):,}",
        f"{inspection.multiply_adds(network):,}",
    )
    Console().print(table)
