"""One URL, one attempt: the downloader that is given to pooch, which continues where it stopped."""

import dataclasses
import http.client
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
import urllib3

from keras_inception._version import __version__
from keras_inception.weights.progress import progress_bar

_CHUNK = 1 << 16
# A file whose size nobody states must end somewhere; the largest known checkpoint is a tenth of it.
_MOST_BYTES = 4 << 30
_CLOSED = "closed the connection"


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long a download waits, and how often it tries again.

    Attributes:
        connect_seconds: for a connection.
        stall_seconds: for the next bytes of a connection.
        bytes_per_second: what must arrive at least, averaged over `stall_seconds`.
        delays: seconds to wait before the second, third, ... attempt.
    """

    connect_seconds: float = 10.0
    stall_seconds: float = 30.0
    bytes_per_second: float = 1000.0
    delays: tuple[float, ...] = (1.0, 2.0, 4.0)


class TransferError(Exception):
    """One attempt to get one URL failed.

    Attributes:
        transient: whether another attempt may succeed.
    """

    def __init__(self, message: str, *, transient: bool):
        """Keep the message, which does not name the URL, and whether to try again."""
        super().__init__(message)
        self.transient = transient


def shown(url: str) -> str:
    """Return the URL as it may be printed: without a user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class ResumingDownloader:
    """A downloader for `pooch.retrieve` that continues a file where an earlier attempt ended.

    The bytes are collected in `partial`; beside it stand the validator (ETag or date) and size that
    the server stated, so that the rest is asked for only of the same version of the file. A server
    that cannot continue sends everything again.

    Args:
        partial: where to collect the bytes; another one for each URL.
        size_bytes: size of the whole file, or None if unknown. A server that states another size
            or sends more is cut off.
        patience: time-outs.
        label: what the progress bar shows; there is one only if standard error is a terminal.

    Attributes:
        resumed: whether the file was put together from several attempts.
    """

    def __init__(self, partial: Path, size_bytes: int | None, patience: Patience, label: str):
        """Keep the arguments; nothing happens before the call."""
        self.partial = partial
        self.size_bytes = size_bytes
        self.patience = patience
        self.label = label
        self.resumed = False

    def __call__(self, url: str, output_file: str | os.PathLike, pooch: object = None) -> None:
        """Put the whole content of `url` at `output_file`.

        Args:
            url: an http or https URL; redirects to others of the kind are followed.
            output_file: the path that pooch wants it at, on the file system of `partial`.
            pooch: part of pooch's interface; it says nothing that is needed here.

        Raises:
            TransferError: if the server or the network failed.
            OSError: if the disk failed.
        """
        held, validator, total = self._earlier()
        if held and held == total:
            self.resumed = True  # an earlier process ended between the last byte and the check
        else:
            try:
                self._receive(url, held, validator)
            except TransferError as error:
                if not error.transient:
                    self.discard()
                raise
        os.replace(self.partial, output_file)
        self._notes.unlink(missing_ok=True)

    @property
    def _notes(self) -> Path:
        return self.partial.with_suffix(".json")

    def discard(self) -> None:
        """Delete what was collected."""
        self.partial.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _earlier(self) -> tuple[int, str | None, int | None]:
        """Return the bytes held by earlier attempts, the validator and the size of the whole."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            return self.partial.stat().st_size, notes["validator"], notes["total"]
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return 0, None, None

    def _receive(self, url: str, held: int, validator: str | None) -> None:
        """Ask for what is missing of the file, and append it."""
        headers = {
            "User-Agent": f"keras-inception/{__version__}",
            "Accept-Encoding": "identity",
        }
        if held and validator:
            headers |= {"Range": f"bytes={held}-", "If-Range": validator}
        with self._answer(url, headers) as response:
            start, total = self._extent(response, held)
            self.resumed = start > 0
            whole = total or self.size_bytes
            with open(self.partial, "ab" if start else "wb") as file:
                if not start:  # the file is empty now, so these notes cannot meet other bytes
                    self._note(response, total)
                self._store(response, file, start, whole)

    def _store(
        self, response: requests.Response, file: BinaryIO, start: int, whole: int | None
    ) -> None:
        """Write the bytes of the answer as they arrive."""
        received = start
        try:
            with progress_bar(self.label, whole, start) as show:
                for chunk in self._chunks(response):
                    received += len(chunk)
                    if received > (whole or _MOST_BYTES):
                        raise TransferError("sent too much and was cut off", transient=False)
                    file.write(chunk)
                    show(received)
            if not received or received < (whole or 0):
                raise TransferError(_CLOSED, transient=True)
        except TransferError as error:
            so_far = f"{received} bytes" if whole is None else f"{received} of {whole} bytes"
            raise TransferError(f"{error} after {so_far}", transient=error.transient) from error

    def _answer(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Return the server's answer if it is one to use."""
        timeout = (self.patience.connect_seconds, self.patience.stall_seconds)
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=timeout)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._network_error(error) from error
        host = urlsplit(response.url).netloc.rpartition("@")[2]
        via = f" (redirected to {host})" if response.history else ""
        status = response.status_code
        if status not in (200, 206):
            response.close()
            if status == 416:  # the range that we hold is no part of the file
                self.discard()
            raise TransferError(
                f"answered {status} {response.reason}{via}",
                transient=status in (408, 416, 425, 429) or status >= 500,
            )
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            response.close()
            raise TransferError(
                f"answered with a web page{via} instead of the file", transient=False
            )
        return response

    def _extent(self, response: requests.Response, held: int) -> tuple[int, int | None]:
        """Return where the bytes of the answer begin, and the size of the whole file if stated."""
        if response.status_code == 206:
            unit, _, extent = response.headers.get("Content-Range", "").partition(" ")
            span, _, size = extent.partition("/")
            start, total = _number(span.partition("-")[0]), _number(size)
            if unit != "bytes" or start != held or total is None:
                self.discard()
                raise TransferError(
                    f"continued at {extent or 'no stated place'} instead of {held}", transient=True
                )
        else:
            start, total = 0, _number(response.headers.get("Content-Length", ""))
        most = self.size_bytes or _MOST_BYTES
        if total is not None and (total > most or total != (self.size_bytes or total)):
            raise TransferError(
                f"offers {total} bytes, expected {'' if self.size_bytes else 'at most '}{most}",
                transient=False,
            )
        return start, total

    def _note(self, response: requests.Response, total: int | None) -> None:
        """Keep what is needed to continue this very version of the file."""
        tag = response.headers.get("ETag")
        if tag is None or tag.startswith("W/"):  # a weak tag does not promise the same bytes
            tag = response.headers.get("Last-Modified")
        self._notes.write_text(json.dumps({"validator": tag, "total": total}), encoding="utf-8")

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the bytes as they arrive; give up on a server that stalls or trickles."""
        patience = self.patience
        began, count = time.monotonic(), 0
        while True:
            try:
                # Not `iter_content`: it waits for whole chunks, which a trickle takes hours for.
                chunk = response.raw.read1(_CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise self._network_error(error) from error
            if not chunk:
                return
            yield chunk
            count += len(chunk)
            seconds = time.monotonic() - began
            if seconds >= patience.stall_seconds:
                if count < patience.bytes_per_second * seconds:
                    raise TransferError(
                        f"sent only {count} bytes in {seconds:.0f} s", transient=True
                    )
                began, count = time.monotonic(), 0

    def _network_error(self, error: Exception) -> TransferError:
        """Say in a few words what requests and urllib3 say in many."""
        timeouts = (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)
        if isinstance(error, requests.ConnectTimeout):
            text = f"no connection within {self.patience.connect_seconds:g} s"
        elif isinstance(error, timeouts):
            text = f"no data for {self.patience.stall_seconds:g} s"
        elif isinstance(error, requests.TooManyRedirects):
            return TransferError("redirects without end", transient=False)
        elif isinstance(error, ValueError):  # requests' errors about the URL itself
            return TransferError(f"no http or https URL ({error})", transient=False)
        elif any(isinstance(cause, http.client.IncompleteRead) for cause in _causes(error)):
            text = _CLOSED
        else:
            *_, root = _causes(error)
            text = f"the connection failed ({str(root) or type(root).__name__})"
        return TransferError(text, transient=True)


def _number(text: str) -> int | None:
    """Read a number of bytes from a header."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it; the last one names the true cause."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
