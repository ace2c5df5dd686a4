import os
import shutil

import numpy as np
import pytest

from keras_inception import InputError, data
from tests.data.pictures import encoded, fill, labels_of, names_of, picture


def test_one_folder_is_split_by_seed_and_stratified(tmp_path):
    fill(tmp_path / "pets", {"dog": 20, "cat": 10, "ant": 3})
    dataset = data.load(tmp_path / "pets")
    assert dataset.name == "pets"
    assert dataset.class_names == ("ant", "cat", "dog")
    assert np.bincount(labels_of(dataset.train)).tolist() == [1, 7, 14]
    assert np.bincount(labels_of(dataset.validation)).tolist() == [1, 1, 2]
    assert np.bincount(labels_of(dataset.test)).tolist() == [1, 2, 4]
    names = sum((names_of(s) for s in (dataset.train, dataset.validation, dataset.test)), [])
    assert len(set(names)) == 33

    again, other = data.load(tmp_path / "pets"), data.load(tmp_path / "pets", seed=1)
    assert names_of(again.test) == names_of(dataset.test)
    assert names_of(other.test) != names_of(dataset.test)


def test_labels_and_pixels_are_those_of_the_files(tmp_path):
    fill(tmp_path, {"cat": 3, "dog": 3})
    for example in data.load(tmp_path).train.examples().as_numpy_iterator():
        name = example["name"].decode()
        assert ("cat", "dog")[example["label"]] == name.split("/")[0]
        assert example["image"] == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_given_parts_are_kept(tmp_path, validation):
    for part, count in (("train", 4), (validation, 2), ("test", 3)):
        fill(tmp_path / part, {"b": count, "a": count})
    dataset = data.load(tmp_path)
    assert names_of(dataset.validation) == [
        f"{validation}/{name}/{i:03d}.jpg" for name in "ab" for i in range(2)
    ]
    assert (len(dataset.train), len(dataset.test)) == (8, 6)


def test_missing_parts_are_made(tmp_path):
    fill(tmp_path / "train", {"a": 20, "b": 20})
    alone = data.load(tmp_path)
    assert (len(alone.train), len(alone.validation), len(alone.test)) == (28, 4, 8)

    fill(tmp_path / "test", {"a": 5, "b": 5})
    no_validation = data.load(tmp_path)
    assert (len(no_validation.train), len(no_validation.validation)) == (36, 4)
    assert all(name.startswith("test/") for name in names_of(no_validation.test))

    (tmp_path / "test").rename(tmp_path / "val")
    no_test = data.load(tmp_path)
    assert no_test.test is no_test.validation
    assert len(no_test.train) == 40


def test_endings_depth_and_junk(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    deep = tmp_path / "a" / "more" / "still"
    deep.mkdir(parents=True)
    (deep / "x.JPeG").write_bytes(encoded(picture(5, 5)))
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"junk")
    (tmp_path / "a" / "._000.jpg").write_bytes(b"junk of a Mac")
    (tmp_path / ".cache").mkdir()
    dataset = data.load(tmp_path)
    names = sum((names_of(s) for s in (dataset.train, dataset.validation, dataset.test)), [])
    assert sorted(names) == sorted(
        [f"{c}/{i:03d}.jpg" for c in "ab" for i in range(3)] + ["a/more/still/x.JPeG"]
    )


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, {"bus": 3, "train": 3})
    assert data.load(tmp_path).class_names == ("bus", "train")


def test_names_that_are_no_utf8(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "a" / name).write_bytes((tmp_path / "a" / "000.jpg").read_bytes())
    dataset = data.load(tmp_path)
    splits = (dataset.train, dataset.validation, dataset.test)
    names = [e["name"] for s in splits for e in s.examples().as_numpy_iterator()]
    assert b"a/caf\xe9.jpg" in names
    fill(tmp_path, {os.fsdecode(b"th\xe9"): 3})
    with pytest.raises(InputError, match=r"class folder b'.*th\\xe9' is not in UTF-8, so that"):
        data.load(tmp_path)


def test_broken_images_are_named_or_skipped(tmp_path):
    fill(tmp_path / "train", {"a": 4, "b": 4})
    fill(tmp_path / "val", {"a": 2, "b": 2})
    cut = tmp_path / "train" / "b" / "002.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (tmp_path / "val" / "a" / "note.png").write_text("no picture")
    (tmp_path / "val" / "a" / "empty.gif").touch()
    with pytest.raises(InputError) as caught:
        data.load(tmp_path)
    message = str(caught.value)
    assert "3 of 14 images cannot be read" in message
    assert "train/b/002.jpg (" in message
    assert "val/a/note.png (not a JPEG, PNG, BMP, GIF or WebP image)" in message
    assert "val/a/empty.gif (an empty file)" in message
    assert "skip_broken=True" in message

    dataset = data.load(tmp_path, skip_broken=True)
    assert dataset.skipped == ("train/b/002.jpg", "val/a/empty.gif", "val/a/note.png")
    assert len(dataset.train) == 7 and len(dataset.validation) == 4
    assert not set(dataset.skipped) & set(names_of(dataset.train) + names_of(dataset.validation))


