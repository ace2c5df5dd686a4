"""The notebooks run from top to bottom, and are committed with outputs."""

import ast
import re

import nbformat
import pytest

from tests.notebooks import NOTEBOOKS, execute

LARGEST = 300_000  # bytes of a notebook with its outputs
LEAST = 0.7  # best accuracy that a committed notebook prints; one of ten or five classes is chance
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    return "".join(
        output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs
    )


def accuracies(notebook):
    """The percentages with a decimal that a notebook prints, as shares."""
    return [float(number) / 100 for number in re.findall(r"(\d+\.\d)%", printed(notebook))]


def test_there_are_three():
    names = ["distributed_and_export", "first_model", "transfer_learning"]
    assert [path.stem for path in NOTEBOOKS] == names


@by_name
def test_committed_notebooks_are_small_executed_and_say_their_parameters(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code_cells(notebook)] == [
        *range(1, len(code_cells(notebook)) + 1)
    ]
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1 and "NOTEBOOK_EPOCHS" in tagged[0].source
    for cell in code_cells(notebook):
        ast.parse(cell.source)
        assert not re.search(r"weights=\"imagenet\"|https?://", cell.source)
    for word in ("Traceback", "/tmp/", "INFO:tensorflow"):
        assert word not in printed(notebook), word
    assert max(accuracies(notebook)) >= LEAST


@pytest.mark.slow
@by_name
def test_notebooks_run(path, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTEBOOK_EPOCHS", "1")
    monkeypatch.setenv("NOTEBOOK_IMAGES", "64")
    monkeypatch.setenv("KERAS_INCEPTION_OFFLINE", "1")
    notebook = execute(path, tmp_path)
    kinds = {
        kind for cell in code_cells(notebook) for o in cell.outputs for kind in o.get("data", ())
    }
    assert "image/png" in kinds
    assert accuracies(notebook)
