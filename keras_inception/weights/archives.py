"""Unpacking chosen members of an archive that nobody vouches for.

No name from an archive is ever used as a path, and nothing is read, kept in memory or written
beyond bounds that the caller and this file set.
"""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from keras_inception.errors import InputError, unknown

_PIECE = 1 << 16
# Weights come in archives of a few members. Python's tarfile and zipfile read a header at once and
# search it in time that grows with the square of its length: both bounds keep that under a second.
_HEADER_BYTES = 4096 + 512
_ALL_HEADERS_BYTES = 1 << 18

# What tarfile and zipfile raise on crafted files. An OSError is none of them: it is the disk's.
_MALFORMED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
)


def unpack(
    archive: str | os.PathLike,
    kind: str,
    members: Iterable[str],
    folder: str | os.PathLike,
    *,
    max_bytes: int,
) -> list[Path]:
    """Write the wanted members of an archive into a folder, under their base names.

    The whole archive is refused if any member of it has an absolute path, a path through "..", or
    is neither a plain file nor a folder (links, devices, sparse files), wanted or not.

    Args:
        archive: the file.
        kind: "tar.gz" or "zip".
        members: names as in the archive, or the ends of such names behind a "/".
        folder: an existing folder. What is written there before an error stays: give a temporary
            one.
        max_bytes: how much may come out: of a tar.gz altogether, as it must be unpacked from the
            beginning to the end; of a zip the wanted members together.

    Returns:
        The paths of the files, in the order of `members`.

    Raises:
        InputError: if the archive is malformed, unsafe or too large, or if a member is missing or
            there twice; names the archive and the member.
        OSError: if the disk failed.
    """
    if kind not in _WALKERS:
        raise unknown("kind of archive", kind, _WALKERS)
    wanted = {member: Path(folder) / _base_name(member) for member in members}
    if len(set(wanted.values())) < len(wanted):
        raise InputError(f"Two of the members {', '.join(wanted)} have the same base name.")
    try:
        writer = _Writer(wanted, max_bytes)
        names = _WALKERS[kind](Path(archive), writer)
    except _Refused as error:
        raise InputError(f"{archive} was not unpacked: {error}.") from error
    except _MALFORMED as error:
        raise InputError(
            f"{archive} was not unpacked: it is no intact {kind} archive "
            f"({error or type(error).__name__})."
        ) from error
    if missing := [member for member in wanted if member not in writer.written]:
        shown = ", ".join(map(repr, names[:10])) + (" and others" if len(names) > 10 else "")
        raise InputError(
            f"{archive} has no member {' and no '.join(missing)}; it holds {shown or 'nothing'}."
        )
    return list(wanted.values())


class _Refused(Exception):
    """The archive is refused; the message says why."""


def _base_name(member: str) -> str:
    _check_name(member, InputError)
    return PurePosixPath(member).name


def _check_name(name: str, error: type[Exception]) -> None:
    """Raise if a name is not a relative path that stays below the folder it is put in."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ":" in parts[0] or ".." in parts or "\0" in name:
        raise error(f"the member name {name!r} is not a path inside the archive")


class _Writer:
    """Writes wanted members, and keeps count."""

    def __init__(self, wanted: dict[str, Path], max_bytes: int):
        self.wanted = wanted
        self.max_bytes = max_bytes
        self.left = max_bytes
        self.written: set[str] = set()

    def path_of(self, name: str) -> Path | None:
        """Return where the member is to be written, or None if it is not wanted."""
        name = name.removeprefix("./")
        for member, path in self.wanted.items():
            if name == member or name.endswith(f"/{member}"):
                if member in self.written:
                    raise _Refused(f"it holds {member} twice")
                self.written.add(member)
                return path
        return None

    def write(self, name: str, path: Path, size: int, read: Callable[[int], bytes]) -> None:
        """Copy what `read` gives to `path`: `size` bytes, no more, no less."""
        if not 0 <= size <= self.left:
            raise _Refused(
                f"{name!r} would be {size} bytes, of {self.max_bytes} allowed in all members"
            )
        self.left -= size
        with open(path, "xb") as file:
            while size and (piece := read(min(size, _PIECE))):
                file.write(piece)
                size -= len(piece)
            if size:
                raise _Refused(f"{name!r} ends {size} bytes early")


def _unpack_tar(archive: Path, writer: _Writer) -> list[str]:
    """Walk through a tar.gz from end to end; return the names of its files."""
    names = []
    with gzip.open(archive) as stream:
        forward = _Forward(stream, writer.max_bytes)
        with tarfile.TarFile(fileobj=forward) as tar:
            for member in tar:
                _check_name(member.name, _Refused)
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise _Refused(f"{member.name!r} is a link, a device or no plain file")
                names.append(member.name)
                if path := writer.path_of(member.name):
                    forward.seek(member.offset_data)
                    writer.write(member.name, path, member.size, forward.content)
        while forward.content(_PIECE):  # to the end, where the checksum of gzip is compared
            pass
    return names


class _Forward:
    """The unpacked bytes, as a file for `tarfile`, which reads nothing but headers from it.

    It moves forwards only (a crafted size can make tarfile go round in circles), gives headers in
    small pieces up to a limit, and content up to another.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int):
        self.stream = stream
        self.max_bytes = max_bytes
        self.position = 0
        self.headers = 0

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        self.headers += size
        if not 0 <= size <= _HEADER_BYTES or self.headers > _ALL_HEADERS_BYTES:
            raise _Refused("its headers are larger than those of any archive of weights")
        return self.content(size)

    def seek(self, position: int) -> None:
        if position < self.position:
            raise _Refused("a member has a negative size")
        while self.position < position:
            if not self.content(min(position - self.position, _PIECE)):
                return

    def content(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.position += len(data)
        if self.position > self.max_bytes + _ALL_HEADERS_BYTES:
            raise _Refused(f"it holds more than the {self.max_bytes} bytes allowed")
        return data


def _unpack_zip(archive: Path, writer: _Writer) -> list[str]:
    """Read the directory of a zip, then the wanted members; return the names of its files."""
    names = []
    with _SmallReads(archive) as file, zipfile.ZipFile(file) as zipped:
        for member in zipped.infolist():
            _check_name(member.filename, _Refused)
            if member.is_dir():
                continue
            # The upper half is the mode under Unix; 0 where the archive comes from elsewhere.
            if (member.external_attr >> 28) not in (0, 0o10):
                raise _Refused(f"{member.filename!r} is a link, a device or no plain file")
            names.append(member.filename)
            if path := writer.path_of(member.filename):
                # Python unpacks the other methods without a bound on memory.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise _Refused(f"{member.filename!r} is neither stored nor deflated")
                with zipped.open(member) as stream:
                    writer.write(member.filename, path, member.file_size, stream.read)
                    stream.read(1)  # at the end the checksum of zip is compared
    return names


class _SmallReads(io.FileIO):
    """A file for `zipfile`, which would otherwise read a directory of any size at once."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and offset < 0:
            raise _Refused("its directory points to before its beginning")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, os.fstat(self.fileno()).st_size - self.tell())
        size = rest if size is None or size < 0 else min(size, rest)
        if size > _ALL_HEADERS_BYTES:
            raise _Refused("its directory is larger than that of any archive of weights")
        return super().read(size)


_WALKERS = {"tar.gz": _unpack_tar, "zip": _unpack_zip}
