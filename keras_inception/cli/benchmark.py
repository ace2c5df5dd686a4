"""`keras-inception benchmark`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_inception.cli.quiet import needs_keras


@needs_keras
def benchmark(
    networks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Networks. Default: InceptionV3."),
    ] = None,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(help="Images of a call; several are measured one after the other.", min=1),
    ] = None,
    side: Annotated[
        list[str] | None,
        typer.Option(help="Part of the names of what is measured. Default: all that is installed."),
    ] = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option(
            help="Forms of the networks, such as 'paper', 'slim', 'torchvision'. Default: the "
            "paper's, and those that the other libraries have."
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Height and width in pixels. Default: the network's own.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Turns of every side that count.", min=1)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small and short: shows that it works, nothing more.")
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            help="File for the results. If it is there, what was measured now replaces the same "
            "networks, forms, sizes and batch sizes in it, and the rest stays; results of another "
            "machine are refused."
        ),
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="PNG for a bar chart.")] = None,
) -> None:
    """Measure how fast networks run here: this package, keras.applications, PyTorch and others.

    Close other programs first. A network and batch size take some minutes, on a busy machine half
    an hour.
    """
    import dataclasses

    from keras_inception.jobs import benchmark as benchmarks

    effort = benchmarks.QUICK if quick else benchmarks.Effort()
    if rounds is not None:
        effort = dataclasses.replace(effort, rounds=rounds)
    older = benchmarks.read(json) if json is not None and json.exists() else None
    if older is not None:
        older.check_same(benchmarks.machine(), effort.quick)
    results = benchmarks.benchmark(
        networks or ["InceptionV3"],
        batch_size or ([2] if quick else [16, 1]),
        sides=side,
        architectures=architecture,
        image_size=image_size or (75 if quick else None),
        width=0.1 if quick else 1.0,
        effort=effort,
        announce=lambda text: typer.echo(text, err=True),
    )
    typer.echo(benchmarks.text(results))
    everything = older.merged(results) if older else results
    if json is not None:
        everything.write(json)
    if chart is not None:
        benchmarks.chart(everything, chart)
