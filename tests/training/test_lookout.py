import time

import pytest

from keras_inception.training import WorkerLostError, lookout

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

LOST = 2.0  # longer than a busy machine keeps a thread waiting


class Store:
    """JAX's store of keys and values, for processes that are none."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value, allow_overwrite):
        assert allow_overwrite
        self.values[key] = value

    def key_value_try_get(self, key):
        if key not in self.values:
            raise RuntimeError("NOT_FOUND")
        return self.values[key]


@pytest.fixture
def ended(monkeypatch):
    """How the process would have ended."""
    codes = []

    def end(code):
        codes.append(code)
        raise SystemExit  # of the thread

    monkeypatch.setattr(lookout, "_BEAT_SECONDS", 0.01)
    monkeypatch.setattr(lookout, "_JUDGE_SECONDS", 0.01)
    monkeypatch.setattr(lookout, "_LOST_SECONDS", LOST)
    monkeypatch.setattr(lookout.os, "_exit", end)
    return codes


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("failure", "ends"), [(ValueError, 1), (WorkerLostError, 2)])
def test_a_process_that_failed_ends_the_others(ended, capsys, failure, ends):
    """And itself, if JAX would wait at its end for one that is lost."""
    store = Store()
    one, other = (lookout.Lookout(store, 2, index) for index in (0, 1))
    with one.watching("the second is lost"):
        with pytest.raises(failure), other.watching("the first is lost"):
            raise failure
        wait_for(lambda: len(ended) == ends)
    assert set(ended) == {1}
    error = capsys.readouterr().err
    assert "WorkerLostError: the second is lost\n" in error
    assert ("the first is lost" in error) == (failure is WorkerLostError)


def test_a_process_that_never_spoke_is_lost(ended, capsys):
    with lookout.Lookout(Store(), 3, 1).watching("all is lost"):
        wait_for(lambda: ended)
    assert "all is lost" in capsys.readouterr().err


def test_processes_that_speak_are_not_lost(ended):
    store = Store()
    one, _ = (lookout.Lookout(store, 2, index) for index in (0, 1))
    with one.watching("all is lost"):
        time.sleep(1.5 * LOST)
        assert not ended


def test_nobody_listens_after_the_end(ended):
    with lookout.Lookout(Store(), 2, 0).watching("all is lost"):
        pass
    time.sleep(1.5 * LOST)
    assert not ended
