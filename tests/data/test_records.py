import gzip

import numpy as np
import pytest
import tensorflow as tf

from keras_inception import InputError, data
from keras_inception.data.records import TFRecordFiles
from tests.data.pictures import encoded, labels_of, names_of, picture

Feature = tf.train.Feature


def example(image: bytes, label: int, name: str | None = None) -> bytes:
    feature = {
        "image/encoded": Feature(bytes_list=tf.train.BytesList(value=[image])),
        "image/class/label": Feature(int64_list=tf.train.Int64List(value=[label])),
        "image/format": Feature(bytes_list=tf.train.BytesList(value=[b"jpeg"])),
    }
    if name is not None:
        feature["image/filename"] = Feature(bytes_list=tf.train.BytesList(value=[name.encode()]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(path, records: list[bytes]):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def fill(folder, labels: dict[str, list[int]]):
    """Write `train-00000-of-00002` and so on; picture i of a part has its label and seed i."""
    folder.mkdir(exist_ok=True)
    for part, numbers in labels.items():
        records = [example(encoded(picture(9, 11, i)), label) for i, label in enumerate(numbers)]
        half = len(records) // 2
        write(folder / f"{part}-00000-of-00002", records[:half])
        write(folder / f"{part}-00001-of-00002", records[half:])
    return folder


def test_records_are_those_that_tensorflow_reads(tmp_path):
    random = np.random.default_rng(0)
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}")
        write(files[-1], [random.bytes(int(n)) for n in random.integers(0, 5000, 7 * i)])
    records = TFRecordFiles(files)
    expected = [r.numpy() for f in files for r in tf.data.TFRecordDataset(str(f))]
    assert len(records) == 21
    assert [records[i] for i in range(21)] == expected
    assert [records.name(i) for i in (0, 6, 7, 20)] == [
        "1, record 0", "1, record 6", "2, record 0", "2, record 13",
    ]  # fmt: skip


def test_splits_labels_and_pixels(tmp_path):
    fill(tmp_path, {"train": [0, 1, 2, 1, 0], "validation": [2, 1, 0]})
    (tmp_path / "labels.txt").write_text("0:ant\n1:bee\n2:cat\n")
    dataset = data.load(tmp_path)
    assert dataset.class_names == ("ant", "bee", "cat")
    assert labels_of(dataset.train) == [0, 1, 2, 1, 0]
    assert dataset.test is dataset.validation and labels_of(dataset.test) == [2, 1, 0]
    assert names_of(dataset.train)[1:3] == [
        "train-00000-of-00002, record 1", "train-00001-of-00002, record 0",
    ]  # fmt: skip
    images = [e["image"] for e in dataset.train.examples().as_numpy_iterator()]
    assert images == [encoded(picture(9, 11, i)) for i in range(5)]


def test_images_are_called_by_their_files(tmp_path):
    """Where the record says so; else by the record. Training does not look for a name."""
    image = encoded(picture(9, 11))
    names = ["ILSVRC2012_val_00000001.JPEG", None, ""]
    write(tmp_path / "train-0.tfrecord", [example(image, i, name) for i, name in enumerate(names)])
    number = Feature(int64_list=tf.train.Int64List(value=[7]))
    odd = tf.train.Example.FromString(example(image, 0))
    odd.features.feature["image/filename"].CopyFrom(number)
    write(tmp_path / "val-0.tfrecord", [odd.SerializeToString()])
    dataset = data.load(tmp_path)
    assert names_of(dataset.train) == [
        "ILSVRC2012_val_00000001.JPEG", "train-0.tfrecord, record 1", "train-0.tfrecord, record 2",
    ]  # fmt: skip
    read = dataset.validation.reader()
    without = tf.data.Dataset.range(1).map(lambda position: read(position)["label"])
    assert list(without.as_numpy_iterator()) == [0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/filename"):
        names_of(dataset.validation)


def test_class_names(tmp_path):
    fill(tmp_path, {"train": [1, 2, 3] * 5, "val": [1, 2, 3]})
    assert data.load(tmp_path).class_names == ("0", "1", "2", "3")
    assert data.load(tmp_path, label_offset=1).class_names == ("0", "1", "2")
    assert labels_of(data.load(tmp_path, label_offset=1).validation) == [0, 1, 2]
    labels = tmp_path / "labels.txt"
    labels.write_text("0:background\n1:ant\n2:bee: a kind\n3:cat\n")
    offset = data.load(tmp_path, label_offset=1)
    assert offset.class_names == ("ant", "bee: a kind", "cat")
    labels.write_text("ant\nbee\n\ncat\n")
    assert data.load(tmp_path, label_offset=1).class_names == ("ant", "bee", "cat")
    labels.write_text("0:a\n1:b\n1:c\n")
    with pytest.raises(InputError, match="labels.txt skips or repeats labels"):
        data.load(tmp_path)


def test_labels_outside_the_classes(tmp_path):
    fill(tmp_path, {"train": [1, 2, 3], "validation": [1, 2, 3]})
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(
        InputError,
        match="train records .* have labels 1 to 3; with label_offset=0 and 3 classes these must "
        "lie in 0 to 2. Correct label_offset or labels.txt",
    ):
        data.load(tmp_path)
    with pytest.raises(InputError, match="must lie in 2 to 4"):
        data.load(tmp_path, label_offset=2)
    unchecked = data.load(tmp_path, check=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="has label"):
        labels_of(unchecked.train)


def test_train_alone_is_split_by_class(tmp_path):
    fill(tmp_path, {"train": [0] * 20 + [1] * 10})
    dataset = data.load(tmp_path)
    assert np.bincount(labels_of(dataset.train)).tolist() == [14, 7]
    assert np.bincount(labels_of(dataset.validation)).tolist() == [2, 1]
    assert np.bincount(labels_of(dataset.test)).tolist() == [4, 2]


def test_the_choice_does_not_depend_on_the_check(tmp_path):
    fill(tmp_path, {"train": [0] * 20 + [1] * 10})
    (tmp_path / "labels.txt").write_text("a\nb\n")
    checked, unchecked = (data.load(tmp_path, check=check) for check in (True, False))
    for part in ("train", "validation", "test"):
        assert getattr(checked, part).digest == getattr(unchecked, part).digest
    assert checked.test.digest != data.load(tmp_path, seed=1).test.digest


def test_files_that_are_not_all_there(tmp_path):
    folder = fill(tmp_path / "a", {"train": [0, 1, 0, 1], "validation": [0, 1]})
    (folder / "validation-00000-of-00002").unlink()
    message = "lacks 1 of 2 validation files, the first of them number 0 .they count from 0"
    with pytest.raises(InputError, match=message):
        data.load(folder)
    folder = fill(tmp_path / "b", {"train": [0, 1, 0, 1]})
    write(folder / "train-00000-of-00004", [example(encoded(picture(9, 11)), 0)])
    with pytest.raises(InputError, match="holds train files of several sets, of 2 and 4 files"):
        data.load(folder)


def test_broken_images(tmp_path):
    good, bad = encoded(picture(9, 11)), encoded(picture(9, 11))[:-99]
    write(tmp_path / "train-0.tfrecord", [example(x, i) for i, x in enumerate([good, bad, good])])
    write(tmp_path / "val-0.tfrecord", [example(good, 0)])
    with pytest.raises(InputError, match=r"1 of 3 images .*train-0.tfrecord, record 1 \("):
        data.load(tmp_path)
    dataset = data.load(tmp_path, skip_broken=True)
    assert dataset.skipped == ("train-0.tfrecord, record 1",)
    assert labels_of(dataset.train) == [0, 2]
    unchecked = data.load(tmp_path, check=False).train
    assert len(unchecked) == 3
    with pytest.raises(InputError, match="image train-0.tfrecord, record 1 cannot be read: .*JPEG"):
        unchecked.raise_if_unreadable()
    unchecked.raise_if_unreadable([0, 2])


def test_a_record_whose_label_is_no_class_is_named(tmp_path):
    fill(tmp_path, {"train": [0, 1, 2], "validation": [0]})
    (tmp_path / "labels.txt").write_text("a\nb\n")
    train = data.load(tmp_path, check=False).train
    with pytest.raises(InputError, match="image at position 2 .*train-00001-of-00002, record 1"):
        train.raise_if_unreadable([0, 2])


def test_wrong_files(tmp_path):
    def error(pattern):
        return pytest.raises(InputError, match=pattern)

    with error("holds validation records, but no train-"):
        data.load(fill(tmp_path / "a", {"validation": [0, 1]}))
    write(fill(tmp_path / "b", {"train": [0, 1]}) / "test-0.tfrecord", [])
    with error("The test files in .*b hold no record"):
        data.load(tmp_path / "b")

    folder = fill(tmp_path / "c", {"train": [0, 1, 0]})
    shard = folder / "train-00001-of-00002"
    whole = shard.read_bytes()
    for damaged in (whole[:-1], whole[:-600], whole + b"123", gzip.compress(whole), b"text"):
        shard.write_bytes(damaged)
        with error("train-00001-of-00002: record . runs past the end of the file"):
            data.load(folder)

    write(shard, [b"no example"])
    with error("train-00001-of-00002, record 0 is no tf.train.Example"):
        data.load(folder)
    features = tf.train.Features(
        feature={"image": Feature(bytes_list=tf.train.BytesList(value=[b"x"]))}
    )
    write(shard, [tf.train.Example(features=features).SerializeToString()])
    with error("record 0 has no single bytes value 'image/encoded' and .*; it has image."):
        data.load(folder)
