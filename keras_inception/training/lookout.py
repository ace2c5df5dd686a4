"""Whether the other processes of a training live; TensorFlow needs no such thing."""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from keras_inception.training.failures import WorkerLostError

_BEAT_SECONDS = 2.0
_JUDGE_SECONDS = 1.0
_LOST_SECONDS = 25.0  # before JAX, which would end this process without a word of ours


class Lookout:
    """Tells the other processes that this one lives, and listens to them.

    A process that waits for a lost one hangs in JAX, where no Python error can reach it.

    Args:
        store: JAX's client of the store that all processes share.
        workers: number of processes.
        index: number of this one.
    """

    def __init__(self, store: Any, workers: int, index: int) -> None:
        self._store = store
        self._index = index
        self._heard = dict.fromkeys(set(range(workers)) - {index}, time.monotonic())
        self._silenced = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    @contextlib.contextmanager
    def watching(self, message: str) -> Iterator[None]:
        """End this process with a message if another one is lost in the `with` block.

        After an error in the block the others hear no more of this process.
        """
        done = threading.Event()
        self._heard = dict.fromkeys(self._heard, time.monotonic())
        threading.Thread(target=self._judge, args=(done, message), daemon=True).start()
        try:
            yield
        except WorkerLostError:
            self._silenced.set()
            raise  # the judge goes on: JAX would wait for the lost process at the end of this one
        except BaseException:
            self._silenced.set()
            done.set()
            raise
        done.set()

    def _beat(self) -> None:
        heard = {}
        for count in itertools.count():
            # JAX's errors: a key that is not there yet, or a lost first process with the store.
            with contextlib.suppress(RuntimeError, ValueError):
                self._store.key_value_set(self._key(self._index), str(count), True)
            for other in self._heard:
                with contextlib.suppress(RuntimeError, ValueError):
                    value = self._store.key_value_try_get(self._key(other))
                    if value != heard.get(other):
                        heard[other] = value
                        self._heard[other] = time.monotonic()
            if self._silenced.wait(_BEAT_SECONDS):
                return

    def _judge(self, done: threading.Event, message: str) -> None:
        while not done.wait(_JUDGE_SECONDS):
            if time.monotonic() - min(self._heard.values()) > _LOST_SECONDS:
                sys.stderr.write(f"{WorkerLostError.__name__}: {message}\n")
                sys.stderr.flush()
                os._exit(1)

    def _key(self, index: int) -> str:
        return f"keras_inception/lives/{index}"
