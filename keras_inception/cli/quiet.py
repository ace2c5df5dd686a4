"""Importing Keras without the lines that TensorFlow logs while it is loaded."""

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_GREETING = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I\d{4} ")


def needs_keras(command: Callable[..., None]) -> Callable[..., None]:
    """Have Keras imported before a command runs, but not for its help.

    TensorFlow logs warnings and errors only, unless `TF_CPP_MIN_LOG_LEVEL` says otherwise.
    """

    @functools.wraps(command)
    def run(*args, **kwargs) -> None:
        if "keras" not in sys.modules and _LEVEL not in os.environ:
            os.environ[_LEVEL] = "1"
            with _without_greetings():
                import keras  # noqa: F401
        command(*args, **kwargs)

    return run


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
    """Hold standard error back, and then let all through but the greetings.

    TensorFlow's libraries write them when they are loaded, before they look at any setting.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _GREETING.match(line)))
