"""A progress bar for whoever watches."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(label: str, total: int | None, start: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error if that is a terminal, else nothing.

    Args:
        label: what stands before the bar.
        total: bytes in all, or None if unknown.
        start: bytes that are there already.

    Yields:
        A function to be called with the number of bytes that are there.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda received: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task(label, total=total, completed=start)
        yield lambda received: bar.update(task, completed=received)
