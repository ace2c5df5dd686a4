"""Checks that stand between a file of unknown origin and the memory and disk of its reader."""

import json
import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_inception.errors import InputError

# A zip that unpacks to more than both of these is taken for a bomb: weights shrink by a tenth.
_MAX_EXPANSION = 10
_HARMLESS_BYTES = 16 * 2**20


class Budget:
    """The bytes of a file that tensors may still claim.

    Args:
        available: size in bytes of the data that the tensors lie in.
    """

    def __init__(self, available: int):
        """Start with everything unclaimed."""
        self._available = available
        self._left = available

    def claim(self, name: str, shape: Sequence[int], itemsize: int) -> int:
        """Take what a tensor needs, before anything is allocated for it.

        Args:
            name: of the tensor, for the message.
            shape: as the file declares it.
            itemsize: least number of bytes that the file holds for each element.

        Returns:
            The number of bytes.

        Raises:
            InputError: if a dimension is negative, or the tensors so far need more than there is.
        """
        if any(dimension < 0 for dimension in shape):
            raise InputError(f"tensor {name!r} has a negative dimension: shape {tuple(shape)}.")
        claimed = math.prod(shape) * itemsize
        if claimed > self._left:
            raise InputError(
                f"tensor {name!r} of shape {tuple(shape)} needs {claimed:,} bytes, but only "
                f"{self._left:,} of the file's {self._available:,} bytes of data are left for it."
            )
        self._left -= claimed
        return claimed


def parse_json(text: bytes, what: str) -> object:
    """Parse JSON from a file, refusing what Python would let pass.

    Args:
        text: UTF-8.
        what: is parsed, for the message.

    Returns:
        The parsed value.

    Raises:
        InputError: if it is not JSON, a key stands twice in an object, or it is nested too deeply.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        parsed = dict(pairs)
        if len(parsed) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InputError(f"{what} has the key {twice!r} twice.")
        return parsed

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{what} is not valid JSON: {error}.") from error


def companion(folder: Path, name: str) -> Path:
    """Return a file that another file names, if it lies in the folder of that file.

    Args:
        folder: the only one whose files may be read, with the folders in it.
        name: path relative to `folder`, as the file has it.

    Returns:
        The path with links resolved.

    Raises:
        InputError: if the path leads out of the folder (absolute, "..", a link) or is no file.
    """
    root = folder.resolve()
    try:
        path = (root / name).resolve()
        inside = path.is_relative_to(root) and not Path(name).is_absolute()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, too long, a loop of links
        raise InputError(f"it names the file {name!r}, which is no usable path.") from error
    if not inside:
        raise InputError(f"it names the file {name!r}, which is outside its folder {folder}.")
    if not is_file:
        raise InputError(f"it names the file {name!r}, which is missing from {folder}.")
    return path


def check_zip(archive: zipfile.ZipFile, archive_bytes: int) -> None:
    """Refuse a zip whose members claim more than the archive can hold.

    Args:
        archive: open for reading; nothing of it is unpacked.
        archive_bytes: its size.

    Raises:
        InputError: if two members have one name, lie on each other, or unpack to far more than
            is stored.
    """
    members = archive.infolist()
    twice = _first_repeated(member.filename for member in members)
    if twice is not None:
        raise InputError(f"the archive has two members named {twice!r}.")
    stored = sum(member.compress_size for member in members)
    if stored > archive_bytes:
        raise InputError(
            f"the archive's members claim {stored:,} bytes, more than its {archive_bytes:,} bytes."
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_HARMLESS_BYTES, _MAX_EXPANSION * stored):
        raise InputError(
            f"the archive unpacks from {stored:,} to {unpacked:,} bytes, "
            f"more than {_MAX_EXPANSION} times its size: this is no weight file."
        )


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member of a zip that `check_zip` has passed.

    Args:
        archive: open for reading.
        name: of the member.

    Returns:
        Its bytes, no more than it declares.

    Raises:
        InputError: if there is no such member.
        zipfile.BadZipFile: if it is damaged.
    """
    if name not in archive.namelist():
        raise InputError(f"it has no member {name!r}, only {', '.join(archive.namelist()[:8])}.")
    with archive.open(name) as member:
        # Without a number zipfile unpacks all that is stored, whatever size is declared.
        return member.read(archive.getinfo(name).file_size)


def _first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that was there before, if any."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
