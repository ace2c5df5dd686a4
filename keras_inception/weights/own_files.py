"""Files that Keras wrote of this package's networks: of which, by what names, in what order."""

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import keras

from keras_inception.errors import InputError
from keras_inception.weights.readers.hdf5 import Hdf5

OWN_ENDINGS = (".weights.h5", ".keras")

Trunk = frozenset[tuple[str, str]]
"""Class, in lower case without underscores, and name of each layer below the heads."""

_OF_TRUNK = re.compile(r"(conv2d|max_pool|norm|mixed|inception)_\d[a-z]|block\d+_\d")


def is_own(path: Path) -> bool:
    """Whether a path ends as the files do that Keras writes of our networks."""
    return path.name.endswith(OWN_ENDINGS)


def trunk_of(model: keras.Model) -> Trunk:
    """Return the layers by which `architecture_of` recognises a network."""
    return _trunk((type(layer).__name__, layer.name) for layer in model.layers)


def architecture_of(path: Path, trunks: Iterable[tuple[str, Trunk]]) -> str | None:
    """Return the architecture of the network that a file was written from.

    Keras writes class and name of every layer, of those without variables as well; these tell
    apart what has the same tensors: other paddings, and pools of another kind.

    Args:
        path: a file that `read_checkpoint` has read.
        trunks: architectures and their layers; no more of them are asked for than it takes.

    Returns:
        The first that the file fits but for one layer, which an option may leave out (any two
        architectures differ in more). None if there is none: in the file of a part of a network,
        of a changed one, or of a Keras that writes only layers with variables.
    """
    stored = _trunk((kind, name) for kind, _, name, _ in _layers(path))
    return next((known for known, trunk in trunks if len(stored ^ trunk) <= 1), None)


def check_order(path: Path, model: keras.Model) -> None:
    """Refuse a file with the layers of a model in another order.

    Keras loads the layers of a class by their order and never looks at their names. A file in
    which the two disagree was not written from this network, whatever its names say.

    Args:
        path: a file that `read_checkpoint` has read.
        model: with layers of the same names; otherwise nothing is compared.

    Raises:
        InputError: naming the first layer out of order, and the one that stands in its place.
    """
    ours = [layer.name for layer in model.layers if layer.weights]
    stored = _with_variables(path)
    if sorted(ours) != sorted(name for names in stored.values() for name in names):
        return
    for names in stored.values():
        expected = sorted(names, key=ours.index)
        for name, own in zip(names, expected, strict=True):
            if name != own:
                raise InputError(
                    f"The layers stand in another order than in {model.name}: {name!r} in the "
                    f"place of {own!r}. Nothing was loaded; write the file again from the model "
                    "that it belongs to."
                )


def _trunk(layers: Iterable[tuple[str, str]]) -> Trunk:
    return frozenset(
        (kind.replace("_", "").lower(), name) for kind, name in layers if _OF_TRUNK.match(name)
    )


def _with_variables(path: Path) -> dict[str, list[str]]:
    """Return the names of the layers that hold variables, by class, in Keras's order."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for kind, number, name, variables in _layers(path):
        if variables:
            found[kind][number] = name
    return {kind: [names[n] for n in sorted(names)] for kind, names in found.items()}


def _layers(path: Path) -> Iterator[tuple[str, int, str, int]]:
    """Yield class, number within the class, name and count of variables of every layer."""
    file, size = path, path.stat().st_size
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            content = archive.read("model.weights.h5")
        file, size = io.BytesIO(content), len(content)
    with h5py.File(file, "r") as opened:
        source = Hdf5(opened, size)
        for key, layer in _layer_groups(source):
            kind, number = re.fullmatch(r"(.+?)(?:_(\d+))?", key, re.DOTALL).groups()
            if source.has(layer, "vars"):
                variables = source.child(layer, "vars")
                stored = source.texts(variables, "name")
                yield kind, int(number or 0), stored[0] if stored else key, len(variables)


def _layer_groups(source: Hdf5) -> Iterator[tuple[str, h5py.Group]]:
    """Yield the groups of the layers; in a file of the older layout there are none."""
    layers = source.child(source.root, "layers") if source.has(source.root, "layers") else None
    if isinstance(layers, h5py.Group):
        for key, entry in source.children(layers):
            if isinstance(entry, h5py.Group):
                yield key, entry
