"""The folder of downloaded weights: where it is, and how a file gets into it in one step."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from keras_inception.errors import InputError

_SWITCH = {"": False, "0": False, "false": False, "no": False, "off": False}
_SWITCH |= {"1": True, "true": True, "yes": True, "on": True}


def home() -> Path:
    """Return the folder that holds downloaded and converted weights; it need not exist yet.

    `KERAS_INCEPTION_HOME` if that is set, else `keras_inception` in the folder of Keras, which is
    `KERAS_HOME` or `~/.keras`. The environment is read at every call.
    """
    own = os.environ.get("KERAS_INCEPTION_HOME")
    if own:
        return Path(own).expanduser().absolute()
    keras = os.environ.get("KERAS_HOME") or "~/.keras"
    return Path(keras).expanduser().absolute() / "keras_inception"


def offline() -> bool:
    """Return whether `KERAS_INCEPTION_OFFLINE` forbids the network.

    Raises:
        InputError: if the variable is neither of 1, true, yes, on nor of 0, false, no, off.
    """
    setting = os.environ.get("KERAS_INCEPTION_OFFLINE", "")
    try:
        return _SWITCH[setting.strip().lower()]
    except KeyError:
        raise InputError(
            f"KERAS_INCEPTION_OFFLINE is {setting!r}; expected 1 (never use the network) or 0."
        ) from None


def mirror() -> str | None:
    """Return the base URL of `KERAS_INCEPTION_MIRROR` without its last slash, or None.

    A mirror serves the files under the names that they have in the cache folder, so a copy of that
    folder is one.

    Raises:
        InputError: if the variable is set and is no http or https URL.
    """
    base = os.environ.get("KERAS_INCEPTION_MIRROR", "").strip().rstrip("/")
    if base and not base.startswith(("http://", "https://")):
        raise InputError(
            f"KERAS_INCEPTION_MIRROR is {base!r}; expected a base URL that starts with http:// or "
            "https://, such as https://mirror.example.org/weights."
        )
    return base or None


@contextlib.contextmanager
def workshop(path: Path) -> Iterator[Path]:
    """Hold the lock of `path`, and give the hidden folder beside it in which it is being made.

    One process at a time is inside; the lock ends with the process, however that ends. What a
    killed or failed process left in the folder is still there, to be used or deleted; after a
    success, or if it is empty, the folder is removed. The lock file `.<name>.lock` stays.

    Args:
        path: the file or folder to be made; its parent is created.

    Yields:
        The folder `.<name>.part` beside `path`.

    Raises:
        OSError: if the parent folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, lock = _aside(path)
    with FileLock(lock):
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):  # it holds the beginning of a download
                folder.rmdir()
            raise
        shutil.rmtree(folder, ignore_errors=True)


def sweep(path: Path) -> None:
    """Delete what a killed process left in the workshop of a finished file or folder.

    Nothing happens while another process is in the workshop, nor where nothing may be written.
    """
    folder, lock = _aside(path)
    if folder.exists():
        with contextlib.suppress(OSError, Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(folder)


def _aside(path: Path) -> tuple[Path, Path]:
    """Return the folder and the lock file that serve to make `path`."""
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.lock")


def publish(finished: Path, path: Path) -> None:
    """Move a finished file or folder to its place, in one step that survives a power cut.

    Args:
        finished: a file, or a folder of files, on the same file system.
        path: its final place; a file there is replaced, a folder must not stand there.

    Raises:
        OSError: as raised by the file system.
    """
    for file in finished.iterdir() if finished.is_dir() else [finished]:
        _flush(file)
    if finished.is_dir():
        _flush(finished)
    os.replace(finished, path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Have the system write a file or a folder to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
