"""Archives as publishers make them, and as nobody should."""

import errno
import gzip
import io
import os
import random
import stat
import struct
import tarfile
import time
import zipfile

import pytest

from keras_inception.errors import InputError
from keras_inception.weights.archives import unpack

BODY = random.Random(9).randbytes(70_000)
PLENTY = 1 << 20


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    return folder


def tar_of(path, *members, **attributes):
    """A tar.gz of (name, content) pairs or of `TarInfo`s without content."""
    with tarfile.open(path, "w:gz", **attributes) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path, *members, method=zipfile.ZIP_DEFLATED):
    """A zip of (name, content) or (ZipInfo, content) pairs."""
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


MAKERS = {"tar.gz": tar_of, "zip": zip_of}


@pytest.fixture(params=MAKERS)
def kind(request):
    return request.param


def refusal(path, kind, members, folder, max_bytes=PLENTY) -> str:
    """The text of the error; nothing may have been written elsewhere than in the folder."""
    with pytest.raises(InputError) as caught:
        unpack(path, kind, members, folder, max_bytes=max_bytes)
    assert sorted(folder.parent.iterdir()) == sorted({path, folder})
    return str(caught.value)


def test_only_wanted_members_come_out(kind, folder, tmp_path):
    path = MAKERS[kind](
        tmp_path / "a", ("a.ckpt.meta", b"m" * 3000), ("a.ckpt.data", BODY), ("a.ckpt.index", b"i")
    )
    wanted = ["a.ckpt.index", "a.ckpt.data"]
    files = unpack(path, kind, wanted, folder, max_bytes=PLENTY)
    assert files == [folder / "a.ckpt.index", folder / "a.ckpt.data"]
    assert [file.read_bytes() for file in files] == [b"i", BODY]
    assert sorted(os.listdir(folder)) == sorted(wanted)


def test_members_in_folders_are_found_and_come_out_flat(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a", ("./2018/x/model.pb", BODY), ("./2018/y/model.pb", b"y"))
    (file,) = unpack(path, kind, ["x/model.pb"], folder, max_bytes=PLENTY)
    assert (file, file.read_bytes()) == (folder / "model.pb", BODY)


def test_folders_in_archives_are_harmless(folder, tmp_path):
    directory = tarfile.TarInfo("x/")
    directory.type = tarfile.DIRTYPE
    path = tar_of(tmp_path / "t", directory, ("x/a", BODY))
    assert unpack(path, "tar.gz", ["a"], folder, max_bytes=PLENTY)[0].read_bytes() == BODY
    os.remove(path)
    os.remove(folder / "a")
    path = zip_of(tmp_path / "z", ("x/", b""), ("x/a", BODY), method=zipfile.ZIP_STORED)
    assert unpack(path, "zip", ["a"], folder, max_bytes=PLENTY)[0].read_bytes() == BODY


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["n", "d" * 90 + "/" + "n" * 90])
def test_every_form_of_tar_is_read(folder, tmp_path, form, name):
    path = tar_of(tmp_path / "t", (name, BODY), ("ü", b"x"), format=form)
    assert unpack(path, "tar.gz", [name], folder, max_bytes=PLENTY)[0].read_bytes() == BODY


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1 << 16, (1 << 16) + 1])
def test_members_of_any_size_are_read(kind, folder, tmp_path, size):
    path = MAKERS[kind](tmp_path / "a", ("a", BODY[:size] * 2), ("b", BODY[:size]), ("c", b"c"))
    b, c = unpack(path, kind, ["b", "c"], folder, max_bytes=PLENTY)
    assert (b.read_bytes(), c.read_bytes()) == (BODY[:size], b"c")


# Unsafe


@pytest.mark.parametrize(
    "name", ["/evil", "../evil", "x/../../evil", "..", "\\evil", "..\\evil", "C:\\evil", "C:/evil"]
)
def test_paths_out_of_the_folder_are_refused(kind, folder, tmp_path, name):
    path = MAKERS[kind](tmp_path / "a", ("good", BODY), (name, b"evil"))
    message = refusal(path, kind, ["good"], folder)
    assert message == (
        f"{path} was not unpacked: the member name {name!r} is not a path inside the archive."
    )


@pytest.mark.parametrize(
    "type_",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"],
)
@pytest.mark.parametrize("name", ["good", "another"])
def test_tar_members_that_are_no_files_are_refused(folder, tmp_path, type_, name):
    info = tarfile.TarInfo(name)
    info.type = type_
    info.linkname = "/etc/passwd"
    path = tar_of(tmp_path / "t", info, ("good", BODY))
    message = refusal(path, "tar.gz", ["good"], folder)
    assert message.endswith(f"not unpacked: {name!r} is a link, a device or no plain file.")


