"""The scripts that write parts of the docs, and the benchmarks, as modules."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def load(folder, name):
    """Import <folder>/<name>.py, which belongs to no package and imports its neighbours."""
    path = str(ROOT / folder)
    if path not in sys.path:
        sys.path.append(path)
    return importlib.import_module(name)
