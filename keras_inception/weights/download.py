"""Fetching a file once, whole, checked and in one step, whatever the network and the machine do."""

import contextlib
import dataclasses
import errno
import hashlib
import logging
import os
import shlex
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from keras_inception.errors import InputError
from keras_inception.weights import checksums, storage
from keras_inception.weights.transfer import Patience, ResumingDownloader, TransferError, shown

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


class DownloadError(InputError):
    """A file could not be fetched.

    The message says what was expected, what each URL gave instead, and how to put the file in its
    place by hand.
    """


def fetch(
    urls: Sequence[str],
    filename: str,
    *,
    size_bytes: int | None = None,
    checksum: str | None = None,
    vouched: bool = False,
    page: str | None = None,
    patience: Patience | None = None,
) -> Path:
    """Return the path of a file in the cache folder; download it unless it is there and intact.

    The file is checked at every call, before anything reads it. At any moment its place holds
    nothing or a whole, checked file; what arrives is collected in the hidden folder
    `.<filename>.part` beside it, and a later call continues there if the server can. Of any number
    of processes that call at once, one downloads and the others wait.

    The URLs are tried in turn, that of `KERAS_INCEPTION_MIRROR` first, then all again after a
    pause. With `KERAS_INCEPTION_OFFLINE=1` nothing is downloaded.

    Args:
        urls: http or https URLs of the same file.
        filename: its name in the cache folder (`keras_inception.weights.storage.home`).
        size_bytes: its size, or None if unknown.
        checksum: the strongest checksum known, such as "sha256:..." (algorithms: see
            `keras_inception.weights.checksums.parse`). If None, the size alone is checked, a
            warning says so, and the sha256 of the file is kept as `<filename>.sha256` and compared
            from then on.
        vouched: whether the caller checks what is inside: no warning for a missing checksum then.
        page: where a browser gets the file, for the error; None if there is no such page.
        patience: time-outs and pauses between attempts; None means `Patience()`.

    Returns:
        The path `home() / filename`.

    Raises:
        DownloadError: if the file cannot be had: not there and offline, no URL gives it, a size or
            checksum differs, or the disk is full or cannot be written.
        InputError: if an argument or an environment variable is malformed.
    """
    if filename != os.path.basename(filename) or filename in ("", ".", ".."):
        raise InputError(f"filename is {filename!r}; expected a plain file name without a folder.")
    if checksum is not None:
        checksums.parse(checksum)
    file = _File(storage.home() / filename, tuple(urls), size_bytes, checksum, vouched, page)
    try:
        return _fetch(file, patience or Patience())
    except OSError as error:
        raise file.error(
            f"the disk failed with {error.strerror or error} ({error.filename or file.path}); make "
            "room, or set KERAS_INCEPTION_HOME to another folder"
        ) from error


@dataclasses.dataclass(frozen=True)
class _File:
    """What is wanted, and where."""

    path: Path
    urls: tuple[str, ...]
    size_bytes: int | None
    checksum: str | None
    vouched: bool
    page: str | None

    def known_sum(self) -> str | None:
        """Return the published checksum, else the one kept from the first download."""
        return self.checksum or checksums.recorded_sum(self.path)

    def flaw(self) -> str | None:
        """Return what is wrong with the file in its place, or None."""
        if not self.path.is_file():
            return f"{self.path} does not exist"
        difference = checksums.flaw(self.path, self.size_bytes, self.known_sum())
        return difference and f"{self.path} is damaged or another file: {difference}"

    def error(self, what: str) -> DownloadError:
        """Return the one error of this module."""
        size = "of unknown size" if self.size_bytes is None else f"{self.size_bytes} bytes"
        checksum = self.known_sum() or "no checksum known"
        if self.known_sum() and not self.checksum:
            kept = checksums.sum_file(self.path)
            checksum += f" kept from the first download, delete {kept} to accept another"
        place = f"put the file{f' of {self.page}' if self.page else ''} at {self.path}"
        if self.urls:
            command = f"curl -L -o {shlex.quote(str(self.path))} {shlex.quote(self.urls[0])}"
            place = f"run: {command} --create-dirs (or {place})"
        return DownloadError(
            f"Could not fetch {self.path.name} ({size}, {checksum}): {what}. "
            f"To do it by hand, {place}."
        )


def _fetch(file: _File, patience: Patience) -> Path:
    """Look, lock, look again, download."""
    if file.known_sum() and not file.flaw():
        storage.sweep(file.path)
        return file.path  # without waiting, and without a right to write
    if storage.offline() and (flaw := file.flaw()):
        raise file.error(f"{flaw}, and KERAS_INCEPTION_OFFLINE forbids the network")
    with storage.workshop(file.path) as work:
        if flaw := file.flaw():
            try:
                _download(file, work, patience)
            except TransferError as error:
                raise file.error(f"{flaw}; {error}") from error
        if not file.known_sum():
            _record(file, work)
    return file.path


def _record(file: _File, work: Path) -> None:
    """Keep the sha256 of a file that nobody publishes one of, and say that it was not checked."""
    checksum = checksums.record_sum(file.path, file.path, work)
    if file.vouched:
        return
    checked = "nothing" if file.size_bytes is None else f"only its size, {file.size_bytes} bytes,"
    warnings.warn(
        f"No checksum of {file.path.name} is published: {checked} could be checked. It has "
        f"{checksum}, kept in {checksums.sum_file(file.path)} and compared from now on.",
        stacklevel=4,
    )


def _download(file: _File, work: Path, patience: Patience) -> None:
    """Try all URLs, then again those that may yet answer, until one has put the file in place."""
    if not file.known_sum():
        shutil.rmtree(work)  # nothing would tell whether an earlier part and a new one fit
        work.mkdir()
    base = storage.mirror()
    hopeful = [f"{base}/{quote(file.path.name)}"] if base else []
    hopeful += [url for url in file.urls if url not in hopeful]
    problems = {}
    for delay in (0.0, *patience.delays):
        if not hopeful:
            break
        time.sleep(delay)
        for url in tuple(hopeful):
            try:
                return _retrieve(url, file, work, patience)
            except TransferError as error:
                problems[url] = str(error)
                if not error.transient:
                    hopeful.remove(url)
            except OSError as error:
                if error.errno in _DISK_IS_FULL:
                    shutil.rmtree(work, ignore_errors=True)
                raise
    tried = "; ".join(f"{shown(url)}: {problem}" for url, problem in problems.items())
    raise TransferError(tried or "no URL of it is known", transient=False)


def _retrieve(url: str, file: _File, work: Path, patience: Patience) -> None:
    """Download from one URL, check what came, and put it in its place."""
    import pooch  # takes long to import, and most calls find the file in its place

    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    downloader = ResumingDownloader(
        work / f"{name}.partial", file.size_bytes, patience, file.path.name
    )
    folder = work / "pooch"
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        with _silent(pooch.get_logger()):
            got = Path(pooch.retrieve(url, None, file.path.name, folder, downloader=downloader))
        if difference := checksums.flaw(got, file.size_bytes, file.known_sum()):
            # Parts that do not fit may come from two versions: once more, from the start.
            raise TransferError(f"gave another file: {difference}", transient=downloader.resumed)
        storage.publish(got, file.path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from announcing on standard error what it does."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
