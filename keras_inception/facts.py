"""Published and measured figures of the networks, written once in `facts.json`."""

import functools
import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Facts:
    """What an architecture holds and costs, for 1000 classes at its own input size.

    Attributes:
        parameters: trainable ones, without auxiliary heads.
        multiply_adds: of one image, without auxiliary heads.
        input_size: height and width of its images, in pixels.
        smallest_input: the smallest height and width that it works on.
    """

    parameters: int
    multiply_adds: int
    input_size: int
    smallest_input: int


@functools.cache
def facts() -> dict[str, dict[str, Facts]]:
    """Return the facts by network and architecture.

    The tests compute them again from the graphs.
    """
    text = resources.files("keras_inception").joinpath("facts.json").read_text()
    return {
        network: {name: Facts(**values) for name, values in architectures.items()}
        for network, architectures in json.loads(text).items()
    }
