"""Caffe's binary networks, read through the part of caffe.proto that holds the weights."""

import functools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError

# Message -> field -> (number, type); "*" marks a repeated field. Everything else is skipped.
_SCHEMA = {
    "BlobShape": {"dim": (1, "*int64")},
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "*float"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "*double"),
    },
    "LayerParameter": {"name": (1, "string"), "blobs": (7, "*BlobProto")},
    "V1LayerParameter": {"layer": (1, "bytes"), "name": (4, "string"), "blobs": (6, "*BlobProto")},
    "NetParameter": {"layers": (2, "*V1LayerParameter"), "layer": (100, "*LayerParameter")},
}
_LEGACY_DIMENSIONS = ("num", "channels", "height", "width")


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the blobs of a network.

    Args:
        path: the caffemodel, with `layer` (since 2015) or `layers` entries.

    Yields:
        "<layer>/<index of the blob>" and the array, float32 unless stored as double. Blobs from
        before 2015 have four dimensions always, of which biases use the last.

    Raises:
        InputError: if a blob's values are not as many as its shape says, or the network is in
            the format of 2013.
        google.protobuf.message.DecodeError: if the file is no such message.
    """
    network = _message_class("NetParameter").FromString(path.read_bytes())
    if any(layer.HasField("layer") for layer in network.layers):
        raise InputError(
            "its layers are in Caffe's format of 2013 (V0): convert it with Caffe's "
            "upgrade_net_proto_binary first."
        )
    for layer in (*network.layer, *network.layers):
        for index, blob in enumerate(layer.blobs):
            name = f"{layer.name}/{index}"
            yield name, _array(name, blob)


def _array(name: str, blob) -> np.ndarray:
    """Return the values of a BlobProto in its shape."""
    if any(blob.HasField(dimension) for dimension in _LEGACY_DIMENSIONS):
        shape = tuple(getattr(blob, dimension) for dimension in _LEGACY_DIMENSIONS)
    else:
        shape = tuple(blob.shape.dim)
    if blob.double_data:
        values = np.asarray(blob.double_data, np.float64)
    else:
        values = np.asarray(blob.data, np.float32)
    if any(dimension < 0 for dimension in shape) or math.prod(shape) != values.size:
        raise InputError(f"blob {name!r} has {values.size:,} values, but the shape {shape}.")
    return values.reshape(shape)


@functools.cache
def _message_class(name: str):
    """Return the class of a message of `_SCHEMA`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="keras_inception/caffemodel.proto", package="keras_inception.caffemodel"
    )
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            is_repeated, kind = kind.startswith("*"), kind.removeprefix("*")
            field = message.field.add(name=field_name, number=number)
            field.label = field_type.LABEL_REPEATED if is_repeated else field_type.LABEL_OPTIONAL
            if kind in _SCHEMA:
                field.type = field_type.TYPE_MESSAGE
                field.type_name = f".{file.package}.{kind}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
