"""The names of this package's own files: those of the layers."""

from collections.abc import Collection

from keras_inception.weights.mapping.scheme import Scheme
from keras_inception.weights.mapping.units import Place, place_of


def locate(names: Collection[str]) -> dict[str, Place | None]:
    """Return the places of variables by their names; only heads may lack in a model."""
    return {name: _place(name) if "/" in name else None for name in names}


def _place(name: str) -> Place:
    layer, _, role = name.partition("/")
    place = place_of(layer, role)
    return place if place.family in ("head", "foreign") else Place("own", layer, "", "", role)


SCHEME = Scheme(
    locate,
    has_gamma=True,
    regroup=lambda slots: {_place(slot.name): slot for slot in slots},
)
