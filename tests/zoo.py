"""Every network and architecture, at its smallest: one row a case, used by all tests that sweep."""

from dataclasses import dataclass
from typing import Any

import keras
import pytest

import keras_inception as ki
from keras_inception.networks import NETWORKS


@dataclass(frozen=True)
class Case:
    """A network in one of its architectures."""

    model: str
    architecture: str

    @property
    def id(self) -> str:
        return f"{NETWORKS[self.model].slug}.{self.architecture}"

    @property
    def aux(self) -> tuple[str, ...]:
        return tuple(NETWORKS[self.model].architectures[self.architecture].aux)

    @property
    def size(self) -> int:
        """A small legal input: 75 pixels where the network has valid convolutions, else 64."""
        return 75 if NETWORKS[self.model].input_size == 299 else 64

    def build(self, **arguments: Any) -> keras.Model:
        """Build at full width without weights; `arguments` override."""
        return ki.build(
            self.model, **{"weights": None, "architecture": self.architecture} | arguments
        )

    def small(self, **arguments: Any) -> keras.Model:
        """Build at a tiny width, a small image and five classes."""
        small = {"width": 0.05, "input_shape": (self.size, self.size, 3), "classes": 5}
        return self.build(**small | arguments)


CASES = [Case(name, form) for name, network in NETWORKS.items() for form in network.architectures]
PAPER_CASES = [case for case in CASES if case.architecture == "paper"]
FEW_CASES = [
    case for case in PAPER_CASES if case.model in ("GoogLeNet", "InceptionV3", "InceptionResNetV2")
]


def every(cases, quick=PAPER_CASES):
    """Parametrise a test by cases; those that are not `quick` run with the slow checks."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, id=case.id, marks=[] if case in quick else [pytest.mark.slow])
            for case in cases
        ],
    )
