"""Datasets of TensorFlow Datasets: downloaded, prepared, then read record by record."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from keras_inception.data.digits import DIGITS
from keras_inception.data.records import RecordExamples, TFRecordFiles, parse_example
from keras_inception.data.splits import PARTS, Dataset, Split, three_splits
from keras_inception.errors import InputError, MissingExtra, import_extra, unknown

if TYPE_CHECKING:
    import tensorflow_datasets

INFO_FILE = "dataset_info.json"  # marks the folder of a prepared dataset

# The features that datasets keep the names of their images' files in: ImageNet, cats_vs_dogs.
_NAME_KEYS = ("file_name", "image/filename")

_EXTRA = "train"


class ArrayRecordFiles:
    """The records of ArrayRecord files as one sequence, like `TFRecordFiles`."""

    def __init__(self, paths: list[str]) -> None:
        """Open the files."""
        module = import_extra("array_record.python.array_record_data_source", _EXTRA)
        self._records = module.ArrayRecordDataSource(paths)
        self._folder = os.path.basename(os.path.dirname(paths[0]))

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._records)

    def __getitem__(self, number: int) -> bytes:
        """Return a record's data."""
        return self._records[int(number)]

    def name(self, number: int) -> str:
        """Return the name of a record: its position."""
        return f"{self._folder}, record {number}"


_FORMATS = {"tfrecord": TFRecordFiles, "array_record": ArrayRecordFiles}


def load_tfds(name: str, *, seed: int, data_dir: str | os.PathLike | None) -> Dataset:
    """Return a dataset of TensorFlow Datasets by its name; prepare it first if need be.

    Args:
        name: as `tfds.builder` takes it: "cifar10", "mnist:3.0.1", "name/config".
        seed: of the choice of validation and test images where there are none.
        data_dir: where prepared datasets are; None: where TFDS keeps them.

    Raises:
        InputError: see `keras_inception.data.load`.
    """
    try:
        tfds = import_extra("tensorflow_datasets", _EXTRA)
    except MissingExtra as error:
        raise MissingExtra(f"{name!r} is neither {DIGITS!r} nor a folder. {error}") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise _no_dataset(name, tfds.list_builders(with_community_datasets=False)) from error
    except Exception as error:  # ValueError, AssertionError: an unknown version or configuration
        raise InputError(f"TFDS dataset {name!r}: {_one_line(error)}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a dataset's own code and the network may raise
        raise InputError(
            f"TFDS dataset {name!r} is not in {builder.data_dir} and could not be prepared: "
            f"{_one_line(error)}. Check the network, or copy the prepared dataset there."
        ) from error
    return _from_builder(tfds, builder, name, seed)


def load_prepared(folder: Path, *, seed: int) -> Dataset:
    """Return a dataset that TFDS prepared, from the folder with its files (and `INFO_FILE`).

    Raises:
        InputError: see `keras_inception.data.load`.
    """
    tfds = import_extra("tensorflow_datasets", _EXTRA)
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # of whatever kind what reads its files raises
        raise InputError(
            f"{folder} has a {INFO_FILE}, but is no folder that TensorFlow Datasets prepared: "
            f"{_one_line(error)}"
        ) from error
    return _from_builder(tfds, builder, builder.info.full_name, seed)


def _from_builder(
    tfds: ModuleType, builder: tensorflow_datasets.core.DatasetBuilder, name: str, seed: int
) -> Dataset:
    """Return the dataset of a builder whose files are there."""
    image_key, label_key = _supervised_keys(tfds, builder, name)
    name_key = _name_key(tfds, builder)
    file_format = builder.info.file_format.value
    if file_format not in _FORMATS:
        raise InputError(
            f"TFDS dataset {name!r} is stored as {file_format}; expected {' or '.join(_FORMATS)}."
        )
    class_names = tuple(builder.info.features[label_key].names)
    parts = {}
    for part in PARTS:
        split = builder.info.splits.get(part)
        if not split or not split.num_examples:
            continue
        records = _FORMATS[file_format]([os.fspath(path) for path in split.filepaths])
        _, label = parse_example(records[0], image_key, label_key, records.name(0))
        if label >= 0:  # the labels of a challenge's test images are secret
            read = RecordExamples(
                records,
                classes=len(class_names),
                image_key=image_key,
                label_key=label_key,
                name_key=name_key,
            )
            parts[part] = Split(read, np.arange(len(records)))
    if "train" not in parts:
        found = ", ".join(builder.info.splits) or "none"
        raise InputError(f"TFDS dataset {name!r} has no split named train; its splits: {found}.")
    return Dataset(name=name, class_names=class_names, **three_splits(parts, None, seed, name))


def _supervised_keys(
    tfds: ModuleType, builder: tensorflow_datasets.core.DatasetBuilder, name: str
) -> tuple[str, str]:
    """Return the names of the features with the image and the label."""
    keys, features = builder.info.supervised_keys, builder.info.features
    if (
        keys is None
        or len(keys) != 2
        or not all(isinstance(key, str) for key in keys)
        or not isinstance(features[keys[0]], tfds.features.Image)
        or not isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise InputError(
            f"TFDS dataset {name!r} is not one of images with class labels; its features: "
            f"{', '.join(features)}."
        )
    return keys


def _name_key(tfds: ModuleType, builder: tensorflow_datasets.core.DatasetBuilder) -> str | None:
    """Return the name of the feature with the image's file name, if there is one."""
    features = builder.info.features
    for key in _NAME_KEYS:
        if key in features and isinstance(features[key], tfds.features.Text):
            return key
    return None


def _no_dataset(name: str, names: list[str]) -> InputError:
    """Return the error for a name that is neither a dataset nor a folder."""
    near = difflib.get_close_matches(name.lower(), names, n=3)
    rest = ["any other name of tensorflow_datasets", "the path of a folder"]
    return unknown("dataset, and no folder either", name, [DIGITS, *near, *rest])


def _one_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
