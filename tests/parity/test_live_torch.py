"""The torch libraries and our networks side by side, with the same random weights.

Too large for CI, and run by hand: `pip install timm torchvision facenet-pytorch pytorchcv
pretrainedmodels`, then `python -m pytest -m parity tests/parity`. With PARITY_JSON set to
benchmarks/parity.json the results are written there.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_inception as ki
from keras_inception.weights.assign import assign
from tests.parity import torch_side

pytestmark = pytest.mark.parity

ALLOWED = 1e-3  # of the standard deviation of the outputs


@pytest.fixture(scope="module")
def table():
    """Collect a row a network, and write them with the versions of everything that took part."""
    rows = []
    yield rows
    if path := os.environ.get("PARITY_JSON"):
        packages = {"keras", "tensorflow", "torch", *(row["library"] for row in rows)}
        versions = {package: version(package) for package in sorted(packages)}
        result = {"allowed": ALLOWED, "versions": versions, "networks": rows}
        Path(path).write_text(json.dumps(result, indent=2) + "\n")


def version(package):
    distributions = importlib.metadata.packages_distributions().get(package, [package])
    return importlib.metadata.version(distributions[0])


@pytest.mark.parametrize("case", torch_side.CASES, ids=lambda case: case.id)
def test_outputs_are_those_of_torch(case, table, tmp_path):
    file = tmp_path / "torch.npz"
    subprocess.run([sys.executable, torch_side.__file__, case.id, file], check=True)
    arrays = np.load(file)
    expected = {n.removeprefix("output:"): arrays[n] for n in arrays if n.startswith("output:")}
    tensors = {n.removeprefix("tensor:"): arrays[n] for n in arrays if n.startswith("tensor:")}

    if case.name == "embedding":
        heads = {"include_top": False, "pooling": "embedding"}
    else:
        classes = expected["predictions"].shape[-1]
        heads = {"classes": classes, "classifier_activation": None, "aux_heads": case.aux}
    model = ki.build(
        case.model,
        weights=None,
        architecture=case.architecture,
        input_shape=(case.size, case.size, 3),
        **heads,
    )
    assignment = assign(model, tensors, case.publisher)
    counters = {name for name in assignment.dropped if name.endswith("num_batches_tracked")}
    others = {name.partition(".")[0] for name in set(assignment.dropped) - counters}
    assert others == set(case.dropped)

    outputs = model(case.image())
    outputs = outputs if isinstance(outputs, dict) else {"predictions": outputs}
    assert set(outputs) == set(expected)
    worst = max(
        float(np.abs(np.asarray(outputs[name]) - values).max() / values.std())
        for name, values in expected.items()
    )
    table.append(
        {
            "library": case.library,
            "network": case.id,
            "model": case.model,
            "architecture": case.architecture,
            "largest_difference_in_standard_deviations": float(f"{worst:.2g}"),
        }
    )
    assert worst <= ALLOWED
