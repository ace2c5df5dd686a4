"""Pairing what a model needs with what a file holds, level by level."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from keras_inception.weights.mapping.units import Key, Place, Slot

_RANKED_FAMILIES = ("trunk", "module", "block35", "block17", "block8")
_RANKED_LEVELS = [Place._fields.index(name) for name in ("block", "branch", "order")]


@dataclass
class Pairs:
    """Who goes with whom.

    Attributes:
        matched: each slot that has a tensor, with the tensor's name.
        missing: slots without a tensor.
        left_over: names of tensors without a slot.
    """

    matched: list[tuple[Slot, str]] = field(default_factory=list)
    missing: list[Slot] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)


def pair(slots: dict[Place, Slot], names: dict[Place, str]) -> Pairs:
    """Pair the slots of a model with the tensors of a file.

    Families are paired by name. Within a family the blocks are sorted and paired by rank, so are
    the branches that hold convolutions within a block, and the convolutions within a branch: every
    release names them so that they sort into the order in which they run, slips included. Heads
    have names of their own, and are paired by them.

    Args:
        slots: what the model needs, by place.
        names: what the file holds, by place.

    Returns:
        The pairs. Where a family, block or branch holds another number of things on the two sides,
        all of it is missing on one side and left over on the other: guessing would shift weights.
    """
    pairs = Pairs()
    for place, name_place in _align(slots, names, 0):
        if place is None:
            pairs.left_over.append(names[name_place])
        elif name_place is None:
            pairs.missing.append(slots[place])
        else:
            pairs.matched.append((slots[place], names[name_place]))
    return pairs


def _align(
    ours: Collection[Place], theirs: Collection[Place], level: int
) -> Iterator[tuple[Place | None, Place | None]]:
    """Pair places that agree, or have the same rank, in all fields before `level`."""
    if not ours or not theirs:
        yield from ((place, None) for place in ours)
        yield from ((None, place) for place in theirs)
        return
    if level == len(Place._fields):
        yield (*ours, *theirs)
        return
    our_groups, their_groups = _groups(ours, level), _groups(theirs, level)
    if not (level in _RANKED_LEVELS and next(iter(ours)).family in _RANKED_FAMILIES):
        for key in our_groups | their_groups:
            yield from _align(our_groups.get(key, ()), their_groups.get(key, ()), level + 1)
    elif len(our_groups) == len(their_groups):
        for our_key, their_key in zip(sorted(our_groups), sorted(their_groups), strict=True):
            yield from _align(our_groups[our_key], their_groups[their_key], level + 1)
    else:
        yield from _align(ours, (), level)
        yield from _align((), theirs, level)


def _groups(places: Collection[Place], level: int) -> dict[Key, list[Place]]:
    groups = defaultdict(list)
    for place in places:
        groups[place[level]].append(place)
    return groups
