"""The checkpoints of the manifest in the cache folder: fetched, unpacked, converted, verified."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from keras_inception.errors import InputError
from keras_inception.weights import checksums, storage
from keras_inception.weights.archives import unpack
from keras_inception.weights.download import DownloadError, fetch
from keras_inception.weights.transfer import Patience

if TYPE_CHECKING:  # it imports Keras, which a process that only fetches can do without
    from keras_inception.weights.manifest import Checkpoint, Checksum

# Weights hardly compress: what unpacks to more than this many times its size is no archive of them.
_MOST_EXPANSION = 16
_VERSION_CHARACTERS = set(string.ascii_letters + string.digits + "_-.")


def fetch_checkpoint(entry: Checkpoint, *, patience: Patience | None = None) -> Path:
    """Return the path of a checkpoint's file, fetched, checked and unpacked as far as needed.

    Args:
        entry: an entry of the manifest.
        patience: see `keras_inception.weights.download.fetch`.

    Returns:
        The file that `read_checkpoint` takes: the download, or the first of the archive's members
        that are needed, which stand together in the folder `<id>.<start of the checksum>`.

    Raises:
        DownloadError: if the file cannot be had, see `fetch`, or the disk fails.
        InputError: if the archive is malformed or unsafe, or a member is missing or another file.
    """
    if entry.archive and _key(entry) and all(map(_intact, _members(entry))):
        path = _members(entry)[0]
        storage.sweep(path.parent)
        return path
    published, inner = entry.strongest_checksum(), entry.strongest_checksum("member")
    path = fetch(
        entry.urls,
        entry.file_name,
        size_bytes=entry.size_bytes,
        checksum=None if published is None else str(published),
        vouched=inner is not None,
        page=entry.manual_url,
        patience=patience,
    )
    if entry.archive is None:
        return path
    try:
        return _unpack(entry, path)
    except OSError as error:
        raise DownloadError(
            f"Could not unpack {path}: the disk failed with {error.strerror or error}; make room, "
            "or set KERAS_INCEPTION_HOME to another folder."
        ) from error


def converted_path(entry: Checkpoint, converter_version: str) -> Path:
    """Return where the converted weights of a checkpoint belong, whether or not they are there.

    Args:
        entry: an entry of the manifest.
        converter_version: to be changed whenever converting gives something else; letters, digits,
            "_", "-" and ".".

    Returns:
        A path in the cache folder, ending in .weights.h5, with the checkpoint's id, the start of
        its checksum and the version in its name.

    Raises:
        InputError: if no checksum is published and the file was never fetched, so that it is not
            known what would be converted; or if the version has another character.
    """
    if not converter_version or set(converter_version) - _VERSION_CHARACTERS:
        raise InputError(
            f"converter_version is {converter_version!r}; expected letters, digits, _, - and '.'."
        )
    key = _key(entry)
    if key is None:
        raise InputError(
            f"No checksum of {entry.id} is known before its first download; call "
            "fetch_checkpoint first."
        )
    return storage.home() / f"{entry.id}.{key}.converted-{converter_version}.weights.h5"


def converted(
    entry: Checkpoint,
    converter_version: str,
    convert: Callable[[Path, Path], None],
    *,
    patience: Patience | None = None,
) -> Path:
    """Return the converted weights of a checkpoint; fetch and convert them unless they are there.

    Like a download they appear whole and in one step, are made by one process at a time, and are
    compared with their own kept sha256 at every call.

    Args:
        entry: an entry of the manifest.
        converter_version: see `converted_path`.
        convert: reads the checkpoint at the first path and writes the second, a .weights.h5 file.
        patience: see `keras_inception.weights.download.fetch`.

    Returns:
        The path `converted_path(entry, converter_version)`.

    Raises:
        DownloadError: see `fetch_checkpoint`.
        InputError: see `fetch_checkpoint` and `converted_path`.
        OSError: if the converted file cannot be written.
    """
    if _key(entry) is not None:
        path = converted_path(entry, converter_version)
        if _intact(path):
            storage.sweep(path)
            return path
    source = fetch_checkpoint(entry, patience=patience)
    path = converted_path(entry, converter_version)
    try:
        with storage.workshop(path) as work:
            if not _intact(path):
                _convert(entry, convert, source, path, work)
    except PermissionError as error:
        raise DownloadError(
            f"{source} is there, but its converted form cannot be written beside it: "
            f"{error.strerror}. Build the network once where {path.parent} can be written, which "
            "keeps that form too, or set KERAS_INCEPTION_HOME to another folder."
        ) from error
    return path


def _convert(
    entry: Checkpoint, convert: Callable[[Path, Path], None], source: Path, path: Path, work: Path
) -> None:
    """Convert a checkpoint in a workshop, and put the result into its place."""
    unfinished = work / path.name
    unfinished.unlink(missing_ok=True)  # of a process that was killed
    try:
        with _unvouched_deleted(entry, source):
            convert(source, unfinished)
        checksums.record_sum(unfinished, path, work)
        storage.publish(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class CachedFile:
    """A file of the cache folder, and what its check said.

    Attributes:
        path: the file.
        state: "verified": it has the published checksum; "unchanged": none is published, and it
            has the sha256 kept since it was made here; "unchecked": neither is known; "damaged".
        detail: the checksum, or what is wrong.
    """

    path: Path
    state: Literal["verified", "unchanged", "unchecked", "damaged"]
    detail: str


def verify_cache(entry: Checkpoint) -> tuple[CachedFile, ...]:
    """Check everything that the cache folder holds of a checkpoint.

    Args:
        entry: an entry of the manifest.

    Returns:
        The download, what was unpacked of it, what was converted from it, as far as they are there.

    Raises:
        OSError: if a file cannot be read.
    """
    found = [_check(storage.home() / entry.file_name, entry.strongest_checksum(), entry.size_bytes)]
    try:
        key = _key(entry)
    except InputError:  # the kept checksum is none, as the download's check says
        key = None
    if key is not None:
        if entry.archive:
            first, *others = _members(entry)
            found.append(_check(first, entry.strongest_checksum("member")))
            found += map(_check, others)
        name = glob.escape(f"{entry.id}.{key}.converted-") + "*.weights.h5"
        found += map(_check, sorted(storage.home().glob(name)))
    return tuple(file for file in found if file is not None)


def _check(
    path: Path, published: Checksum | None = None, size_bytes: int | None = None
) -> CachedFile | None:
    """Check one file; None if it does not exist."""
    if not path.is_file():
        return None
    try:
        checksum = checksums.recorded_sum(path) if published is None else str(published)
    except InputError as error:
        return CachedFile(path, "damaged", str(error))
    if difference := checksums.flaw(path, size_bytes, checksum):
        return CachedFile(path, "damaged", difference)
    if checksum is None:
        return CachedFile(path, "unchecked", "no checksum is known")
    return CachedFile(path, "unchanged" if published is None else "verified", checksum)


def _key(entry: Checkpoint) -> str | None:
    """Return the start of the checksum that everything made from a checkpoint is named after."""
    published = entry.strongest_checksum() or entry.strongest_checksum("member")
    checksum = published and str(published)
    checksum = checksum or checksums.recorded_sum(storage.home() / entry.file_name)
    if checksum is None:
        return None
    algorithm, digits = checksums.parse(checksum)
    return f"{algorithm}-{digits[:16]}"


def _members(entry: Checkpoint) -> list[Path]:
    """Return where the needed members of an archive belong, if its key is known."""
    folder = storage.home() / f"{entry.id}.{_key(entry)}"
    return [folder / PurePosixPath(member).name for member in entry.members]


def _intact(path: Path) -> bool:
    """Return whether a file that was made here is there and has the sha256 kept then."""
    found = _check(path)
    return found is not None and found.state == "unchanged"


def _unpack(entry: Checkpoint, archive: Path) -> Path:
    """Put the needed members of an archive into a folder of their own, in one step."""
    members = _members(entry)
    folder = members[0].parent
    with storage.workshop(folder) as work:
        if all(map(_intact, members)):  # another process was faster
            return members[0]
        fresh = work / "unpacked"
        shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
        fresh.mkdir()
        try:
            _fill(fresh, entry, archive, work)
            shutil.rmtree(folder, ignore_errors=True)
            storage.publish(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return members[0]


def _fill(fresh: Path, entry: Checkpoint, archive: Path, work: Path) -> None:
    """Unpack into a folder, check, and keep checksums of what came out."""
    most = _MOST_EXPANSION * archive.stat().st_size
    with _unvouched_deleted(entry, archive):
        files = unpack(archive, entry.archive, entry.members, fresh, max_bytes=most)
        if inner := entry.strongest_checksum("member"):
            checksums.verify(files[0], str(inner))
    for file in files:
        checksums.record_sum(file, file, work)


@contextlib.contextmanager
def _unvouched_deleted(entry: Checkpoint, download: Path) -> Iterator[None]:
    """Delete a download that turns out to be of no use, if no published checksum vouches for it.

    Another download may be what the first one should have been.
    """
    try:
        yield
    except InputError as error:
        if download.name != entry.file_name or entry.strongest_checksum() is not None:
            raise
        download.unlink()
        checksums.sum_file(download).unlink(missing_ok=True)
        raise InputError(
            f"{error} No checksum vouches for {download.name}, so it was deleted; fetch it again."
        ) from error
