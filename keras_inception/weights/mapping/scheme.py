"""What is to be known of a publisher's files."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from keras_inception.weights.mapping.units import Place, Slot

Locate = Callable[[Collection[str]], dict[str, Place | None]]


def by_place(slots: list[Slot]) -> dict[Place, Slot]:
    """Return the slots by their own places."""
    return {slot.place: slot for slot in slots}


@dataclass(frozen=True)
class Scheme:
    """How a publisher names and stores variables.

    Attributes:
        locate: from the names in a file to their places; None for a name that it does not know.
        dropped: patterns of names that no network needs, with what they are.
        output_first: kernels are (out, in, height, width) and (out, in), as in torch and Caffe.
        has_gamma: the batch normalisations have a gamma; otherwise ones are loaded.
        regroup: from the slots of a model to the places that `locate` uses, where they are not the
            slots' own.
    """

    locate: Locate
    dropped: Mapping[str, str] = field(default_factory=dict)
    output_first: bool = False
    has_gamma: bool = False
    regroup: Callable[[list[Slot]], dict[Place, Slot]] = by_place


def one_by_one(locate: Callable[[str], Place | None]) -> Locate:
    """Make a `Locate` of a function of a single name."""
    return lambda names: {name: locate(name) for name in names}
