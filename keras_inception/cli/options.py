"""Options that several commands have."""

import os
from pathlib import Path
from typing import Annotated

import typer

SkipBroken = Annotated[bool, typer.Option(help="Leave unreadable images out.")]
Check = Annotated[
    bool,
    typer.Option(help="Read every image of a folder or of TFRecords first, to find broken ones."),
]
LabelOffset = Annotated[
    int,
    typer.Option(
        help="Subtracted from the labels of TFRecords: 1 for ImageNet's, which count from 1."
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="Where TensorFlow Datasets keeps its files.")]


def printable(name: str | os.PathLike) -> str:
    """Return a file's name as text that can be written, whatever bytes are in it."""
    return os.fspath(name).encode("utf-8", "backslashreplace").decode()
