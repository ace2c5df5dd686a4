"""Initialisers of an ONNX graph."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError, import_extra
from keras_inception.weights.readers.guards import Budget, companion


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the initialisers of a model, strings left out.

    Args:
        path: the model; data that it keeps in other files must lie in its folder.

    Yields:
        Name and array.

    Raises:
        InputError: if data lie elsewhere or are not as long as the shape says, or an initialiser
            is sparse.
        MissingExtra: if onnx is not installed.
    """
    onnx = import_extra("onnx", "onnx")
    graph = onnx.load_model_from_string(path.read_bytes()).graph
    if graph.sparse_initializer:
        raise InputError("it has sparse initialisers, which are not read: export them as dense.")
    budgets: dict[Path, Budget] = {}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING:
            continue
        if any(dimension < 0 for dimension in tensor.dims):
            raise InputError(f"tensor {tensor.name!r} has a negative dimension: {tensor.dims}.")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            file = companion(path.parent, entries.get("location", ""))
            budget = budgets.setdefault(file, Budget(file.stat().st_size))
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            size = budget.claim(tensor.name, tensor.dims, dtype.itemsize)
            tensor.raw_data = _section(file, int(entries.get("offset", 0)), size)
            tensor.data_location = onnx.TensorProto.DEFAULT
        yield tensor.name, onnx.numpy_helper.to_array(tensor)


def _section(file: Path, offset: int, size: int) -> bytes:
    """Read `size` bytes of a file from `offset` on."""
    with file.open("rb") as stream:
        stream.seek(offset)
        section = stream.read(size)
    if len(section) < size:
        raise InputError(
            f"it refers to {size:,} bytes from {offset:,} on in {file.name}, which ends before."
        )
    return section
