"""Every architecture against its golden file: layer names, weight shapes, block shapes."""

import json
import re
from pathlib import Path

import keras_inception as ki
from keras_inception.inspection import blocks, multiply_adds, parameters
from tests.zoo import CASES, every

GOLDEN = Path(__file__).parent / "golden"


def describe(case):
    """Describe a network at full size, with its auxiliary heads where it has some.

    The totals are those without auxiliary heads, whose layers all bear `aux` in front.
    """
    model = case.build(aux_heads=bool(case.aux))
    main = [block for block in blocks(model) if not block.name.startswith("aux")]
    plain = case.build() if case.aux else model
    assert sum(block.parameters for block in blocks(plain)) == parameters(plain)
    assert [block.name for block in blocks(plain)] == [block.name for block in main]
    return {
        "parameters": parameters(plain),
        "multiply_adds": multiply_adds(plain),
        "endpoints": {name: list(shape) for name, shape in ki.endpoints(model).items()},
        "weights": {weight.path: list(weight.shape) for weight in model.weights},
    }


def write(case):
    """Write the golden file of a case, as `python -m tests.regenerate` does."""
    text = json.dumps(describe(case), indent=0)
    compact = re.sub(r"\[\s+([^\]]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    (GOLDEN / f"{case.id}.json").write_text(compact + "\n")


@every(CASES)
def test_network_is_the_golden_one(case):
    golden = json.loads((GOLDEN / f"{case.id}.json").read_text())
    got = describe(case)
    assert got == golden, (
        f"{case.id} has changed. Layer names and shapes are what saved weights rely on. If the "
        "change is meant, run `python -m tests.regenerate` and name it in CHANGELOG.md."
    )
    names = [path.rpartition("/")[0] for path in got["weights"]]
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)


def test_two_models_in_one_session_bear_the_same_names():
    first, second = (CASES[0].small() for _ in range(2))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
