"""Executes the notebooks; `python -m tests.notebooks` renews the outputs that are committed."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def execute(path, folder):
    """Return a notebook with the outputs of a run in `folder`, without what goes to stderr."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=900,
        startup_timeout=300,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    import tempfile

    wanted = sys.argv[1:]
    for path in (path for path in NOTEBOOKS if not wanted or path.stem in wanted):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(path, folder), path)
