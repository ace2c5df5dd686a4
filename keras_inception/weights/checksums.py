"""Checksums: reading them, comparing them with files, keeping those that nobody publishes."""

import hashlib
import os
from pathlib import Path

from keras_inception.errors import InputError, unknown
from keras_inception.weights.storage import publish

# Hexadecimal digits of each algorithm's digest.
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}


def parse(checksum: str) -> tuple[str, str]:
    """Split `"algorithm:digits"` and check both.

    Args:
        checksum: `algorithm` is md5, sha1, sha256, sha384 or sha512 and `digits` its hexadecimal
            digest; or `algorithm` is sha256-prefix and `digits` are the first 8 or more of the
            sha256, as torch.hub has them in its file names.

    Returns:
        The algorithm without "-prefix", and the digits in lower case.

    Raises:
        InputError: if the algorithm is unknown, or the digits are not hexadecimal or too few.
    """
    name, _, digits = checksum.partition(":")
    algorithm = "sha256" if name == "sha256-prefix" else name
    if algorithm not in _DIGITS:
        raise unknown("checksum algorithm", name, [*_DIGITS, "sha256-prefix"])
    most = _DIGITS[algorithm]
    fewest = most if algorithm == name else 8
    if not fewest <= len(digits) <= most or set(digits.lower()) - set("0123456789abcdef"):
        count = most if fewest == most else f"{fewest} to {most}"
        raise InputError(
            f"The checksum {checksum!r} should be {name}: and {count} hexadecimal digits."
        )
    return algorithm, digits.lower()


def digest(path: str | os.PathLike, algorithm: str) -> str:
    """Return the hexadecimal digest of a file, which is read in pieces.

    Args:
        path: the file.
        algorithm: md5, sha1, sha256, sha384 or sha512.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def flaw(path: Path, size_bytes: int | None, checksum: str | None) -> str | None:
    """Say how a file differs from what it should be.

    Args:
        path: an existing file.
        size_bytes: its size, or None if unknown.
        checksum: as in `parse`, or None if unknown.

    Returns:
        None if the file is as it should be, else expected and received in words.

    Raises:
        OSError: if the file cannot be read.
    """
    size = path.stat().st_size
    if size_bytes is not None and size != size_bytes:
        return f"expected {size_bytes} bytes, received {size}"
    if checksum is None:
        return None
    algorithm, digits = parse(checksum)
    received = digest(path, algorithm)
    if received.startswith(digits):
        return None
    return f"expected {checksum}, received {algorithm}:{received} ({size} bytes)"


def verify(path: str | os.PathLike, checksum: str) -> None:
    """Compare a file with a checksum.

    Args:
        path: the file.
        checksum: `"sha256:..."`, `"sha256-prefix:..."`, `"md5:..."` and so on, see
            `parse`.

    Raises:
        InputError: if the file is missing or differs, with what was expected and received, or if
            the checksum is malformed.
    """
    parse(checksum)
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected one with {checksum}.")
    if difference := flaw(path, None, checksum):
        raise InputError(f"{path} is damaged or another file: {difference}. Fetch it again.")


def sum_file(path: Path) -> Path:
    """Return where the sha256 of a file is kept if no checksum of it is published."""
    return path.with_name(f"{path.name}.sha256")


def record_sum(content: Path, path: Path, work: Path) -> str:
    """Keep the sha256 of a file beside its place, in the format of `sha256sum`.

    Args:
        content: the file to be read.
        path: where it stands or will stand.
        work: the `storage.workshop` of `path`.

    Returns:
        The checksum, "sha256:" and the digits.

    Raises:
        OSError: if a file cannot be read or written.
    """
    value = digest(content, "sha256")
    unfinished = work / "sha256"
    unfinished.write_text(f"{value}  {path.name}\n", encoding="utf-8")
    publish(unfinished, sum_file(path))
    return f"sha256:{value}"


def recorded_sum(path: Path) -> str | None:
    """Return the checksum that `record_sum` wrote for `path`, or None if there is none.

    Raises:
        InputError: if the file beside it is not one of `record_sum`.
    """
    beside = sum_file(path)
    if not beside.is_file():
        return None
    line = beside.read_text(encoding="utf-8", errors="replace")
    checksum = f"sha256:{line.partition(' ')[0]}"
    try:
        parse(checksum)
    except InputError as error:
        raise InputError(
            f"{beside} should hold a sha256 and a file name, as sha256sum writes; it holds "
            f"{line[:80]!r}. Delete it."
        ) from error
    return checksum
