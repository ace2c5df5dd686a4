"""Several processes, killed processes: what the cache folder holds then, and that nothing repeats.

The workers import the downloader without the package around it, which would load Keras in each.
"""

import contextlib
import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

import keras_inception
from keras_inception.weights.download import fetch
from tests.weights.http_server import Reply, running

BODY = random.Random(8).randbytes(300_000)
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
NAME = "net.h5"
PACKAGE = str(Path(keras_inception.__file__).parent)
PREPARE = f"""
import os, sys, types
for name in ("keras_inception", "keras_inception.weights"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [os.path.join({PACKAGE!r}, *name.split(".")[1:])]
from keras_inception.weights.download import fetch
from keras_inception.weights.transfer import Patience
assert "keras" not in sys.modules and "tensorflow" not in sys.modules
def get():
    known = dict(size_bytes={len(BODY)}, checksum={SHA256!r})
    return fetch([sys.argv[1]], {NAME!r}, **known, patience=Patience(stall_seconds=60))
"""


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("KERAS_INCEPTION_MIRROR", "KERAS_INCEPTION_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KERAS_INCEPTION_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextlib.contextmanager
def worker(url: str, script: str):
    command = [sys.executable, "-c", PREPARE + script, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_eight_processes_download_once(server, home):
    gate = threading.Event()
    url = server.serve("/net.h5", Reply(BODY, gate=gate))
    with contextlib.ExitStack() as stack:
        script = "print('ready', flush=True); print(get())"
        workers = [stack.enter_context(worker(url, script)) for _ in range(8)]
        assert [process.stdout.readline() for process in workers] == ["ready\n"] * 8
        time.sleep(0.5)  # all eight now want the file, and none of them has a byte of it
        gate.set()
        results = [process.communicate(timeout=120) for process in workers]
    assert results == [(f"{home / NAME}\n", "")] * 8
    assert server.paths() == ["/net.h5"]
    assert (home / NAME).read_bytes() == BODY
    assert sorted(path.name for path in home.iterdir()) == [f".{NAME}.lock", NAME]


def test_a_killed_download_is_continued_by_the_next_process(server, home):
    url = server.serve("/net.h5", Reply(BODY, stall_after=200_000), Reply(BODY))
    with worker(url, "get()") as process:
        deadline = time.monotonic() + 60
        while sum(part.stat().st_size for part in home.glob(".*.part/*.partial")) < 200_000:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (home / NAME).exists()
    path = fetch([url], NAME, size_bytes=len(BODY), checksum=SHA256)
    assert path.read_bytes() == BODY
    assert server.requests[1].headers["range"] == "bytes=200000-"
    assert sorted(path.name for path in home.iterdir()) == [f".{NAME}.lock", NAME]


KILLED_AT_EVERY_STEP = """
import itertools, shutil, signal
from pathlib import Path

home = Path(os.environ["KERAS_INCEPTION_HOME"])
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.move"}

def run(kill_at):
    "Do the work in a child that kills itself before the change of files with this number."
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = itertools.count(1)
    def before(event, arguments):
        if event in CHANGES and str(home) in str(arguments) and next(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(before)
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)

for step in itertools.count(1):
    shutil.rmtree(home, ignore_errors=True)
    prepare()
    status = run(step)
    first = outcome()
    assert run(0) == 0, f"no recovery from a kill at step {step}"
    left = sorted(path.name for path in home.iterdir() if path.suffix != ".lock")
    print(status, first, outcome(), *left)
    if status == 0:
        break
"""


def killed_at_every_step(script: str, url: str, left: list[str]) -> None:
    """Run a script; after each kill there must be nothing or all, and after the next run all."""
    with worker(url, script + KILLED_AT_EVERY_STEP) as process:
        output, errors = process.communicate(timeout=200)
    assert errors == ""
    *killed, last = (line.split() for line in output.splitlines())
    assert len(killed) >= 10
    for status, first, second, *names in killed:
        assert status == str(-signal.SIGKILL)
        assert first in ("nothing", "all")
        assert second == "all"
        assert names == left
    assert {first for _, first, *_ in killed} == {"nothing", "all"}  # before and after the rename
    assert last[:3] == ["0", "all", "all"]


def test_a_kill_at_any_step_of_a_download_leaves_nothing_or_the_file(server, home, tmp_path):
    expected = tmp_path / "expected"
    expected.write_bytes(BODY)
    script = f"""
def prepare():
    pass
def work():
    get()
def outcome():
    place = home / {NAME!r}
    if not place.exists():
        return "nothing"
    return "all" if place.read_bytes() == Path({str(expected)!r}).read_bytes() else "damaged"
"""
    killed_at_every_step(script, server.serve("/net.h5", Reply(BODY)), [NAME])


def test_a_kill_at_any_step_of_unpacking_leaves_nothing_or_the_folder(server, home, tmp_path):
    """The entry of the manifest is a stand-in: the real one would load Keras."""
    archive = tmp_path / "net.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a", "first")
        zipped.writestr("b", "second")
    digits = hashlib.sha256(archive.read_bytes()).hexdigest()
    script = f"""
from keras_inception.weights.cache import fetch_checkpoint
fields = dict(id="net", urls=(), manual_url=None, file_name="net.zip", archive="zip")
fields |= dict(members=("a", "b"), size_bytes=None)
entry = types.SimpleNamespace(
    **fields, strongest_checksum=lambda of=None: None if of else "sha256:{digits}"
)
def prepare():
    home.mkdir()
    shutil.copy({str(archive)!r}, home / "net.zip")
def work():
    fetch_checkpoint(entry)
def outcome():
    folder = home / "net.sha256-{digits[:16]}"
    if not folder.exists():
        return "nothing"
    content = [(folder / name).read_text() for name in "ab"]
    return "all" if content == ["first", "second"] else "damaged"
"""
    url = server.serve("/unused", Reply())
    killed_at_every_step(script, url, [f"net.sha256-{digits[:16]}", "net.zip"])
    assert server.requests == []
