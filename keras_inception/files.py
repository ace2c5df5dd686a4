"""Writing files and folders so that a failure leaves the old ones untouched."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MODEL_FILE = "model.keras"
"""What a run folder calls its network."""

CONFIG_FILE = "config.json"
"""What a run folder calls the file of its settings, preprocessing and class names."""

SETTINGS_FILE = "training.json"
"""What `ki.training.fit` calls the file of recipe, data and plan."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; move it into place on success.

    The body may create a file or a folder there. If it raises, what it wrote is removed and
    whatever stood at `path` before stays. Parent folders are created; if it fails they are removed.

    Args:
        path: where the finished file or folder shall stand.
        overwrite: replace what stands at `path`; if False, a `path` that exists is an error.

    Yields:
        A path that does not exist yet, in a hidden folder beside `path`, with the same file name
        (so that formats chosen by the ending work).

    Raises:
        FileExistsError: if `path` exists and `overwrite` is False, before the body runs.
        OSError: as raised by the file system.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; it was left as it is.")
    new_folders = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = scratch / path.name
        yield temporary
        _replace(temporary, path, scratch / "replaced")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not path.exists():
            for folder in new_folders:
                with contextlib.suppress(OSError):  # somebody else has begun to use it
                    folder.rmdir()


def _replace(source: Path, target: Path, aside: Path) -> None:
    """Rename `source` to `target`; a folder in the way is set aside first, and back on failure."""
    if not target.is_dir() or target.is_symlink():
        os.replace(source, target)
        return
    os.replace(target, aside)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(aside, target)
        raise