def test_many_broken_images_make_a_short_message(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    for i in range(8):
        (tmp_path / "a" / f"broken{i}.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"8 of 14 images .*broken4.jpg \([^)]*\) and 3 more\."):
        data.load(tmp_path)


def test_a_class_with_broken_images_only(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="class folder .*b holds no image that can be read"):
        data.load(tmp_path, skip_broken=True)
    with pytest.raises(InputError, match="1 of 4 images cannot be read"):
        data.load(tmp_path)


def test_unreadable_file(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "folder.jpg").symlink_to(tmp_path / "missing")
    with pytest.raises(InputError, match=r"a/folder.jpg \(No such file or directory\)"):
        data.load(tmp_path)


def test_check_false_reads_nothing(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "000.jpg").write_bytes(b"x")
    dataset = data.load(tmp_path, check=False)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 6


def test_wrong_folders(tmp_path):
    def error(pattern):
        return pytest.raises(InputError, match=pattern)

    with error("nowhere does not exist; expected a folder of class folders"):
        data.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with error("file is a file; expected a folder of class folders"):
        data.load(tmp_path / "file")
    empty = tmp_path / "empty"
    empty.mkdir()
    with error("empty is an empty folder; expected one folder per class"):
        data.load(empty)
    (empty / "a.jpg").touch()
    with error("empty holds no class folders; expected one folder per class"):
        data.load(empty)
    with error("one holds one class only, cat; expected one folder per class"):
        data.load(fill(tmp_path / "one", {"cat": 3}))
    with error(r"class folder .*two/b holds no image; expected \.bmp, .*\.webp files"):
        data.load(fill(tmp_path / "two", {"a": 3, "b": 0}))
    with error("its 4 training images are too few .* validation and test; expected 3 or more"):
        data.load(fill(tmp_path / "few", {"a": 1, "b": 1, "c": 1, "d": 1}))
    with error("no folder named train"):
        data.load(fill(tmp_path / "parts", {"val": 3, "test": 3}))


def test_too_few_for_a_test_part(tmp_path):
    with pytest.raises(InputError, match="too few to set some aside for test"):
        data.load(fill(tmp_path, {"a": 2, "b": 2}))


def test_different_classes_in_the_parts(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    fill(tmp_path / "validation", {"a": 2, "b": 2, "z": 2})
    with pytest.raises(
        InputError,
        match=r"different classes; only in .*train: c; only in .*validation: z\.",
    ):
        data.load(tmp_path)


def test_misnamed_validation(tmp_path):
    """Without a word, images of train would become the validation images."""
    for part in ("train", "valid", "notes"):
        fill(tmp_path / part, {"x": 9, "y": 9} if part == "notes" else {"a": 9, "b": 9})
    with pytest.raises(InputError, match="no folder named validation or val, but valid with class"):
        data.load(tmp_path)
    (tmp_path / "valid").rename(tmp_path / "val")
    assert len(data.load(tmp_path).validation) == 18


def test_parts_under_names_of_their_own(tmp_path):
    """They would be two classes, Training and Testing."""
    for part in ("Training", "Testing"):
        fill(tmp_path / part, {"a": 9, "b": 9})
    message = "holds Testing, Training, each with a, b in it: that looks like the parts of a"
    with pytest.raises(InputError, match=message):
        data.load(tmp_path)
    (tmp_path / "Training").rename(tmp_path / "train")
    (tmp_path / "Testing").rename(tmp_path / "test")
    assert data.load(tmp_path).class_names == ("a", "b")


def test_classes_may_hold_folders_of_one_name(tmp_path):
    for name in ("cats", "trains"):
        fill(tmp_path / "alike" / name, {"2020": 5})
    assert data.load(tmp_path / "alike").class_names == ("cats", "trains")
    for name, inside in (("testudo", "2021"), ("trains", "2020")):
        fill(tmp_path / "like_parts" / name, {inside: 5})
    assert data.load(tmp_path / "like_parts").class_names == ("testudo", "trains")


def test_validation_twice(tmp_path):
    for part in ("train", "val", "validation"):
        fill(tmp_path / part, {"a": 1, "b": 1})
    with pytest.raises(InputError, match="holds both validation and val; remove one"):
        data.load(tmp_path)
