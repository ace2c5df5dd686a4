"""Keras 3's .keras: a zip with config.json and model.weights.h5."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from keras_inception.weights.readers import keras_hdf5
from keras_inception.weights.readers.guards import check_zip, parse_json, read_member
from keras_inception.weights.readers.hdf5 import Hdf5


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of a model; nothing of it is built or run.

    Args:
        path: the archive.

    Yields:
        Name and array; the configuration decides which variables a batch normalisation has.

    Raises:
        InputError: if a member is missing or larger than the archive can hold.
    """
    with zipfile.ZipFile(path) as archive:
        check_zip(archive, path.stat().st_size)
        model = parse_json(read_member(archive, "config.json"), "config.json")
        weights = read_member(archive, "model.weights.h5")
    with h5py.File(io.BytesIO(weights), "r") as file:
        yield from keras_hdf5.tensors(Hdf5(file, len(weights)), _layer_configs(model))


def _layer_configs(model: Mapping, above: str = "") -> dict[str, Mapping]:
    """Return the configuration of each layer by its name, those of nested models as "a/b"."""
    configs = {}
    layers = model["config"].get("layers", ())
    for layer in layers:
        if isinstance(layer, dict) and isinstance(layer.get("config"), dict):
            name = f"{above}{layer['config'].get('name')}"
            configs[name] = layer["config"]
            configs |= _layer_configs(layer, f"{name}/")
    return configs