def test_sparse_members_are_refused(folder, tmp_path):
    """A few bytes of header would become a file of any size."""
    info = tarfile.TarInfo("good")
    info.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,1"}
    path = tar_of(tmp_path / "t", info, format=tarfile.PAX_FORMAT)
    assert "'good' is a link, a device or no plain file" in refusal(
        path, "tar.gz", ["good"], folder
    )


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_zip_members_that_are_no_files_are_refused(folder, tmp_path, mode):
    info = zipfile.ZipInfo("good")
    info.external_attr = (mode | 0o777) << 16
    path = zip_of(tmp_path / "z", (info, "/etc/passwd"))
    assert refusal(path, "zip", ["good"], folder).endswith(
        "not unpacked: 'good' is a link, a device or no plain file."
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_without_a_bound_are_refused(folder, tmp_path, method):
    path = zip_of(tmp_path / "z", ("good", BODY), method=method)
    assert "'good' is neither stored nor deflated." in refusal(path, "zip", ["good"], folder)


def test_encrypted_members_are_refused(folder, tmp_path):
    path = zip_of(tmp_path / "z", ("good", BODY))
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(header) + flags] |= 1
    path.write_bytes(content)
    message = refusal(path, "zip", ["good"], folder)
    assert "it is no intact zip archive (File " in message
    assert "is encrypted, password required for extraction)." in message


# Too large


