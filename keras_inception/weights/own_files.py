"""Files that Keras wrote of this package's networks: by what names, and in what order."""

import io
import re
import zipfile
from collections import defaultdict
from pathlib import Path

import h5py
import keras

from keras_inception.errors import InputError

OWN_ENDINGS = (".weights.h5", ".keras")


def is_own(path: Path) -> bool:
    """Whether a path ends as the files do that Keras writes of our networks."""
    return path.name.endswith(OWN_ENDINGS)


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
    stored = _layers(path)
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


def _layers(path: Path) -> dict[str, list[str]]:
    """Return the names of the layers that hold variables, by class, in Keras's order."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    file = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            file = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(file, "r") as opened:
        for key, group in opened.get("layers", {}).items():
            kind, number = re.fullmatch(r"(.+?)(?:_(\d+))?", key).groups()
            if "vars" in group and len(group["vars"]):
                found[kind][int(number or 0)] = group["vars"].attrs.get("name", key)
    return {kind: [names[n] for n in sorted(names)] for kind, names in found.items()}
