"""Checkpoints of the manifest: fetched, unpacked, converted and verified in the cache folder."""

import dataclasses
import errno
import hashlib
import os
import random
import warnings
from pathlib import Path

import pytest

from keras_inception.errors import InputError
from keras_inception.weights import cache
from keras_inception.weights.cache import (
    CachedFile,
    converted,
    converted_path,
    fetch_checkpoint,
    verify_cache,
)
from keras_inception.weights.download import DownloadError
from keras_inception.weights.manifest import Checksum, list_weights
from keras_inception.weights.transfer import Patience
from tests.weights.http_server import Reply, running
from tests.weights.test_archives import tar_of, zip_of

BODY = random.Random(10).randbytes(50_000)
INDEX = random.Random(11).randbytes(500)
ONCE = Patience(stall_seconds=1.0, delays=())
MAKERS = {"tar.gz": tar_of, "zip": zip_of}
MEMBERS = ("net.ckpt.index", "net.ckpt.data")


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("KERAS_INCEPTION_MIRROR", "KERAS_INCEPTION_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=MAKERS)
def kind(request):
    return request.param


def sum_of(content, of="file", algorithm="sha256"):
    value = hashlib.new(algorithm, content).hexdigest()
    return Checksum(algorithm, value, of, "this test", "publisher")


def entry_of(content, *urls, checksums=None, **fields):
    """A checkpoint that is a single HDF5 file with this content, unless `fields` differ."""
    checksums = (sum_of(content),) if checksums is None else checksums
    given = {"archive": None, "members": (), "format": "keras_h5", "size_bytes": len(content)}
    given |= {"id": "test.net", "urls": urls, "manual_url": None, "checksums": tuple(checksums)}
    return dataclasses.replace(list_weights()[0], **(given | fields))


def archive_of(kind, server, tmp_path, *members, checksums=None, **fields):
    """A checkpoint in an archive, and what the archive holds."""
    members = members or (("x/net.ckpt.meta", b"m"), ("x/net.ckpt.data", BODY)) + (
        ("x/net.ckpt.index", INDEX),
    )
    content = MAKERS[kind](tmp_path / "made", *members).read_bytes()
    checksums = (sum_of(content, "archive"),) if checksums is None else checksums
    given = {"archive": kind, "members": MEMBERS, "format": "tf_checkpoint"}
    url = server.serve("/archive", Reply(content))
    return entry_of(content, url, checksums=checksums, **(given | fields)), content


def visible(home):
    return sorted(path.name for path in home.iterdir() if not path.name.startswith("."))


def hidden(home):
    return [path.name for path in home.iterdir() if path.suffix == ".part"]


# Fetching


def test_a_file_is_fetched_under_its_id(server, home):
    path = fetch_checkpoint(entry_of(BODY, server.serve("/some_name", Reply(BODY))))
    assert path == home / "test.net.h5"
    assert path.read_bytes() == BODY


def test_the_strongest_checksum_counts(server):
    wrong = Checksum("md5", "0" * 32, "file", "this test", "publisher")
    url = server.serve("/x", Reply(BODY))
    assert fetch_checkpoint(entry_of(BODY, url, checksums=(wrong, sum_of(BODY)))).exists()
    entry = entry_of(BODY, url, checksums=(wrong,), id="test.other")
    with pytest.raises(DownloadError, match="gave another file: expected md5:0000"):
        fetch_checkpoint(entry, patience=ONCE)


def test_the_page_for_a_browser_is_in_the_error(home):
    entry = entry_of(BODY, manual_url="https://example.org/page")
    with pytest.raises(DownloadError) as caught:
        fetch_checkpoint(entry)
    place = home / "test.net.h5"
    assert f"put the file of https://example.org/page at {place}." in str(caught.value)


def test_needed_members_are_unpacked_into_a_folder(kind, server, home, tmp_path):
    entry, content = archive_of(kind, server, tmp_path)
    path = fetch_checkpoint(entry)
    key = f"sha256-{hashlib.sha256(content).hexdigest()[:16]}"
    assert path == home / f"test.net.{key}" / "net.ckpt.index"
    assert path.read_bytes() == INDEX
    assert path.with_name("net.ckpt.data").read_bytes() == BODY
    assert visible(path.parent) == sorted([*MEMBERS, *(f"{name}.sha256" for name in MEMBERS)])
    assert (home / f"test.net.{kind}").read_bytes() == content
    assert hidden(home) == []


def test_unpacked_members_are_used_again_without_the_archive(kind, server, home, tmp_path):
    entry, _ = archive_of(kind, server, tmp_path)
    path = fetch_checkpoint(entry)
    (home / f"test.net.{kind}").unlink()
    assert fetch_checkpoint(entry) == path
    assert len(server.requests) == 1


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("damage", ["changed", "missing", "unknown"])
def test_damaged_members_are_unpacked_again(server, home, tmp_path, member, damage):
    entry, _ = archive_of("zip", server, tmp_path)
    path = fetch_checkpoint(entry)
    damaged = path.with_name(member)
    if damage == "changed":
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    elif damage == "missing":
        damaged.unlink()
    else:
        damaged.with_name(f"{member}.sha256").unlink()
    assert fetch_checkpoint(entry) == path
    assert (path.read_bytes(), path.with_name("net.ckpt.data").read_bytes()) == (INDEX, BODY)
    assert len(server.requests) == 1


def test_another_version_of_an_archive_has_another_folder(kind, server, tmp_path):
    first, _ = archive_of(kind, server, tmp_path)
    old = fetch_checkpoint(first)
    members = [("net.ckpt.index", b"new"), ("net.ckpt.data", BODY)]
    second, _ = archive_of(kind, server, tmp_path, *members)
    new = fetch_checkpoint(second)
    assert (old.read_bytes(), new.read_bytes()) == (INDEX, b"new")


def test_a_checksum_of_the_member_is_compared(kind, server, home, tmp_path):
    checksums = (sum_of(INDEX, "member", "sha1"),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the member's checksum vouches for the file that is read
        entry, _ = archive_of(kind, server, tmp_path, checksums=checksums)
        path = fetch_checkpoint(entry)
    assert path.read_bytes() == INDEX
    assert path.parent.name == f"test.net.sha1-{checksums[0].value[:16]}"


def test_another_member_is_refused_and_its_archive_deleted(kind, server, home, tmp_path):
    entry, _ = archive_of(kind, server, tmp_path, checksums=(sum_of(b"other", "member", "sha1"),))
    with pytest.raises(InputError) as caught:
        fetch_checkpoint(entry)
    received = hashlib.sha1(INDEX).hexdigest()
    assert "net.ckpt.index is damaged or another file: expected sha1:" in str(caught.value)
    assert f"received sha1:{received} (500 bytes)" in str(caught.value)
    assert str(caught.value).endswith(
        f"No checksum vouches for test.net.{kind}, so it was deleted; fetch it again."
    )
    assert visible(home) == []
    assert hidden(home) == []


def test_without_any_checksum_the_archive_is_pinned(kind, server, home, tmp_path):
    entry, content = archive_of(kind, server, tmp_path, checksums=())
    with pytest.warns(UserWarning, match="No checksum of test.net.* is published"):
        path = fetch_checkpoint(entry)
    assert path.parent.name == f"test.net.sha256-{hashlib.sha256(content).hexdigest()[:16]}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fetch_checkpoint(entry) == path


@pytest.mark.filterwarnings("ignore:No checksum")
def test_what_is_no_archive_does_not_stay(kind, server, home, tmp_path):
    entry, _ = archive_of(kind, server, tmp_path, checksums=(), size_bytes=None)
    server.serve("/archive", Reply(b"a page that says sorry", content_type="text/plain"))
    with pytest.raises(InputError, match="was not unpacked: it is no intact .* so it was deleted"):
        fetch_checkpoint(entry)
    assert visible(home) == []


def test_a_verified_archive_stays_even_if_it_is_of_no_use(kind, server, home, tmp_path):
    entry, _ = archive_of(kind, server, tmp_path, members=("other.ckpt",))
    with pytest.raises(InputError, match=r"has no member other.ckpt; it holds 'x/net.ckpt.meta'"):
        fetch_checkpoint(entry)
    assert visible(home) == [f"test.net.{kind}"]
    assert hidden(home) == []


def test_a_bomb_is_not_unpacked(kind, server, home, tmp_path):
    members = [("net.ckpt.index", INDEX), ("net.ckpt.data", bytes(1 << 20))]
    entry, content = archive_of(kind, server, tmp_path, *members)
    with pytest.raises(InputError, match=f"of {16 * len(content)} allowed in all members"):
        fetch_checkpoint(entry)
    assert visible(home) == [f"test.net.{kind}"]


def test_a_full_disk_while_unpacking_is_an_error(server, home, tmp_path, monkeypatch):
    entry, _ = archive_of("zip", server, tmp_path)

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "unpack", full)
    with pytest.raises(DownloadError) as caught:
        fetch_checkpoint(entry)
    assert str(caught.value) == (
        f"Could not unpack {home / 'test.net.zip'}: the disk failed with No space left on device; "
        "make room, or set KERAS_INCEPTION_HOME to another folder."
    )
    assert visible(home) == ["test.net.zip"]
    assert hidden(home) == []


def test_offline_unpacks_what_was_put_by_hand(kind, server, home, tmp_path, monkeypatch):
    entry, content = archive_of(kind, server, tmp_path)
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    home.mkdir()
    (home / f"test.net.{kind}").write_bytes(content)
    assert fetch_checkpoint(entry).read_bytes() == INDEX
    assert server.requests == []


def test_the_cache_folder_of_another_machine_is_a_mirror(kind, server, tmp_path, monkeypatch):
    entry, content = archive_of(kind, server, tmp_path)
    server.serve(f"/mirror/test.net.{kind}", Reply(content))
    monkeypatch.setenv("KERAS_INCEPTION_MIRROR", f"{server.url}/mirror")
    fetch_checkpoint(entry)
    assert server.paths() == [f"/mirror/test.net.{kind}"]


# Converting


def copying(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[::-1])


def test_converted_weights_are_made_once(server, home):
    entry = entry_of(BODY, server.serve("/x", Reply(BODY)))
    calls = []

    def convert(source, target):
        calls.append((source, target.name))
        copying(source, target)

    path = converted(entry, "1", convert)
    key = f"sha256-{hashlib.sha256(BODY).hexdigest()[:16]}"
    assert path == home / f"test.net.{key}.converted-1.weights.h5" == converted_path(entry, "1")
    assert path.read_bytes() == BODY[::-1]
    assert converted(entry, "1", convert) == path
    assert calls == [(home / "test.net.h5", path.name)]
    assert hidden(home) == []


def test_converted_weights_serve_without_the_original(server, home):
    entry = entry_of(BODY, server.serve("/x", Reply(BODY)))
    path = converted(entry, "1", copying)
    (home / "test.net.h5").unlink()
    assert converted(entry, "1", copying) == path
    assert len(server.requests) == 1


def test_another_converter_or_file_converts_again(server):
    url = server.serve("/x", Reply(BODY))
    paths = {converted(entry_of(BODY, url), version, copying) for version in ("1", "2")}
    server.serve("/x", Reply(INDEX))
    paths.add(converted(entry_of(INDEX, url), "2", copying))
    assert len(paths) == 3
    assert sorted(path.stat().st_size for path in paths) == [500, 50_000, 50_000]


def test_damaged_converted_weights_are_made_again(server):
    entry = entry_of(BODY, server.serve("/x", Reply(BODY)))
    path = converted(entry, "1", copying)
    path.write_bytes(BODY)
    assert converted(entry, "1", copying).read_bytes() == BODY[::-1]


def test_a_failed_conversion_leaves_nothing(server, home):
    entry = entry_of(BODY, server.serve("/x", Reply(BODY)))

    def fail(source, target):
        target.write_bytes(b"half")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        converted(entry, "1", fail)
    assert visible(home) == ["test.net.h5"]
    assert hidden(home) == []


@pytest.mark.filterwarnings("ignore:No checksum")
def test_the_key_is_known_after_the_first_download_at_the_latest(server):
    entry = entry_of(BODY, server.serve("/x", Reply(BODY)), checksums=())
    with pytest.raises(InputError, match="No checksum of test.net is known before its first down"):
        converted_path(entry, "1")
    path = converted(entry, "1", copying)
    assert path == converted_path(entry, "1")
    assert f".sha256-{hashlib.sha256(BODY).hexdigest()[:16]}." in path.name


@pytest.mark.parametrize("version", ["", "1/2", "../1", "ä", "1 2"])
def test_versions_fit_into_a_file_name(version):
    with pytest.raises(InputError, match="expected letters, digits, _, - and '.'"):
        converted_path(entry_of(BODY), version)


# Verifying


def test_nothing_cached_gives_nothing(server):
    assert verify_cache(entry_of(BODY)) == ()


def test_a_download_is_verified_by_its_published_checksum(server, home):
    entry = entry_of(BODY, server.serve("/x", Reply(BODY)))
    path = fetch_checkpoint(entry)
    expected = str(entry.checksums[0])
    assert verify_cache(entry) == (CachedFile(path, "verified", expected),)
    path.write_bytes(BODY[:-1] + b"?")
    (found,) = verify_cache(entry)
    assert found.state == "damaged"
    assert found.detail.startswith(f"expected {expected}, received sha256:")
    path.write_bytes(BODY[:-1])
    (found,) = verify_cache(entry)
    assert found.detail == "expected 50000 bytes, received 49999"


def test_without_a_published_checksum_only_changes_are_found(home):
    entry = entry_of(BODY, checksums=())
    home.mkdir()
    path = home / "test.net.h5"
    path.write_bytes(BODY)
    assert verify_cache(entry) == (CachedFile(path, "unchecked", "no checksum is known"),)
    with pytest.warns(UserWarning, match="No checksum"):
        fetch_checkpoint(entry)
    checksum = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    assert verify_cache(entry) == (CachedFile(path, "unchanged", checksum),)
    (home / "test.net.h5.sha256").write_text("rubbish")
    (found,) = verify_cache(entry)
    assert found.state == "damaged" and "should hold a sha256" in found.detail


def test_all_that_was_made_of_a_checkpoint_is_verified(kind, server, home, tmp_path):
    checksums = (sum_of(INDEX, "member", "sha1"),)
    entry, content = archive_of(kind, server, tmp_path, checksums=checksums)
    path = converted(entry, "1", copying)
    states = {found.path: found.state for found in verify_cache(entry)}
    folder = home / f"test.net.sha1-{checksums[0].value[:16]}"
    assert states == {
        home / f"test.net.{kind}": "unchanged",
        folder / "net.ckpt.index": "verified",
        folder / "net.ckpt.data": "unchanged",
        path: "unchanged",
    }
    path.write_bytes(b"damaged")
    (folder / "net.ckpt.data").write_bytes(b"damaged")
    states = {found.path: found.state for found in verify_cache(entry)}
    assert states[path] == states[folder / "net.ckpt.data"] == "damaged"


def test_every_entry_of_the_manifest_can_be_asked_for(home, monkeypatch):
    """Offline: each ends in the one error, with a path or a command to mend it."""
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    for entry in list_weights():
        with pytest.raises(DownloadError) as caught:
            fetch_checkpoint(entry)
        message = str(caught.value)
        assert str(home / entry.file_name) in message
        assert (f"curl -L -o {home / entry.file_name} " in message) == bool(entry.urls)
        assert entry.manual_url is None or entry.manual_url in message
        assert verify_cache(entry) == ()
