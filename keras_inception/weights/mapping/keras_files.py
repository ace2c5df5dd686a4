"""The names of `keras.applications`: most layers are numbered by a counter of the session."""

import re
from collections.abc import Collection

from keras_inception.weights.mapping.scheme import Scheme
from keras_inception.weights.mapping.units import UP, Place, Slot, head, place_of

_NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
_UP = re.compile(r"(block\d+_\d+)_conv")
_COUNTER = {"kernel": "conv2d", "bias": "conv2d"}  # all other variables are of a normalisation


def locate(names: Collection[str]) -> dict[str, Place | None]:
    """Return where each variable stands.

    `conv2d_5` is the sixth convolution of a session and `batch_normalization_5` the sixth
    normalisation. Models built before shift each of the two counters, so that the lowest number
    in the file is taken for the first.
    """
    layers = {name: name.rpartition("/")[0] for name in names}
    numbers: dict[str, dict[str, int]] = {"conv2d": {}, "batch_normalization": {}}
    for layer in layers.values():
        if match := _NUMBERED.fullmatch(layer):
            numbers[match[1]][layer] = int(match[2] or 0)
    counted = {
        layer: number - min(of_kind.values())
        for of_kind in numbers.values()
        for layer, number in of_kind.items()
    }
    return {name: _place(layer, name, counted) for name, layer in layers.items()}


def regroup(slots: list[Slot]) -> dict[Place, Slot]:
    """Number the convolutions of a model in the order in which `keras.applications` makes them.

    That is block by block and branch by branch, the order of our names.
    """
    blocks = list(dict.fromkeys(slot.place[:2] for slot in slots))  # they run one after the other
    order = {
        slot.unit: (blocks.index(slot.place[:2]), slot.place.branch, slot.place.order)
        for slot in slots
        if not _is_named(slot)
    }
    number = {unit: i for i, unit in enumerate(sorted(order, key=order.__getitem__))}
    return {
        slot.place if _is_named(slot) else _counted(number[slot.unit], slot.place.role): slot
        for slot in slots
    }


def _place(layer: str, name: str, counted: dict[str, int]) -> Place | None:
    role = name.rpartition("/")[2]
    if layer in counted:
        return _counted(counted[layer], role)
    if layer in ("conv_7b", "conv_7b_bn"):
        return place_of("conv2d_7b", role)
    if match := _UP.fullmatch(layer):
        return place_of(f"{match[1]}_{UP}", role)
    return head("logits", role) if layer == "predictions" else None


def _counted(number: int, role: str) -> Place:
    return Place(_COUNTER.get(role, "batch_normalization"), number, "", "", role)


def _is_named(slot: Slot) -> bool:
    in_head = slot.place.family in ("head", "foreign")
    return in_head or slot.place.branch == UP or slot.unit == "conv2d_7b"


SCHEME = Scheme(locate, regroup=regroup)
