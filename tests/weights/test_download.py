"""Fetching from a server that does everything wrong, in one process."""

import errno
import gzip
import hashlib
import io
import os
import random
import re
import socket
import sys
import time
import warnings

import pooch
import pytest
from filelock import FileLock

from keras_inception.errors import InputError
from keras_inception.weights.checksums import verify
from keras_inception.weights.download import DownloadError, fetch
from keras_inception.weights.storage import home as home_folder
from keras_inception.weights.transfer import Patience
from tests.weights.http_server import PIECE, Reply, running

BODY = random.Random(7).randbytes(200_001)
SIZE = len(BODY)
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
OTHER = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
CORRUPT = BODY[:1000] + b"?" + BODY[1001:]
QUICK = Patience(connect_seconds=1.0, stall_seconds=0.3, delays=(0.01, 0.02, 0.03))
NAME = "net.h5"


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("KERAS_INCEPTION_MIRROR", "KERAS_INCEPTION_OFFLINE", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def get(*urls, size_bytes=SIZE, checksum=SHA256, patience=QUICK, **arguments):
    return fetch(
        urls, NAME, size_bytes=size_bytes, checksum=checksum, patience=patience, **arguments
    )


def error_of(*urls, **arguments) -> str:
    """The text of the error that fetching ends in; always on one line, always with a way out."""
    with pytest.raises(DownloadError) as caught:
        get(*urls, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"Could not fetch {NAME} (")
    return message


def left_in(home) -> list[str]:
    """What stands in the cache folder, but for lock files."""
    return sorted(path.name for path in home.iterdir() if path.suffix != ".lock")


# What goes well


def test_a_file_arrives_whole_and_alone(server, home):
    path = get(server.serve("/net.h5", Reply(BODY)))
    assert path == home / NAME
    assert path.read_bytes() == BODY
    assert left_in(home) == [NAME]
    assert len(server.requests) == 1
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert server.requests[0].headers["user-agent"].startswith("keras-inception/")


def test_an_intact_file_is_not_fetched_again(server):
    url = server.serve("/net.h5", Reply(BODY))
    assert get(url) == get(url)
    assert len(server.requests) == 1


def test_a_file_put_by_hand_is_used_without_a_lock(server, home):
    home.mkdir()
    (home / NAME).write_bytes(BODY)
    get(server.serve("/net.h5", Reply(BODY)))
    assert [path.name for path in home.iterdir()] == [NAME]
    assert server.requests == []


def test_what_a_killed_process_left_beside_an_intact_file_is_swept(server, home):
    path = get(server.serve("/net.h5", Reply(BODY)))
    left = home / f".{NAME}.part"
    left.mkdir()
    (left / "some.partial").write_bytes(b"half")
    with FileLock(home / f".{NAME}.lock"):  # by another process, which may need it
        assert get() == path
        assert left.exists()
    assert get() == path
    assert left_in(home) == [NAME]


@pytest.mark.parametrize("damaged", [BODY[:-1], CORRUPT, b""])
def test_a_damaged_file_in_the_cache_is_replaced(server, home, damaged):
    home.mkdir()
    (home / NAME).write_bytes(damaged)
    assert get(server.serve("/net.h5", Reply(BODY))).read_bytes() == BODY


def test_redirects_are_followed_within_http(server):
    server.serve("/there", Reply(BODY))
    url = server.serve("/net.h5", Reply(status=302, location="/there"))
    assert get(url).read_bytes() == BODY
    assert server.paths() == ["/net.h5", "/there"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_passing_failure_is_tried_again(server, status):
    url = server.serve("/net.h5", Reply(status=status), Reply(status=status), Reply(BODY))
    assert get(url).read_bytes() == BODY
    assert len(server.requests) == 3


def test_pauses_grow_as_told(server, monkeypatch):
    slept = []
    monkeypatch.setattr("keras_inception.weights.download.time.sleep", slept.append)
    get(server.serve("/net.h5", *[Reply(status=500)] * 3, Reply(BODY)))
    assert [pause for pause in slept if pause] == list(QUICK.delays)


def test_the_next_url_is_tried_at_once(server):
    gone, here = server.serve("/a", Reply(status=404)), server.serve("/b", Reply(BODY))
    assert get(gone, here).read_bytes() == BODY
    assert server.paths() == ["/a", "/b"]


def test_bodies_without_a_stated_size_are_read(server):
    for reply in (Reply(BODY, chunked=True), Reply(BODY, length=None)):
        url = server.serve("/net.h5", reply)
        path = get(url)
        assert path.read_bytes() == BODY
        path.unlink()


def test_a_content_encoding_is_not_undone(server):
    """Servers label .tar.gz files as gzip-encoded; the file is what is sent."""
    packed = gzip.compress(BODY)
    reply = Reply(packed, encoding="gzip")
    checksum = f"sha256:{hashlib.sha256(packed).hexdigest()}"
    path = get(server.serve("/x", reply), size_bytes=len(packed), checksum=checksum)
    assert path.read_bytes() == packed


# Mirror, offline, names


def test_the_mirror_comes_first(server, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_MIRROR", server.url + "/mirror/")
    server.serve("/mirror/net.h5", Reply(BODY))
    assert get(server.serve("/elsewhere", Reply(BODY))).read_bytes() == BODY
    assert server.paths() == ["/mirror/net.h5"]


def test_a_mirror_without_the_file_is_passed_over(server, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_MIRROR", server.url + "/mirror")
    assert get(server.serve("/elsewhere", Reply(BODY))).read_bytes() == BODY
    assert server.paths() == ["/mirror/net.h5", "/elsewhere"]


def test_a_password_of_the_mirror_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_MIRROR", server.url.replace("http://", "http://me:secret@"))
    message = error_of(server.serve("/elsewhere", Reply(status=404)))
    assert f"{server.url}/net.h5: answered 404 Not Found" in message
    assert "secret" not in message


def test_a_mirror_that_is_no_url_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_MIRROR", "/mnt/weights")
    with pytest.raises(InputError, match=r"KERAS_INCEPTION_MIRROR is '/mnt/weights'; expected a "):
        get("http://127.0.0.1:9/net.h5")


def test_offline_touches_no_network(server, home, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    url = server.serve("/net.h5", Reply(BODY))
    message = error_of(url)
    assert f"{home / NAME} does not exist, and KERAS_INCEPTION_OFFLINE forbids the netw" in message
    assert f"run: curl -L -o {home / NAME} {url} --create-dirs (or put the file at " in message
    assert server.requests == []


def test_offline_says_what_is_wrong_with_a_file(home, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "true")
    home.mkdir()
    (home / NAME).write_bytes(CORRUPT)
    received = hashlib.sha256(CORRUPT).hexdigest()
    message = error_of("http://127.0.0.1:9/net.h5")
    assert (
        f"{NAME} is damaged or another file: expected {SHA256}, received sha256:{received} (2"
        in message
    )
    assert (home / NAME).read_bytes() == CORRUPT


def test_offline_uses_what_is_there(home, monkeypatch):
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    home.mkdir()
    (home / NAME).write_bytes(BODY)
    assert get() == home / NAME


def test_offline_is_a_switch(server, monkeypatch):
    url = server.serve("/net.h5", Reply(BODY))
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "perhaps")
    with pytest.raises(InputError, match="KERAS_INCEPTION_OFFLINE is 'perhaps'; expected 1 "):
        get(url)
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "0")
    assert get(url).read_bytes() == BODY


def test_the_folder_is_that_of_keras(server, monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_INCEPTION_HOME")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    url = server.serve("/net.h5", Reply(BODY))
    assert get(url) == tmp_path / "keras" / "keras_inception" / NAME
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get(url) == tmp_path / ".keras" / "keras_inception" / NAME


def test_the_folder_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for given, expected in (("weights", tmp_path / "weights"), ("~/w", tmp_path / "me" / "w")):
        monkeypatch.setenv("KERAS_INCEPTION_HOME", given)
        assert home_folder() == expected


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/etc/passwd"])
def test_names_with_a_folder_are_refused(name):
    with pytest.raises(InputError, match="expected a plain file name without a folder"):
        fetch(["http://127.0.0.1:9/x"], name)


# Checksums


def test_any_kind_of_checksum_is_compared(server):
    sha256 = SHA256.partition(":")[2]
    checksums = [f"sha256-prefix:{sha256[:8]}", f"sha256-prefix:{sha256[:9].upper()}", SHA256]
    for algorithm in ("md5", "sha1", "sha384", "sha512"):
        checksums.append(f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}")
    good, bad = server.serve("/good", Reply(BODY)), server.serve("/bad", Reply(CORRUPT))
    for checksum in checksums:
        assert f"expected {checksum}, received" in error_of(bad, checksum=checksum)
        path = get(good, checksum=checksum)
        assert path.read_bytes() == BODY
        path.unlink()


@pytest.mark.parametrize(
    ("checksum", "message"),
    [
        ("crc32:01234567", "Unknown checksum algorithm: 'crc32'. Known: md5, sha1, "),
        ("sha256:0123", "The checksum 'sha256:0123' should be sha256: and 64 hexadecimal digits."),
        ("sha256-prefix:0123456", "sha256-prefix: and 8 to 64 hexadecimal digits."),
        ("md5:" + "g" * 32, "should be md5: and 32 hexadecimal digits."),
        ("0" * 64, "Unknown checksum algorithm: '0000"),
    ],
)
def test_malformed_checksums_are_refused(checksum, message):
    with pytest.raises(InputError) as caught:
        get("http://127.0.0.1:9/x", checksum=checksum)
    assert message in str(caught.value)


def test_verify_compares_a_file(tmp_path):
    path = tmp_path / NAME
    with pytest.raises(InputError, match=f"{path} is not a file; expected one with {SHA256}."):
        verify(path, SHA256)
    path.write_bytes(BODY)
    verify(path, SHA256)
    verify(str(path), f"sha256-prefix:{SHA256[7:17]}")
    with pytest.raises(InputError) as caught:
        verify(path, OTHER)
    assert str(caught.value) == (
        f"{path} is damaged or another file: expected {OTHER}, received {SHA256} (200001 bytes). "
        "Fetch it again."
    )
    with pytest.raises(InputError, match="Unknown checksum algorithm: 'sha3'"):
        verify(path, "sha3:00")


def test_without_a_checksum_the_first_download_is_pinned(server, home):
    url = server.serve("/net.h5", Reply(BODY))
    with pytest.warns(UserWarning) as caught:
        path = get(url, checksum=None)
    kept = home / f"{NAME}.sha256"
    assert str(caught[0].message) == (
        f"No checksum of {NAME} is published: only its size, 200001 bytes, could be checked. It "
        f"has {SHA256}, kept in {kept} and compared from now on."
    )
    assert caught[0].filename == __file__
    assert kept.read_text() == f"{SHA256[7:]}  {NAME}\n"
    assert left_in(home) == [NAME, kept.name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get(url, checksum=None)
    path.unlink()
    message = error_of(server.serve("/net.h5", Reply(CORRUPT)), checksum=None)
    assert f"{SHA256} kept from the first download, delete {kept} to accept another)" in message
    assert f"gave another file: expected {SHA256}, received sha256:" in message


def test_without_size_and_checksum_nothing_is_claimed(server):
    with pytest.warns(UserWarning, match="is published: nothing could be checked. It has sha256:"):
        get(server.serve("/net.h5", Reply(BODY)), checksum=None, size_bytes=None)


def test_a_file_put_by_hand_is_pinned_too(home):
    home.mkdir()
    (home / NAME).write_bytes(BODY)
    with pytest.warns(UserWarning, match="only its size"):
        get(checksum=None)
    assert left_in(home) == [NAME, f"{NAME}.sha256"]
    (home / NAME).write_bytes(CORRUPT)
    assert f"{NAME} is damaged or another file: expected {SHA256}" in error_of(checksum=None)


def test_a_vouched_file_brings_no_warning(server, home):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get(server.serve("/net.h5", Reply(BODY)), checksum=None, vouched=True)
    assert left_in(home) == [NAME, f"{NAME}.sha256"]


def test_a_kept_checksum_that_is_none_is_refused(home):
    home.mkdir()
    (home / f"{NAME}.sha256").write_text("rubbish")
    with pytest.raises(InputError, match=r"net.h5.sha256 should hold a sha256 .*'rubbish'. Delete"):
        get("http://127.0.0.1:9/x", checksum=None)


# What goes wrong: one error


def test_the_error_says_everything(server, home):
    first, second = server.serve("/a", Reply(status=404)), server.serve("/b", Reply(CORRUPT))
    received = hashlib.sha256(CORRUPT).hexdigest()
    assert error_of(first, second) == (
        f"Could not fetch {NAME} (200001 bytes, {SHA256}): {home / NAME} does not exist; "
        f"{first}: answered 404 Not Found; "
        f"{second}: gave another file: expected {SHA256}, received sha256:{received} (200001 bytes)"
        f". To do it by hand, run: curl -L -o {home / NAME} {first} --create-dirs "
        f"(or put the file at {home / NAME})."
    )
    assert len(server.requests) == 2  # neither passes, so neither is asked again
    assert left_in(home) == []


def test_a_path_with_a_blank_is_quoted_in_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path / "my files"))
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    message = error_of("http://127.0.0.1:9/x?a=1&b=2")
    assert f"-o '{tmp_path}/my files/{NAME}' 'http://127.0.0.1:9/x?a=1&b=2' --create" in message


def test_unknown_facts_are_called_unknown(server):
    message = error_of(size_bytes=None, checksum=None)
    assert f"{NAME} (of unknown size, no checksum known): " in message
    assert "does not exist; no URL of it is known. To do it by hand, put the file at /" in message
    message = error_of(page="https://example.org/page")
    assert "To do it by hand, put the file of https://example.org/page at /" in message


def test_a_lasting_500_is_an_error_after_all_attempts(server):
    message = error_of(server.serve("/net.h5", Reply(status=500)))
    assert "/net.h5: answered 500 Internal Server Error." in message
    assert len(server.requests) == 1 + len(QUICK.delays)


def test_a_truncated_file_is_an_error(server, home):
    url = server.serve("/net.h5", Reply(BODY, stop_after=100_000, etag=None))
    assert f"{url}: closed the connection after 100000 of 200001 bytes." in error_of(url)
    assert not (home / NAME).exists()


def test_a_truncated_file_without_a_stated_size_is_an_error(server):
    url = server.serve("/net.h5", Reply(BODY, length=None, stop_after=100_000, etag=None))
    assert "closed the connection after 100000 of 200001 bytes" in error_of(url)
    url = server.serve("/net.h5", Reply(BODY, chunked=True, stop_after=100_000, etag=None))
    assert "closed the connection after 100000 of 200001 bytes" in error_of(url)
    assert "closed the connection after 100000 bytes" in error_of(url, size_bytes=None)


def test_truncation_shows_in_the_checksum_if_nothing_else_is_known(server):
    url = server.serve("/net.h5", Reply(BODY[:-1]))
    message = error_of(url, size_bytes=None)
    assert f"(of unknown size, {SHA256})" in message
    assert f"gave another file: expected {SHA256}, received sha256:" in message
    assert "(200000 bytes)" in message


def test_an_empty_file_is_an_error(server):
    url = server.serve("/net.h5", Reply(b""))
    message = error_of(url, size_bytes=None, checksum=None)
    assert "closed the connection after 0 bytes" in message


def test_another_stated_size_is_refused_before_the_download(server):
    url = server.serve("/net.h5", Reply(BODY + b"more"))
    assert f"{url}: offers 200005 bytes, expected 200001." in error_of(url)


def test_a_body_without_end_is_cut_off(server, home):
    """A megabyte more than expected is on offer; a fraction of it is taken."""
    endless = Reply(BODY + bytes(1 << 20), length=None)
    url = server.serve("/net.h5", endless)
    message = error_of(url)
    received = re.search(r"sent too much and was cut off after (\d+) of 200001 bytes", message)
    assert len(BODY) < int(received[1]) <= len(BODY) + (1 << 16)
    assert left_in(home) == []


def test_a_body_without_end_is_cut_off_where_no_size_is_known(server, monkeypatch):
    monkeypatch.setattr("keras_inception.weights.transfer._MOST_BYTES", 150_000)
    url = server.serve("/net.h5", Reply(BODY, length=None))
    assert "sent too much and was cut off after " in error_of(url, size_bytes=None)
    url = server.serve("/net.h5", Reply(BODY))
    assert "offers 200001 bytes, expected at most 150000" in error_of(url, size_bytes=None)


@pytest.mark.parametrize("length", ["-1", "1" * 5000, "many"])
def test_a_senseless_content_length_is_ignored(server, length):
    assert get(server.serve("/net.h5", Reply(BODY, length=length))).read_bytes() == BODY


def test_a_web_page_is_not_a_file(server):
    server.serve("/login", Reply(b"<html>", content_type="text/html; charset=utf-8"))
    url = server.serve("/net.h5", Reply(status=302, location="/login"))
    message = error_of(url, size_bytes=None, checksum=None)
    host = server.url.removeprefix("http://")
    assert f"answered with a web page (redirected to {host}) instead of the file" in message


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/net.h5"])
def test_redirects_out_of_http_are_refused(server, location):
    url = server.serve("/net.h5", Reply(status=302, location=location))
    message = error_of(url)
    assert f"{url}: no http or https URL (No connection adapters were found for " in message
    assert len(server.requests) == 1


def test_other_urls_are_refused():
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "net.h5"):
        assert f"{url}: no http or https URL (" in error_of(url)


def test_redirects_in_a_circle_end(server):
    url = server.serve("/net.h5", Reply(status=302, location="/net.h5"))
    assert f"{url}: redirects without end" in error_of(url)


def test_a_server_that_never_answers_is_given_up(server):
    began = time.monotonic()
    message = error_of(server.serve("/net.h5", Reply(silent=True)))
    assert "/net.h5: no data for 0.3 s." in message
    assert time.monotonic() - began < 10


def test_a_server_that_stalls_is_given_up(server):
    url = server.serve("/net.h5", Reply(BODY, stall_after=PIECE, etag=None))
    assert f"{url}: no data for 0.3 s after {PIECE} of 200001 bytes." in error_of(url)


def test_a_server_that_trickles_is_given_up(server):
    """Each piece comes within the time-out; all of them would take an hour."""
    url = server.serve("/net.h5", Reply(BODY, piece=1, seconds_per_piece=0.02))
    began = time.monotonic()
    message = error_of(url, patience=Patience(stall_seconds=0.3, delays=()))
    assert re.search(r"sent only \d+ bytes in 0 s after \d+ of 200001 bytes", message)
    assert time.monotonic() - began < 5


def test_a_port_where_nobody_listens_is_an_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/net.h5"
        message = error_of(url)
    assert (
        f"{url}: the connection failed ([Errno {errno.ECONNREFUSED}] Connection refused)" in message
    )


def test_no_network_is_an_error(monkeypatch):
    def fail(*arguments, **named):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    message = error_of("http://weights.example/net.h5")
    assert (
        "http://weights.example/net.h5: the connection failed ([Errno -2] Name or serv" in message
    )


def test_a_connection_that_does_not_come_is_given_up():
    with socket.socket() as full:  # with a full queue further connections are not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            waiting.append(client)
        patience = Patience(connect_seconds=0.2, stall_seconds=0.2, delays=())
        message = error_of(f"http://127.0.0.1:{address[1]}/net.h5", patience=patience)
        for client in waiting:
            client.close()
    assert "net.h5: no connection within 0.2 s" in message


# The disk


def test_a_full_disk_is_an_error_and_gives_the_room_back(server, home):
    url = server.serve("/net.h5", Reply(BODY))
    work = home / f".{NAME}.part"
    work.mkdir(parents=True)
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    (work / f"{name}.partial").symlink_to("/dev/full")  # every write to it finds the disk full
    message = error_of(url)
    assert "the disk failed with No space left on device (" in message
    assert "make room, or set KERAS_INCEPTION_HOME to another folder. To do it by hand, " in message
    assert len(server.requests) == 1
    assert left_in(home) == []


def test_a_folder_that_cannot_be_made_is_an_error(server, home):
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file in the way")
    message = error_of(server.serve("/net.h5", Reply(BODY)))
    assert f"the disk failed with File exists ({home}); make room, or set KERAS_INC" in message


def test_a_failing_sync_leaves_nothing_in_place(server, home, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert "the disk failed with Input/output error" in error_of(
        server.serve("/net.h5", Reply(BODY))
    )
    assert not (home / NAME).exists()


# Continuing


def partial_of(home, url):
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return home / f".{NAME}.part" / f"{name}.partial"


def test_a_broken_download_continues(server, home):
    url = server.serve(
        "/net.h5",
        Reply(BODY, stop_after=70_000),
        Reply(BODY, stop_after=70_000),  # 70,000 of its own, that is from byte 70,000 on
        Reply(BODY),
    )
    assert get(url).read_bytes() == BODY
    assert [request.headers.get("range") for request in server.requests] == [
        None,
        "bytes=70000-",
        "bytes=140000-",
    ]
    assert server.requests[1].headers["if-range"] == '"version 1"'
    assert left_in(home) == [NAME]


def test_a_later_call_continues(server, home):
    url = server.serve("/net.h5", Reply(BODY, stop_after=70_000))
    error_of(url, patience=Patience(delays=()))
    assert partial_of(home, url).stat().st_size == 70_000
    server.serve("/net.h5", Reply(BODY))
    assert get(url).read_bytes() == BODY
    assert server.requests[-1].headers["range"] == "bytes=70000-"
    assert left_in(home) == [NAME]


def test_a_date_serves_as_validator(server):
    replies = [
        Reply(BODY, etag='W/"weak"', modified="Sat, 01 Jan 2022 00:00:00 GMT", stop_after=n)
        for n in (70_000, None)
    ]
    assert get(server.serve("/net.h5", *replies)).read_bytes() == BODY
    assert server.requests[1].headers["if-range"] == "Sat, 01 Jan 2022 00:00:00 GMT"


def test_without_a_validator_the_file_starts_again(server):
    replies = [Reply(BODY, etag=None, stop_after=n) for n in (70_000, None)]
    assert get(server.serve("/net.h5", *replies)).read_bytes() == BODY
    assert "range" not in server.requests[1].headers


def test_a_server_without_ranges_sends_all_again(server):
    replies = [Reply(BODY, ranges=False, stop_after=n) for n in (70_000, None)]
    assert get(server.serve("/net.h5", *replies)).read_bytes() == BODY
    assert server.requests[1].headers["range"] == "bytes=70000-"


def test_a_file_that_changed_meanwhile_starts_again(server):
    old = bytes(reversed(BODY))
    url = server.serve("/net.h5", Reply(old, etag='"old"', stop_after=70_000), Reply(BODY))
    assert get(url).read_bytes() == BODY


def test_parts_that_do_not_fit_are_fetched_again(server):
    """The server changes the file under the same tag: the checksum tells, one more time helps."""
    old = bytes(reversed(BODY))
    url = server.serve("/net.h5", Reply(old, stop_after=70_000), Reply(BODY))
    assert get(url).read_bytes() == BODY
    assert [request.headers.get("range") for request in server.requests] == [
        None,
        "bytes=70000-",
        None,
    ]


def test_a_wrong_continuation_is_not_used(server):
    url = server.serve(
        "/net.h5",
        Reply(BODY, stop_after=70_000),
        Reply(BODY, content_range="bytes 0-200000/200001"),
        Reply(BODY),
    )
    assert get(url).read_bytes() == BODY
    url = server.serve(
        "/other", Reply(BODY, stop_after=70_000), Reply(BODY, content_range="bytes 69999-/x")
    )
    message = error_of(url, checksum=OTHER, patience=Patience(delays=(0.0,)))
    assert "continued at 69999-/x instead of 70000" in message


def test_a_range_that_the_server_lacks_starts_again(server, home):
    url = server.serve("/net.h5", Reply(BODY, stop_after=70_000))
    error_of(url, patience=Patience(delays=()))
    server.serve("/net.h5", Reply(BODY[:60_000]), Reply(BODY))
    assert get(url).read_bytes() == BODY
    assert "range" not in server.requests[-1].headers


def test_a_file_that_only_lacks_its_check_is_not_fetched_again(server, home):
    """A process was killed between the last byte and the rename."""
    url = server.serve("/net.h5", Reply(BODY, stop_after=70_000))
    error_of(url, patience=Patience(delays=()))
    partial_of(home, url).write_bytes(BODY)
    assert get(url).read_bytes() == BODY
    assert len(server.requests) == 1


@pytest.mark.parametrize("notes", ["", "[]", "{}", '{"validator": 1}', "\xff"])
def test_damaged_notes_start_again(server, home, notes):
    url = server.serve("/net.h5", Reply(BODY))
    partial = partial_of(home, url)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"rubbish")
    partial.with_suffix(".json").write_text(notes, encoding="latin-1")
    assert get(url).read_bytes() == BODY


def test_each_url_continues_its_own_part(server):
    first = server.serve("/a", Reply(BODY, stop_after=70_000), Reply(BODY))
    second = server.serve("/b", Reply(BODY, stop_after=50_000))
    assert get(first, second).read_bytes() == BODY
    ranges = [(request.path, request.headers.get("range")) for request in server.requests]
    assert ranges == [("/a", None), ("/b", None), ("/a", "bytes=70000-")]


def test_parts_of_an_earlier_call_are_not_used_if_nothing_could_check_them(server, home):
    url = server.serve("/net.h5", Reply(BODY, stop_after=70_000))
    error_of(url, checksum=None, patience=Patience(delays=()))
    server.serve("/net.h5", Reply(BODY))
    with pytest.warns(UserWarning, match="No checksum"):
        assert get(url, checksum=None).read_bytes() == BODY
    assert "range" not in server.requests[-1].headers


# What the user sees meanwhile


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_progress(server, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    get(server.serve("/net.h5", Reply(BODY)))
    assert NAME in sys.stderr.getvalue()
    assert "200.0/200.0 kB" in sys.stderr.getvalue()


def test_elsewhere_nothing_is_printed(server, capfd):
    level = pooch.get_logger().level
    get(server.serve("/net.h5", Reply(BODY)))
    assert capfd.readouterr() == ("", "")
    assert pooch.get_logger().level == level
