"""The variables of a network by where they stand in it, from the grammar of layer names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from keras_inception.errors import InputError

Key = str | int | float | tuple


class Place(NamedTuple):
    """Where a variable stands, in the model or in a file; the fields are sorted within each other.

    Attributes:
        family: "trunk", "module", "block35", "block17", "block8", "head", or one that a publisher
            adds.
        block: the block within its family; of a head, the name of its unit.
        branch: the branch within the block; of a residual block's last convolution, `UP`.
        order: the convolution within the branch.
        role: "kernel", "depthwise_kernel", "pointwise_kernel", "bias", "gamma", "beta",
            "moving_mean" or "moving_variance".
    """

    family: str
    block: Key
    branch: Key
    order: Key
    role: str


UP = "up"
"""The branch of the linear 1x1 convolution of a residual block; sorted behind "branch0"."""

_TRUNK = re.compile(r"conv2d_(\d[a-z])")
_MODULE = re.compile(r"(?:mixed|inception)_(\d[a-z])_branch(\d)_conv(\d+)")
_RESIDUAL = re.compile(r"(block\d+)_(\d+)_(?:branch(\d)_conv(\d+)|up)")
_HEAD = re.compile(r"bottleneck|logits|aux_(conv[12]|logits)|aux[12]_(conv1|dense|logits)")
_FLATTENED = re.compile(r"aux[12]_dense")
_PART = re.compile(r"_(?:conv|bn)$|(?<=^bottleneck)_dense$")


@dataclass(frozen=True, eq=False)
class Slot:
    """One variable of a model.

    Attributes:
        name: layer and variable, such as "mixed_5b_branch1_conv2_bn/beta".
        unit: the convolution or dense layer that it belongs to, its normalisation included, such
            as "mixed_5b_branch1_conv2" or "logits".
        place: where it stands.
        layer: that it belongs to.
        variable: the `keras.Variable`.
        grid: height, width and channels that the input of a dense layer is flattened from; None
            for other layers.
    """

    name: str
    unit: str
    place: Place
    layer: keras.Layer
    variable: Any
    grid: tuple[int, int, int] | None = None

    @property
    def is_first(self) -> bool:
        """Whether it belongs to the convolution that sees the images."""
        return self.unit == "conv2d_1a"


def is_foreign(place: Place) -> bool:
    """Whether the layer of a variable is not of the network."""
    return place.family == "foreign"


def is_class_head(place: Place) -> bool:
    """Whether a variable depends on the number of classes, or its layer is not of the network."""
    return is_foreign(place) or place.family == "head" and place.block.endswith("logits")


def head(unit: str, role: str) -> Place:
    """Return the place of a variable of a head, which is found by name instead of by rank."""
    return Place("head", unit, "", "", role)


def slots(model: keras.Model) -> list[Slot]:
    """List the variables of a network of this package that a checkpoint holds.

    Args:
        model: a network of this package; layers that were added to it have the family "foreign".

    Returns:
        The slots, in the order of the layers.

    Raises:
        InputError: if the model has a network of this package as one layer.
    """
    return list(_slots(model))


def _slots(model: keras.Model) -> Iterator[Slot]:
    for layer in model.layers:
        if isinstance(layer, keras.Model) and _has_units(layer):
            raise InputError(
                f"{model.name} holds the model {layer.name} as one layer; give "
                f"model.get_layer({layer.name!r}) instead."
            )
        unit = unit_of(layer.name)
        for variable in layer.weights:
            # The role is the name, or "inner/kernel" in a layer that holds layers.
            role = variable.path.rpartition(f"{layer.name}/")[2]
            name, place = f"{layer.name}/{role}", place_of(layer.name, role)
            yield Slot(name, unit, place, layer, variable, _grid(model, unit))


def _has_units(model: keras.Model) -> bool:
    return any(not is_foreign(place_of(layer.name, "")) for layer in model._flatten_layers())


def _grid(model: keras.Model, unit: str) -> tuple[int, int, int] | None:
    if not _FLATTENED.fullmatch(unit):
        return None
    flatten = model.get_layer(unit.replace("_dense", "_flatten"))
    shape = flatten.input.shape[1:]
    return shape if flatten.data_format == "channels_last" else (*shape[1:], shape[0])


def unit_of(layer: str) -> str:
    """Return the unit that a layer belongs to, from its name."""
    return _PART.sub("", layer)


def place_of(layer: str, role: str) -> Place:
    """Return where a variable of a network stands, from the name of its layer."""
    unit = unit_of(layer)
    if match := _TRUNK.fullmatch(unit):
        return Place("trunk", match[1], "", "", role)
    if match := _MODULE.fullmatch(unit):
        return Place("module", match[1], int(match[2]), int(match[3]), role)
    if match := _RESIDUAL.fullmatch(unit):
        branch, order = (f"branch{match[3]}", int(match[4])) if match[3] else (UP, 0)
        return Place(match[1], int(match[2]), branch, order, role)
    if _HEAD.fullmatch(unit):
        return head(unit, role)
    return Place("foreign", layer, "", "", role)
