"""Crafted archives: whatever is in them, `unpack` refuses or writes what was asked for.

It ends soon, writes nothing outside its folder and no more than allowed, and needs little memory.
"""

import gzip
import io
import stat
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from keras_inception.errors import InputError
from keras_inception.weights.archives import unpack

WANTED = ["net.index", "net.data"]
MAX_BYTES = 20_000
MOST_MEMORY = 4 << 20

fuzzed = settings(
    max_examples=100,
    deadline=3000,  # milliseconds
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # explaining takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

numbers = st.integers(-(1 << 70), 1 << 70) | st.integers(-1024, 1 << 16)
names = (
    st.sampled_from([*WANTED, "x/net.data", "./net.index", "../evil", "/tmp/evil", "a/../../evil"])
    | st.sampled_from(["..", ".", "", "C:\\evil", "..\\evil", "net.data/", "net.data\0/../evil"])
    | st.text(max_size=20)
)
contents = st.binary(max_size=600) | st.builds(bytes, st.integers(0, 100_000))
# Positions from the front or the back, so that headers at both ends are met.
changes = st.lists(st.tuples(st.integers(-600, 2000), st.integers(0, 255)), max_size=6)
cuts = st.none() | st.integers(-600, 2000)


def mangled(content: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    content = bytearray(content)
    for position, value in changes:
        if -len(content) <= position < len(content):
            content[position] = value
    return bytes(content if cut is None else content[:cut])


pax_headers = st.dictionaries(
    st.sampled_from(
        ["path", "linkpath", "size", "hdrcharset", "mtime", "uid", "GNU.sparse.major"]
        + ["GNU.sparse.minor", "GNU.sparse.name", "GNU.sparse.size", "GNU.sparse.realsize"]
        + ["GNU.sparse.map", "GNU.sparse.numblocks", "GNU.sparse.offset", "GNU.sparse.numbytes"]
    ),
    names | numbers.map(str) | st.sampled_from(["BINARY", "0,1,2,3", "9" * 5000, "-", "1" * 1000]),
    max_size=4,
)


@st.composite
def tar_members(draw) -> bytes:
    """A header, true or false, with content that need not have the size stated."""
    info = tarfile.TarInfo(draw(names).replace("\0", ""))
    content = draw(contents)
    info.size = draw(st.just(len(content)) | st.integers(0, 8**11 - 1))
    every_type = [b"0", b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"L", b"K"]
    info.type = draw(st.sampled_from([*every_type, b"x", b"g", b"X", b"D", b"V", b"?"]))
    info.linkname = draw(names).replace("\0", "")
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    if form == tarfile.PAX_FORMAT:
        info.pax_headers = draw(pax_headers)
    header = bytearray(info.tobuf(form, errors="surrogateescape"))
    if draw(st.booleans()):  # a number in base 256, negative or huge, under a valid checksum
        at = draw(st.sampled_from([-512 + 124, -512 + 100, -512 + 136]))
        number = draw(st.integers(-(1 << 62), 1 << 62) | st.integers(-2048, 2048))
        field = bytearray(number.to_bytes(12, "big", signed=True))
        field[0] |= 0x80
        header[at : at + (8 if at == -412 else 12)] = field[-8:] if at == -412 else field
        header[-512 + 148 : -512 + 156] = b"%06o\0 " % tarfile.calc_chksums(header[-512:])[0]
    return bytes(header) + content + bytes(-len(content) % 512)


def true_members(draw) -> list[tuple[str, bytes]]:
    """What is wanted, or nothing: so that some of the crafted archives are accepted."""
    some = draw(st.booleans())
    return [(name, draw(st.binary(max_size=600))) for name in WANTED if some]


@st.composite
def tars(draw) -> bytes:
    plain = b""
    for name, content in true_members(draw):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        plain += info.tobuf() + content + bytes(-len(content) % 512)
    plain += b"".join(draw(st.lists(tar_members(), max_size=4))) + bytes(1024)
    if draw(st.integers(0, 2)) == 0:
        plain = mangled(plain, draw(changes), draw(cuts))
    packed = gzip.compress(plain, compresslevel=1)
    return mangled(packed, draw(changes), None) if draw(st.integers(0, 4)) == 0 else packed


@st.composite
def zips(draw) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in true_members(draw):
            zipped.writestr(name, content)
        for name in draw(st.lists(names, max_size=4)):
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode() or "x")
            info.compress_type = draw(st.sampled_from([0, 8, 8, 12, 14]))
            info.external_attr = draw(st.sampled_from([0, 0o100644, 0o120777, 0o40755])) << 16
            zipped.writestr(info, draw(contents))
        zipped.comment = draw(st.binary(max_size=50))
    content = bytearray(file.getvalue())
    if draw(st.booleans()):  # fields of the directory, which states sizes and offsets
        at = content.find(b"PK\x01\x02")
        end = content.rfind(b"PK\x05\x06")
        for start, span in ((at, 46), (end, 22)):
            if start >= 0 and draw(st.booleans()):
                position = start + draw(st.integers(4, span - 4))
                content[position : position + 4] = draw(st.binary(min_size=4, max_size=4))
    if draw(st.integers(0, 2)) == 0:
        return mangled(bytes(content), draw(changes), draw(cuts))
    return bytes(content)


def check(content: bytes, kind: str) -> bool:
    """Unpack in a folder of its own; return whether the archive was accepted."""
    with tempfile.TemporaryDirectory() as outside:
        archive, folder = Path(outside, "archive"), Path(outside, "in", "folder")
        archive.write_bytes(content)
        folder.mkdir(parents=True)
        tracemalloc.start()
        try:
            files = unpack(archive, kind, WANTED, folder, max_bytes=MAX_BYTES)
            accepted = True
        except InputError as error:
            assert str(archive) in str(error)
            files, accepted = [], False
        finally:
            memory = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert memory < MOST_MEMORY
        everything = {path.relative_to(outside) for path in Path(outside).rglob("*")}
        written = {Path("in/folder", name) for name in WANTED}
        assert everything - written == {Path("archive"), Path("in"), Path("in/folder")}
        inside = [path.lstat() for path in folder.iterdir()]
        assert all(stat.S_ISREG(found.st_mode) for found in inside)
        assert sum(found.st_size for found in inside) <= MAX_BYTES
        if accepted:
            assert files == [folder / name for name in WANTED]
            assert all(file.is_file() for file in files)
        return accepted


@fuzzed
@given(tars())
def test_crafted_tars(content):
    check(content, "tar.gz")


@fuzzed
@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(zips())
def test_crafted_zips(content):
    check(content, "zip")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@fuzzed
@given(st.binary(max_size=2000))
def test_any_bytes(kind, content):
    check(content, kind)
    check(gzip.compress(content), kind)


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@fuzzed
@given(st.binary(max_size=MAX_BYTES // 2), st.binary(max_size=MAX_BYTES // 2), changes, cuts)
@example(b"", b"", [(207, 1)], None)  # a zip whose directory points to before its beginning
def test_damaged_archives_give_the_true_content_or_nothing(kind, first, second, changes, cut):
    """Both formats have a CRC: what was changed on the way is not taken for the content."""
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in zip(WANTED, (first, second), strict=True):
                zipped.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, content in zip(WANTED, (first, second), strict=True):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    whole = file.getvalue()
    damaged = mangled(whole, changes, cut)
    with tempfile.TemporaryDirectory() as folder:
        archive, out = Path(folder, "archive"), Path(folder, "out")
        archive.write_bytes(damaged)
        out.mkdir()
        try:
            files = unpack(archive, kind, WANTED, out, max_bytes=MAX_BYTES)
        except InputError:
            assert damaged != whole
        else:
            assert [path.read_bytes() for path in files] == [first, second]
