"""Safetensors: a JSON header and the bytes of the tensors."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import safe_open

from keras_inception.errors import InputError
from keras_inception.weights.readers.content import MAX_JSON_BYTES
from keras_inception.weights.readers.guards import parse_json


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a safetensors file.

    The library checks that the tensors' sizes fit their shapes and cover the file exactly once.

    Args:
        path: the file.

    Yields:
        Name and array.

    Raises:
        InputError: if the file is cut off, its header is too long or has a name twice.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        available = path.stat().st_size - 8
        if length > available:
            raise InputError(
                f"its header should take {length:,} bytes, but {available:,} follow: it is cut off."
            )
        if length > MAX_JSON_BYTES:
            raise InputError(f"its header takes {length:,} bytes; at most {MAX_JSON_BYTES:,} do.")
        parse_json(file.read(length), "its header")  # the library keeps the last of two equal keys
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 - the file is no dict
            yield name, file.get_tensor(name)
