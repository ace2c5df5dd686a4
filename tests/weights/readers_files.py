"""Small weight files, written byte by byte from the formats' descriptions."""

import json
import struct
from pathlib import Path

import numpy as np


def values(shape, seed=0, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def safetensors_bytes(header: bytes | dict, data: bytes = b"") -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def field(number: int, value: int | bytes | str) -> bytes:
    """A protobuf field: a number as a varint, anything else with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def caffe_shape(*dimensions: int) -> bytes:
    return field(7, field(1, b"".join(map(varint, dimensions))))


def caffe_blob(array: np.ndarray, shape: bytes | None = None) -> bytes:
    number = 8 if array.dtype == np.float64 else 5
    data = field(number, array.astype(array.dtype.newbyteorder("<")).tobytes())
    return data + (caffe_shape(*array.shape) if shape is None else shape)


def caffe_layer(name: str, *blobs: bytes) -> bytes:
    """A layer since 2015, with a type, a bottom and a convolution_param to skip."""
    head = field(1, name) + field(2, "Convolution") + field(3, "data")
    return field(100, head + b"".join(field(7, blob) for blob in blobs) + field(106, field(1, 64)))


def caffe_layer_v1(name: str, *blobs: bytes) -> bytes:
    head = field(2, "data") + field(4, name) + field(5, 4)
    return field(2, head + b"".join(field(6, blob) for blob in blobs))


def tfjs_model(folder: Path, weights: list[dict], shards: dict[str, bytes], **other) -> Path:
    for name, data in shards.items():
        write(folder / name, data)
    manifest = [{"paths": list(shards), "weights": weights}]
    model = {"format": "layers-model", "modelTopology": {}, "weightsManifest": manifest, **other}
    return write(folder / "model.json", json.dumps(model).encode())
