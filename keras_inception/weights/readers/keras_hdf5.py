"""Keras's HDF5 files: legacy weights and models, and the .weights.h5 of Keras 3."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from keras_inception.errors import InputError
from keras_inception.weights.readers.hdf5 import Hdf5

# What Keras 3 calls a layer's list of sublayers; Keras 2.13 wrote the same layout otherwise.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_NOT_WEIGHTS = ("optimizer", "metrics", "seed_generator")

_KERNEL_BIAS = ("kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
_VARIABLES = {
    **{f"conv{n}d": _KERNEL_BIAS for n in (1, 2, 3)},
    **{f"conv{n}d_transpose": _KERNEL_BIAS for n in (1, 2, 3)},
    **{f"depthwise_conv{n}d": _KERNEL_BIAS for n in (1, 2)},
    **{f"separable_conv{n}d": _SEPARABLE for n in (1, 2)},
    "dense": _KERNEL_BIAS,
    "normalization": ("mean", "variance", "count"),
}
_STATISTICS = ("moving_mean", "moving_variance")
_BATCH_NORMALIZATION = {  # by their number: without a configuration, one of two is taken for beta
    4: ("gamma", "beta", *_STATISTICS),
    3: ("beta", *_STATISTICS),
    2: _STATISTICS,
}


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of any HDF5 file of Keras.

    Args:
        path: the file.

    Yields:
        Name and array; see `read_checkpoint` for the names.

    Raises:
        InputError: if it is no file of Keras, or not as Keras writes it.
    """
    with h5py.File(path, "r") as file:
        yield from tensors(Hdf5(file, path.stat().st_size), {})


def tensors(source: Hdf5, configs: Mapping[str, Mapping]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of an open file.

    Args:
        source: the file.
        configs: configuration of a layer by its name (with those around it and "/"), if known.

    Yields:
        Name and array.

    Raises:
        InputError: if the file's layout is not Keras's.
    """
    root = source.root
    if source.has(root, "model_weights"):
        yield from _legacy(source, source.child(root, "model_weights"))
    elif "layer_names" in root.attrs or "layer_names0" in root.attrs:
        yield from _legacy(source, root)
    elif any(source.has(root, name) for name in ("vars", *_CONTAINERS)):
        yield from _keras3(source, root, (), configs)
    else:
        raise InputError(f"it is HDF5, but not Keras's: at its top are {list(root)[:5]}.")


def _legacy(source: Hdf5, group: h5py.Group) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of the layout of Keras 1 and 2: lists of names say what is where."""
    layers = source.texts(group, "layer_names")
    if source.has(group, "top_level_model_weights"):
        layers.append("top_level_model_weights")
    for layer in layers:
        layer_group = source.child(group, layer)
        weights = source.texts(layer_group, "weight_names")
        scopes = {weight.partition("/")[0] for weight in weights}
        for weight in weights:
            name = _legacy_name(layer, weight.removesuffix(":0"), is_only_scope=len(scopes) == 1)
            yield name, source.array(source.child(layer_group, weight))


def _legacy_name(layer: str, weight: str, *, is_only_scope: bool) -> str:
    """Join the names of a layer and of its weight, which repeats that of the layer.

    A weight is named "conv1/kernel", or "model/conv1/kernel" in a subclassed model, or
    "conv1_2/kernel" where two models were built in one session; in a nested model it has the name
    of the inner layer alone.
    """
    if layer == "top_level_model_weights":
        return weight
    counter = r"(_\d+)?" if is_only_scope else ""
    return f"{layer}/{re.sub(rf'^(.*/)?{re.escape(layer)}{counter}/', '', weight)}"


def _keras3(
    source: Hdf5, group: h5py.Group, layers: tuple[str, ...], configs: Mapping[str, Mapping]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of a group and of those in it.

    Args:
        source: the file.
        group: of a layer, or of several.
        layers: names of the layers that `group` is or lies in, outermost first.
        configs: see `tensors`.

    Yields:
        Name and array.
    """
    for key, child in source.children(group):
        if key in _NOT_WEIGHTS:
            continue
        if not isinstance(child, h5py.Group):
            raise InputError(f"dataset {child.name} stands where Keras has none.")
        if key == "vars":
            config = configs.get("/".join(layers), {})
            for variable, array in _variables(source, child, config):
                yield "/".join((*layers, variable)), array
        elif key in _CONTAINERS:
            yield from _keras3(source, child, layers, configs)
        else:
            yield from _keras3(source, child, (*layers, _layer_name(source, child)), configs)


def _layer_name(source: Hdf5, group: h5py.Group) -> str:
    """Return the name that Keras stored beside a layer's variables, else that of its group."""
    variables = source.child(group, "vars") if source.has(group, "vars") else group
    stored = source.texts(variables, "name")
    return stored[0] if stored else group.name.rpartition("/")[2]


def _variables(
    source: Hdf5, group: h5py.Group, config: Mapping
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a layer's variables under their own names, or under their numbers if not known."""
    variables = dict(sorted(source.children(group), key=lambda entry: (len(entry[0]), entry[0])))
    numbers, datasets = list(variables), list(variables.values())
    if not all(isinstance(dataset, h5py.Dataset) for dataset in datasets):
        raise InputError(f"{group.name} holds groups where Keras has variables.")
    names = _variable_names(group.parent.name.rpartition("/")[2], len(numbers), config)
    # Of the usual layers only a normalization has an integer, its scalar count.
    is_quantised = any(dataset.dtype.kind in "iu" and dataset.shape for dataset in datasets)
    is_as_usual = numbers == [str(number) for number in range(len(names))] and not is_quantised
    for name, dataset in zip(names if is_as_usual else numbers, datasets, strict=True):
        yield name, source.array(dataset)


def _variable_names(key: str, count: int, config: Mapping) -> tuple[str, ...]:
    """Return the names of a layer's variables in Keras's order, () if they are not known.

    Args:
        key: of the layer's group: the class in snake case, and a counter from the second on.
        count: number of variables in the file.
        config: of the layer, if known; says which of gamma and beta a batch normalisation has.
    """
    kind = re.sub(r"_\d+$", "", key)
    if kind != "batch_normalization":
        return _VARIABLES.get(kind, ())[:count]
    if not config:
        return _BATCH_NORMALIZATION.get(count, ())
    affine = [
        name for name, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)
    ]
    return (*affine, *_STATISTICS)
