"""The command `keras-inception`: argument parsing and printing, nothing else.

Its modules import Keras and what needs it inside the commands, so that help appears at once.
"""

import re
import sys

import typer

from keras_inception._version import __version__
from keras_inception.cli import (
    benchmark,
    draw,
    evaluation,
    export,
    networks,
    training,
    weights,
)
from keras_inception.errors import InputError, MissingExtra, TrainingError

app = typer.Typer(
    name="keras-inception",
    help="The Inception family for Keras: train, evaluate, predict, and public weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(training.train)
app.command("plot")(training.plot)
app.command("evaluate")(evaluation.evaluate)
app.command("predict")(evaluation.predict)
app.command("export")(export.export)
app.command("benchmark")(benchmark.benchmark)
app.command("list")(networks.list_networks)
app.command("describe")(networks.describe)
app.command("draw")(draw.draw)
app.add_typer(weights.app, name="weights")


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; what is foreseen is one line: exit code 2 if it is the user's mistake.

    A training that ends before its end has the exit code 1, and 130 if it was asked to stop.
    """
    try:
        app()
    except (InputError, MissingExtra, OSError, TrainingError) as error:
        if isinstance(error, TrainingError):
            typer.echo()  # ends the line of the progress bar
        typer.echo(f"keras-inception: {_with_flags(_one_line(error))}", err=True)
        sys.exit(error.exit_code if isinstance(error, TrainingError) else 2)


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        text = f"{error.strerror}{where}. What stood there before is unchanged."
    return " ".join(text.split())


def _with_flags(message: str) -> str:
    """Say an error's arguments as flags: overwrite=True becomes --overwrite."""
    commands = typer.main.get_command(app).commands.values()
    flags = {option.name: option for command in commands for option in command.params}
    flags["global_batch_size"] = flags["batch_size"]

    def as_flag(argument: re.Match) -> str:
        name, value = argument[1], (argument[2] or "").strip("'")
        if name not in flags:
            return argument[0]
        if not value:
            return flags[name].opts[0]
        if value == "None":
            return f"no {flags[name].opts[0]}"
        on, off = flags[name].opts[0], flags[name].secondary_opts
        if value in ("True", "False") and flags[name].is_flag:
            return on if value == "True" or not off else off[0]
        return f"{on} {value}"

    return re.sub(r"\b([a-z_]\w*)=(?:('[^']*'|[\w.+-]*\w)|(?= ))", as_flag, message)
