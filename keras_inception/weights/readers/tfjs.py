"""TensorFlow.js layers models: model.json and binary shards."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError
from keras_inception.weights.readers.guards import Budget, companion, parse_json

_DTYPES = {
    "float32": "<f4",
    "float16": "<f2",
    "int32": "<i4",
    "uint16": "<u2",
    "uint8": "u1",
    "bool": "?",
}
_QUANTISED = ("uint8", "uint16", "float16")


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of a layers model; quantised ones as float32.

    Args:
        path: its model.json; the shards must lie in the same folder.

    Yields:
        Name and array.

    Raises:
        InputError: if it is a graph model, a shard is missing, named twice or outside the folder,
            an entry is not as the format has it, or sizes do not agree.
    """
    model = parse_json(path.read_bytes(), "model.json")
    model_format = model.get("format", "layers-model")
    if model_format != "layers-model":
        raise InputError(f"its format is {model_format!r}; only 'layers-model' is read.")
    seen: set[Path] = set()
    for group in _field(model, "weightsManifest", list):
        shards = [companion(path.parent, name) for name in _field(group, "paths", list)]
        if len(seen | set(shards)) < len(seen) + len(shards):
            raise InputError(f"its weightsManifest names a shard twice: {group['paths']}.")
        seen.update(shards)
        yield from _group(_field(group, "weights", list), shards)


def _group(weights: list, shards: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights that lie one behind the other in the given shards."""
    available = sum(shard.stat().st_size for shard in shards)
    budget = Budget(available)
    layouts = [_layout(weight) for weight in weights]
    sizes = [budget.claim(name, shape, dtype.itemsize) for name, shape, dtype in layouts]
    if sum(sizes) < available:
        raise InputError(
            f"its weights take {sum(sizes):,} bytes, but the shards have {available:,}."
        )
    data = b"".join(shard.read_bytes() for shard in shards)
    start = 0
    for weight, (name, shape, dtype), size in zip(weights, layouts, sizes, strict=True):
        stored = np.ndarray(shape, dtype, buffer=data, offset=start)
        start += size
        yield name, _dequantised(name, stored, weight.get("quantization"))


def _layout(weight: dict) -> tuple[str, tuple[int, ...], np.dtype]:
    """Return name, shape and stored dtype of an entry of the manifest."""
    name = _field(weight, "name", str)
    shape = _field(weight, "shape", list)
    if not all(type(dimension) is int for dimension in shape):
        raise InputError(f"weight {name!r} has the shape {shape}; expected whole numbers.")
    dtype, known = _field(weight, "dtype", str), tuple(_DTYPES)
    if weight.get("quantization") is not None:
        if dtype != "float32":
            raise InputError(f"weight {name!r} is a quantised {dtype!r}; only 'float32' is read.")
        dtype, known = _field(weight["quantization"], "dtype", str), _QUANTISED
    if dtype not in known:
        raise InputError(f"weight {name!r} is stored as {dtype!r}; read are {', '.join(known)}.")
    return name.removesuffix(":0"), tuple(shape), np.dtype(_DTYPES[dtype])


def _dequantised(name: str, stored: np.ndarray, quantization: dict | None) -> np.ndarray:
    """Return what quantised integers or halves stand for; other arrays as they are."""
    if quantization is None:
        return stored
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    scale, minimum = (_field(quantization, key, (int, float)) for key in ("scale", "min"))
    if not (math.isfinite(scale) and math.isfinite(minimum)):
        raise InputError(f"weight {name!r} is quantised with scale {scale} and min {minimum}.")
    return stored.astype(np.float32) * np.float32(scale) + np.float32(minimum)


def _field(entry: object, key: str, kind: type | tuple[type, ...]) -> object:
    """Return a value of model.json, checked to be there and of the right type."""
    if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
        raise InputError(f"model.json needs {key!r} of type {kind} in {entry!r:.100}.")
    return entry[key]