def test_members_beyond_the_bound_are_refused(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a", ("a", BODY))
    (file,) = unpack(path, kind, ["a"], folder, max_bytes=len(BODY))
    file.unlink()
    assert refusal(path, kind, ["a"], folder, len(BODY) - 1).endswith(
        "not unpacked: 'a' would be 70000 bytes, of 69999 allowed in all members."
    )
    assert list(folder.iterdir()) == []


def test_members_together_beyond_the_bound_are_refused(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a", ("a", BODY), ("b", BODY))
    assert "'b' would be 70000 bytes, of 100000 allowed" in refusal(
        path, kind, ["a", "b"], folder, 100_000
    )


def test_a_zip_that_states_a_smaller_size_is_cut_off(folder, tmp_path):
    """8 MiB are packed, 10 bytes are stated."""
    path = zip_of(tmp_path / "z", ("good", bytes(8 << 20)))
    content = bytearray(path.read_bytes())
    for header, size in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = content.index(header) + size
        content[at : at + 4] = struct.pack("<L", 10)
    path.write_bytes(content)
    assert "it is no intact zip archive (Bad CRC-32 for file 'good')" in refusal(
        path, "zip", ["good"], folder
    )
    assert (folder / "good").stat().st_size <= 10


def test_a_tar_bomb_is_not_unpacked_to_the_end(folder, tmp_path):
    """An unwanted member of 1 GiB, of which the bound allows one in a thousand."""
    path = tmp_path / "t"
    info = tarfile.TarInfo("bomb")
    info.size = 1 << 30
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(1 << 6):  # 64 MiB will do: it must not come to their end
            file.write(bytes(1 << 20))
    began = time.monotonic()
    assert refusal(path, "tar.gz", ["good"], folder).endswith(
        "not unpacked: it holds more than the 1048576 bytes allowed."
    )
    assert time.monotonic() - began < 2


def header(name: str, size: int, type_: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, type_
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("type_", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_headers_of_any_size_are_not_read(folder, tmp_path, type_):
    """tarfile would take a gigabyte of them into memory and search it for numbers."""
    path = tmp_path / "t"
    path.write_bytes(gzip.compress(header("x", 1 << 30, type_) + b"1" * (1 << 20)))
    began = time.monotonic()
    assert refusal(path, "tar.gz", ["good"], folder).endswith(
        "not unpacked: its headers are larger than those of any archive of weights."
    )
    assert time.monotonic() - began < 2


def test_headers_without_end_are_not_read(folder, tmp_path):
    path = tmp_path / "t"
    path.write_bytes(gzip.compress(header("x", 0, tarfile.REGTYPE) * 20_000))
    assert "its headers are larger than" in refusal(path, "tar.gz", ["good"], folder, 1 << 30)
    path.write_bytes(gzip.compress(header("x", 0, tarfile.XHDTYPE) * 20_000))
    message = refusal(path, "tar.gz", ["good"], folder, 1 << 30)
    assert "it is no intact tar.gz archive (" in message


def test_a_negative_size_does_not_go_round_in_circles(folder, tmp_path):
    """CVE-2025-8194: older versions of tarfile read the same header for ever."""
    path = tmp_path / "t"
    good = header("a", 0, tarfile.REGTYPE)
    evil = bytearray(header("b", 0, tarfile.REGTYPE))
    evil[124:136] = (-512).to_bytes(12, "big", signed=True)
    evil[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(evil))[0]
    path.write_bytes(gzip.compress(good + bytes(evil) + bytes(1024)))
    message = refusal(path, "tar.gz", ["good"], folder)
    assert "negative size" in message or "it is no intact" in message


def test_a_directory_of_any_size_is_not_read(folder, tmp_path):
    path = zip_of(tmp_path / "z", *((f"{i:05}", b"") for i in range(6000)))
    assert refusal(path, "zip", ["good"], folder).endswith(
        "not unpacked: its directory is larger than that of any archive of weights."
    )


# Damaged, or not what it should be


def test_a_missing_member_is_named_with_those_there(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a", *((f"m{i}", b"") for i in range(11)))
    assert refusal(path, kind, ["m1", "good", "m11"], folder) == (
        f"{path} has no member good and no m11; "
        "it holds 'm0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7', 'm8', 'm9' and others."
    )


def test_an_empty_archive_holds_nothing(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a")
    assert refusal(path, kind, ["a"], folder) == f"{path} has no member a; it holds nothing."


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a", ("a", b"1"), ("x/a", b"2"))
    assert refusal(path, kind, ["a"], folder).endswith("not unpacked: it holds a twice.")
    path = MAKERS[kind](path, ("b", b"1"), ("b", b"2"))
    assert refusal(path, kind, ["b"], folder).endswith("not unpacked: it holds b twice.")


NO_ARCHIVES = {
    "empty": b"",
    "a page": b"<html>",
    "noise": BODY,
    "gzip of nothing": gzip.compress(b""),
    "gzip of noise": gzip.compress(BODY),
}


@pytest.mark.parametrize("content", NO_ARCHIVES.values(), ids=NO_ARCHIVES)
def test_what_is_no_archive_is_refused(kind, folder, tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert f"{path} was not unpacked: it is no intact {kind} archive (" in refusal(
        path, kind, ["a"], folder
    )


def test_a_truncated_archive_is_refused(kind, folder, tmp_path):
    whole = MAKERS[kind](tmp_path / "a", ("a", BODY)).read_bytes()
    for size in (10, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        (tmp_path / "a").write_bytes(whole[:size])
        message = refusal(tmp_path / "a", kind, ["a"], folder)
        assert f"it is no intact {kind} archive (" in message, size
        (folder / "a").unlink(missing_ok=True)


def test_a_changed_byte_is_noticed(kind, folder, tmp_path):
    path = MAKERS[kind](tmp_path / "a", ("a", BODY))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"it is no intact {kind} archive (" in refusal(path, kind, ["a"], folder)


# The caller's own mistakes, and the disk's


def test_arguments_are_checked(folder, tmp_path):
    path = tar_of(tmp_path / "a", ("a", BODY))
    assert (
        refusal(path, "rar", ["a"], folder) == "Unknown kind of archive: 'rar'. Known: tar.gz, zip."
    )
    assert refusal(path, "tar.gz", ["x/a", "a"], folder) == (
        "Two of the members x/a, a have the same base name."
    )
    for name in ("../a", "/a", "", "a/.."):
        assert f"the member name {name!r} is not a path" in refusal(path, "tar.gz", [name], folder)


def test_a_missing_archive_is_the_disks_error(folder, tmp_path, kind):
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "none", kind, ["a"], folder, max_bytes=PLENTY)


def test_a_full_disk_is_not_the_archives_fault(folder, tmp_path, kind):
    path = MAKERS[kind](tmp_path / "a", ("a", BODY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.open", _full(open))
        with pytest.raises(OSError) as caught:
            unpack(path, kind, ["a"], folder, max_bytes=PLENTY)
    assert caught.value.errno == errno.ENOSPC


def _full(true_open):
    """Have new files opened on the device that is always full."""

    def opened(path, mode="r", *arguments):
        return true_open("/dev/full", "wb") if "x" in mode else true_open(path, mode, *arguments)

    return opened
