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

SCRATCH_ENDING = ".tmp"
"""How the hidden folders end in which unfinished files are; a killed process leaves them behind."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; move it into place on success.

    The body may create a file or a folder there. If it raises, what it wrote is removed and
    whatever stood at `path` before stays. Parent folders are created; if it fails they are removed.

    Args:
        path: where the finished file or folder shall stand, in place of what stands there.

    Yields:
        A path that does not exist yet, in a hidden folder beside `path`, with the same file name
        (so that formats chosen by the ending work).

    Raises:
        OSError: as raised by the file system.
    """
    path = Path(path)
    new_folders = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch_beside(path)
    try:
        temporary = scratch / path.name
        yield temporary
        move_into_place(temporary, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not path.exists():
            for folder in new_folders:
                with contextlib.suppress(OSError):  # somebody else has begun to use it
                    folder.rmdir()


def move_into_place(source: Path, target: Path) -> None:
    """Rename `source` to `target`, in whose place a file or a folder may stand.

    A folder in the way is set aside, put back on failure, and removed on success.

    Raises:
        OSError: as raised by the file system; `source` is where it was.
    """
    if not target.is_dir() or target.is_symlink():
        os.replace(source, target)
        return
    aside = _scratch_beside(target)
    old = aside / target.name
    try:
        os.replace(target, old)
        try:
            os.replace(source, target)
        except OSError:
            os.replace(old, target)
            raise
    except OSError:
        with contextlib.suppress(OSError):  # not empty: it could not be put back
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _scratch_beside(path: Path) -> Path:
    return Path(tempfile.mkdtemp(SCRATCH_ENDING, f".{path.name}.", path.parent))
