"""Checkpoints of TensorFlow's Saver: V1 (one file) and V2 (an index and data shards)."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError
from keras_inception.weights.readers.guards import Budget


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a checkpoint in the order of their names, strings left out.

    Args:
        path: a V1 file, or the `.index` of a V2 checkpoint.

    Yields:
        Name and array.

    Raises:
        InputError: if data shards are missing, the tensors claim more than the files hold, or the
            path fits a V1 and a V2 checkpoint.
    """
    import tensorflow as tf  # heavy, and only needed here

    is_v2 = path.suffix == ".index"
    if is_v2:
        prefix = str(path).removesuffix(".index")
        if glob.escape(prefix) != prefix:
            raise InputError(
                "TensorFlow takes *, ? and [ in a path as patterns: rename or move it."
            )
        available = sum(shard.stat().st_size for shard in _shards(path))
    elif (twin := path.with_name(f"{path.name}.index")).exists():
        raise InputError(f"beside this V1 checkpoint lies {twin.name}: give that, or move it away.")
    else:
        prefix = glob.escape(str(path))  # TensorFlow takes the name of a V1 file for a pattern
        available = path.stat().st_size

    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    names = sorted(name for name in shapes if dtypes[name] != tf.string)
    budget = Budget(available)
    for name in names:
        # V1 stores integers with as few bytes as each of them needs.
        is_full_size = is_v2 or dtypes[name].is_floating
        budget.claim(name, shapes[name], dtypes[name].size if is_full_size else 1)
    for name in names:
        yield name, reader.get_tensor(name)


def _shards(index: Path) -> list[Path]:
    """Return the data files beside an index."""
    stem = index.name.removesuffix(".index")
    pattern = re.compile(re.escape(stem) + r"\.data-\d{5}-of-\d{5}")
    shards = [file for file in index.parent.iterdir() if pattern.fullmatch(file.name)]
    if not shards:
        raise InputError(
            f"its data is missing: expected {stem}.data-00000-of-00001 (or more shards) beside it."
        )
    return shards
