"""Datasets in TFRecord files, read record by record in any order.

A file is indexed by hopping over its records; a record is then one read at a known place. So a
shuffle is a true permutation, training resumes at any step, and shards are exact, which a shuffle
buffer cannot give. It asks more of a slow disk than reading straight on: keep the files on an SSD.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_inception.data.splits import PART_NAMES, Dataset, Split, three_splits
from keras_inception.errors import InputError
from keras_inception.images import in_threads, problem, readable, without_broken

if TYPE_CHECKING:
    import tensorflow as tf

# The keys of TF-Slim and of the Inception release, which ImageNet's usual TFRecords have too.
IMAGE_KEY = "image/encoded"
LABEL_KEY = "image/class/label"
NAME_KEY = "image/filename"  # not every record has it
LABELS_FILE = "labels.txt"

_SHARD = re.compile(
    rf"(?P<part>{'|'.join(PART_NAMES)})-((?P<number>\d+)-of-(?P<total>\d+)|.*\.tfrecords?)"
)
_HEADER_BYTES = 12  # of a record: its length (8 bytes, little-endian) and that number's checksum
_FOOTER_BYTES = 4  # the checksum of its data


class TFRecordFiles:
    """The records of uncompressed TFRecord files as one sequence of bytes."""

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        """Index the files.

        Args:
            paths: local files, in the order in which their records count.

        Raises:
            InputError: if a file is cut off, compressed, or no TFRecord file.
        """
        self._paths = [os.fspath(path) for path in paths]
        spans = in_threads(lambda i: _record_spans(self._paths[i]), len(self._paths))
        self._spans = np.concatenate([*spans, np.zeros((0, 2), "int64")])
        self._firsts = np.array([0, *itertools.accumulate(map(len, spans))])

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._spans)

    def __getitem__(self, number: int) -> bytes:
        """Return a record's data."""
        offset, length = self._spans[number]
        with open(self._paths[self._file_of(number)], "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)

    def name(self, number: int) -> str:
        """Return the name of a record: its file, and its position there from 0."""
        file = self._file_of(number)
        return f"{os.path.basename(self._paths[file])}, record {number - self._firsts[file]}"

    def _file_of(self, number: int) -> int:
        return int(np.searchsorted(self._firsts, number, side="right")) - 1


class RecordExamples:
    """Reads `tf.train.Example` records (see `Split.read`)."""

    def __init__(
        self,
        records: TFRecordFiles,
        *,
        classes: int,
        image_key: str = IMAGE_KEY,
        label_key: str = LABEL_KEY,
        name_key: str | None = NAME_KEY,
        label_offset: int = 0,
    ) -> None:
        """Remember the records.

        Args:
            records: what has `TFRecordFiles`'s `[number]` and `name(number)`.
            classes: number of classes; a record with a label outside of them is an error.
            image_key: the feature with the encoded image.
            label_key: the feature with the label.
            name_key: the feature with the image's name. An image without it is called by its
                record's name; None: all are.
            label_offset: subtracted from the label.
        """
        self._records = records
        self._classes = classes
        self._image_key = image_key
        self._label_key = label_key
        self._name_key = name_key
        self._label_offset = label_offset

    def __call__(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the example with this number."""
        import tensorflow as tf

        def fetch(number: np.int64) -> tuple[bytes, bytes]:
            return self._records[number], os.fsencode(self._records.name(number))

        fetched = tf.numpy_function(fetch, [number], (tf.string, tf.string), stateful=False)
        data, place = (tf.ensure_shape(part, ()) for part in fetched)
        features = tf.io.parse_single_example(
            data,
            {
                self._image_key: tf.io.FixedLenFeature((), tf.string),
                self._label_key: tf.io.FixedLenFeature((), tf.int64),
            },
        )
        label = features[self._label_key] - self._label_offset
        legal = tf.logical_and(label >= 0, label < self._classes)
        complaint = [place, "has label", label, "after the offset; classes:", self._classes]
        with tf.control_dependencies([tf.debugging.Assert(legal, complaint)]):
            label = tf.identity(label)
        image = readable(features[self._image_key])
        return {"image": image, "label": label, "name": self._name(data, place)}

    def _name(self, data: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Return an image's name, by an operation of its own: a graph without names drops it."""
        import tensorflow as tf

        if self._name_key is None:
            return place
        feature = tf.io.FixedLenFeature((), tf.string, default_value="")
        name = tf.io.parse_single_example(data, {self._name_key: feature})[self._name_key]
        return tf.where(name == "", place, name)


def shards(folder: Path) -> dict[str, list[Path]]:
    """Return the TFRecord files of "train", "validation" and "test" in a folder, sorted."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        match = _SHARD.fullmatch(file.name)
        if match and file.is_file():
            found.setdefault(PART_NAMES[match["part"]], []).append(file)
    return found


def _check_complete(paths: Sequence[Path]) -> None:
    """Raise `InputError` unless the files that are called 2-of-8 are all eight, and no other's."""
    names = [_SHARD.fullmatch(path.name) for path in paths]
    numbered = [name for name in names if name["total"]]
    totals = {int(match["total"]) for match in numbered}
    if len(totals) > 1:
        raise InputError(
            f"{paths[0].parent} holds {numbered[0]['part']} files of several sets, of "
            f"{' and '.join(map(str, sorted(totals)))} files. Keep one set."
        )
    there = {int(match["number"]) for match in numbered}
    missing = sorted(set(range(*totals)) - there) if totals else []
    if missing:
        (total,) = totals
        raise InputError(
            f"{paths[0].parent} lacks {len(missing)} of {total} {numbered[0]['part']} files, the "
            f"first of them number {missing[0]} (they count from 0). Copy them there."
        )


def load_records(
    folder: Path, *, seed: int, skip_broken: bool, check: bool, label_offset: int
) -> Dataset:
    """Return the images of a folder of TFRecord files.

    See `keras_inception.data.load` for the layout.

    Args:
        folder: the folder.
        seed: of the choice of validation and test images where there are none.
        skip_broken: leave broken images out instead of raising.
        check: read every image first.
        label_offset: subtracted from the labels in the records.

    Raises:
        InputError: see `keras_inception.data.load`.
    """
    paths_of = shards(folder)
    for paths in paths_of.values():
        _check_complete(paths)
    files = {part: TFRecordFiles(paths) for part, paths in paths_of.items()}
    if "train" not in files:
        raise InputError(f"{folder} holds {', '.join(files)} records, but no train-* file.")
    for part, records in files.items():
        if not len(records):
            raise InputError(f"The {part} files in {folder} hold no record.")
    class_names = _read_class_names(folder / LABELS_FILE, label_offset)
    labels: dict[str, np.ndarray] = {}
    sound = {part: np.ones(len(records), bool) for part, records in files.items()}
    if check or not class_names or "validation" not in files:  # they decide on the choice, too
        for part, records in files.items():
            found = in_threads(lambda i, r=records: _examine(r, i, check), len(records))
            labels[part] = np.array([label for label, _ in found], "int64") - label_offset
            names = [records.name(i) for i in range(len(records))]
            problems = [trouble for _, trouble in found]
            sound[part] = without_broken(names, problems, str(folder), skip_broken)
    if not class_names:
        class_names = tuple(str(i) for i in range(max(map(np.max, labels.values())) + 1))
    for part, found in labels.items():
        _check_labels(found, len(class_names), f"The {part} records in {folder}", label_offset)

    parts = {
        part: Split(
            RecordExamples(records, classes=len(class_names), label_offset=label_offset),
            np.flatnonzero(sound[part]),
        )
        for part, records in files.items()
    }
    train_labels = labels["train"][sound["train"]] if labels else None
    return Dataset(
        name=folder.resolve().name,
        class_names=class_names,
        skipped=tuple(files[part].name(i) for part in files for i in np.flatnonzero(~sound[part])),
        **three_splits(parts, train_labels, seed, str(folder)),
    )


def parse_example(data: bytes, image_key: str, label_key: str, name: str) -> tuple[bytes, int]:
    """Return the encoded image and the label of a record, without TensorFlow operations.

    Args:
        data: a serialised `tf.train.Example`.
        image_key: the feature with the encoded image.
        label_key: the feature with the label.
        name: what to call the record in the error.

    Raises:
        InputError: if the record is no example or lacks one of the two; names what it has.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError as error:
        raise InputError(f"{name} is no tf.train.Example: {error}.") from error
    image = features[image_key].bytes_list.value if image_key in features else ()
    label = features[label_key].int64_list.value if label_key in features else ()
    if len(image) != 1 or len(label) != 1:
        raise InputError(
            f"{name} has no single bytes value {image_key!r} and int64 value {label_key!r}; "
            f"it has {', '.join(sorted(features)) or 'no features'}."
        )
    return image[0], label[0]


def _examine(records: TFRecordFiles, number: int, check: bool) -> tuple[int, str | None]:
    """Return a record's label, and what is wrong with its image if that is to be checked."""
    image, label = parse_example(records[number], IMAGE_KEY, LABEL_KEY, records.name(number))
    return label, problem(image) if check else None


def _check_labels(labels: np.ndarray, classes: int, where: str, label_offset: int) -> None:
    """Raise `InputError` unless all labels are those of classes."""
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        raise InputError(
            f"{where} have labels {low + label_offset} to {high + label_offset}; with "
            f"label_offset={label_offset} and {classes} classes these must lie in {label_offset} "
            f"to {classes - 1 + label_offset}. Correct label_offset or {LABELS_FILE}."
        )


def _read_class_names(path: Path, label_offset: int) -> tuple[str, ...]:
    """Return the class names of a labels file: "label:name" lines, or names alone, in order."""
    if not path.is_file():
        return ()
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line]
    numbered = [line.partition(":") for line in lines]
    if not all(label.isdecimal() and colon for label, colon, _ in numbered):
        return tuple(lines)
    names = sorted((int(label) - label_offset, name.strip()) for label, _, name in numbered)
    names = [(label, name) for label, name in names if label >= 0]  # the rest is background
    if [label for label, _ in names] != list(range(len(names))):
        raise InputError(
            f"{path} skips or repeats labels; expected one line per label from {label_offset} on."
        )
    return tuple(name for _, name in names)


def _record_spans(path: str) -> np.ndarray:
    """Return where the data of each record lie: int64 array (records, 2), offset and length."""
    spans = []
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        while position < size:
            file.seek(position)
            offset = position + _HEADER_BYTES
            length = int.from_bytes(file.read(8), "little")
            position = offset + length + _FOOTER_BYTES
            if position > size:
                raise InputError(
                    f"{path}: record {len(spans)} runs past the end of the file. It is cut off, "
                    "compressed, or no TFRecord file; expected an uncompressed one."
                )
            spans.append((offset, length))
    return np.array(spans, "int64").reshape(-1, 2)
