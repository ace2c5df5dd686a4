"""Small networks, and tensors for them under the names of a publisher."""

import functools

import keras
import numpy as np
import pytest

from keras_inception.weights.mapping import scheme_of
from keras_inception.weights.mapping.pairing import pair
from keras_inception.weights.mapping.units import slots
from tests.weights.golden_files import Golden, fill, golden

WIDTH = 0.05
SIZES = {"GoogLeNet": 64, "BNInception": 64}  # others have valid convolutions that need more
# One file a network; of InceptionV2 nobody publishes weights. True: it takes long to build.
FILES = {
    "slim_inception_v1": False,
    "slim_inception_v2": True,
    "slim_inception_v3": False,
    "slim_inception_v4": True,
    "facenet_inception_resnet_v1": False,
    "slim_inception_resnet_v2": True,
}
every_network = pytest.mark.parametrize(
    "case",
    [
        pytest.param(golden(file), id=file, marks=pytest.mark.slow if is_slow else ())
        for file, is_slow in FILES.items()
    ],
)


@functools.cache
def small(case: Golden) -> keras.Model:
    """Return a narrow network of a golden file; tests share it."""
    return build_small(case)


def build_small(case: Golden, **arguments) -> keras.Model:
    size = 299 if case.aux_heads and arguments.get("aux_heads", True) else SIZES.get(case.model, 75)
    if arguments.get("include_top", True):
        arguments = {"classes": 5, "aux_heads": case.aux_heads} | arguments
    return case.build(**{"width": WIDTH, "input_shape": (size, size, 3)} | arguments)


@functools.cache
def _tensors(case: Golden) -> dict[str, np.ndarray]:
    names = [name for name, _ in case.content["variables"]]
    scheme = scheme_of(case.publisher, names)
    places = {place: name for name, place in scheme.locate(names).items()}
    tensors = {}
    for slot, name in pair(scheme.regroup(slots(small(case))), places).matched:
        shape = tuple(slot.variable.shape)
        role = {"moving_variance": "variance"}.get(slot.place.role, slot.place.role)
        if slot.place.role.endswith("kernel"):
            role = f"kernel:{np.prod(shape[:-1])}"
            axes = {4: (3, 2, 0, 1), 2: (1, 0)}[len(shape)]
            shape = tuple(shape[axis] for axis in axes) if scheme.output_first else shape
        tensors[name] = fill(name, shape, role)
    return {name: tensors[name] for name in names}


def tensors(case: Golden) -> dict[str, np.ndarray]:
    """Return a file for `small(case)`: a fresh dict with the names of the golden file."""
    return dict(_tensors(case))


def snapshot(model: keras.Model) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in model.weights]
