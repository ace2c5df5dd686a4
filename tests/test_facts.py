"""The figures that `list` and the README show, against the graphs."""

import json
from pathlib import Path

import keras_inception
import keras_inception as ki
from keras_inception.facts import facts
from keras_inception.networks import NETWORKS
from tests.test_structure import GOLDEN
from tests.zoo import CASES, every

FACTS = Path(keras_inception.__file__).parent / "facts.json"


def compute():
    """Compute the facts of every architecture."""
    found = {}
    for case in CASES:
        found.setdefault(case.model, {})[case.architecture] = facts_of(case)
    return found


def facts_of(case):
    """Compute the facts of an architecture from its golden file and its graph."""
    golden = json.loads((GOLDEN / f"{case.id}.json").read_text())
    return {
        "parameters": golden["parameters"],
        "multiply_adds": golden["multiply_adds"],
        "input_size": NETWORKS[case.model].input_size,
        "smallest_input": ki.smallest_input(case.model, case.architecture),
    }


@every(CASES)
def test_facts_are_those_of_the_graphs(case):
    written = json.loads(FACTS.read_text())[case.model][case.architecture]
    assert written == facts_of(case), "run `python -m tests.regenerate`"


def test_facts_are_typed():
    assert facts()["InceptionV4"]["paper"].parameters == 42_679_816
    assert facts()["GoogLeNet"]["paper"].parameters == 6_998_552
