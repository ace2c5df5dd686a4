"""Options that several commands have."""

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
