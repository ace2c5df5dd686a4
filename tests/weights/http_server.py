"""A real HTTP server on 127.0.0.1 that misbehaves as told."""

import contextlib
import dataclasses
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 1 << 14


@dataclasses.dataclass(frozen=True)
class Reply:
    """One answer: a whole file unless a field says otherwise."""

    body: bytes = b""
    status: int = 200
    location: str | None = None
    content_type: str = "application/octet-stream"
    encoding: str | None = None
    etag: str | None = '"version 1"'
    modified: str | None = None
    ranges: bool = True  # honours Range and If-Range
    content_range: str | None = None  # instead of the true one
    length: int | str | None = "true"  # Content-Length: "true", a false one, or None for none
    chunked: bool = False
    stop_after: int | None = None  # closes the connection after so many bytes
    stall_after: int | None = None  # sends nothing after so many bytes, and stays open
    seconds_per_piece: float = 0.0
    piece: int = PIECE
    silent: bool = False  # accepts the request and never answers
    gate: threading.Event | None = None  # answers once this is set


@dataclasses.dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]


class Server:
    """Answers each path with its replies in turn; the last one again and again."""

    def __init__(self, url: str):
        self.url = url
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._replies: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()

    def serve(self, path: str, *replies: Reply) -> str:
        """Set the replies of a path; return its URL."""
        self._replies[path] = list(replies)
        return self.url + path

    def take(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            replies = self._replies.get(request.path, [Reply(status=404)])
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Server

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.script.take(Request(self.path, headers))
        if reply.silent:
            self.script.closing.wait()
            return
        if reply.gate is not None:
            reply.gate.wait(timeout=120)
        start = self._start(reply, headers)
        with contextlib.suppress(ConnectionError):
            self._head(reply, start)
            self._body(reply, reply.body[start or 0 :])

    @staticmethod
    def _start(reply: Reply, headers: dict[str, str]) -> int | None:
        """Where to continue, if that is asked for and possible."""
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        same = headers.get("if-range") in (reply.etag, reply.modified)
        return int(asked[1]) if asked and same and reply.ranges and reply.status == 200 else None

    def _head(self, reply: Reply, start: int | None) -> None:
        whole = len(reply.body)
        if start is not None and start >= whole:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
            self.end_headers()
            raise ConnectionAbortedError
        self.send_response(reply.status if start is None else 206)
        self.send_header("Connection", "close")
        self.send_header("Content-Type", reply.content_type)
        if start is not None:
            extent = reply.content_range or f"bytes {start}-{whole - 1}/{whole}"
            self.send_header("Content-Range", extent)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.length is not None:
            true = whole - (start or 0)
            self.send_header(
                "Content-Length", str(true if reply.length == "true" else reply.length)
            )
        for name, value in (
            ("Location", reply.location),
            ("Content-Encoding", reply.encoding),
            ("ETag", reply.etag),
            ("Last-Modified", reply.modified),
        ):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, reply: Reply, body: bytes) -> None:
        end = min([len(body), *(n for n in (reply.stop_after, reply.stall_after) if n is not None)])
        for begin in range(0, end, reply.piece):
            piece = body[begin : min(end, begin + reply.piece)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            self.wfile.flush()
            if self.script.closing.wait(reply.seconds_per_piece):
                return
        if reply.stall_after is not None:
            self.script.closing.wait()
        elif reply.chunked and end == len(body):
            self.wfile.write(b"0\r\n\r\n")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Run a server on a free port."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        server = Handler.script = Server(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listener.shutdown()
            thread.join()
