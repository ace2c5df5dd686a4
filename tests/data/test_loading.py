from pathlib import Path

import pytest

from keras_inception import InputError, data
from tests.data.pictures import fill


def test_arguments_that_do_not_fit_are_refused(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(InputError, match="seed must lie between 0 and .*, but got -1"):
        data.load(tmp_path, seed=-1)
    with pytest.raises(InputError, match="skip_broken=True needs check=True"):
        data.load(tmp_path, skip_broken=True, check=False)
    for name in ("digits", "mnist"):
        with pytest.raises(InputError, match=f"skip_broken=True .* which {name} is not: its"):
            data.load(name, skip_broken=True)
    assert len(data.load("digits", check=False).train) == 1259  # there is nothing to check
    for name in ("digits", tmp_path):
        with pytest.raises(InputError, match="label_offset=1 is for TFRecord files, which .* is"):
            data.load(name, label_offset=1)
        with pytest.raises(InputError, match="data_dir is for names of TFDS datasets, which"):
            data.load(name, data_dir=tmp_path)


def test_a_name_that_looks_like_a_path_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("./mnist", "../mnist/x", "~/no such folder", "path/to/images", "mnist/"):
        with pytest.raises(InputError, match="does not exist; expected a folder of class folders"):
            data.load(name)
    with pytest.raises(InputError, match="does not exist; expected a folder of class folders"):
        data.load(tmp_path / "mnist")


def test_a_folder_comes_before_a_name_of_tfds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "mnist", {"a": 3, "b": 3})
    dataset = data.load("mnist")
    assert dataset.name == "mnist" and dataset.class_names == ("a", "b")
    assert repr(dataset.train) == "Split(2 images)"


def test_a_folder_called_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "digits", {"a": 3, "b": 3})
    assert len(data.load("digits").class_names) == 10
    assert data.load("./digits").class_names == ("a", "b")
    assert data.load(Path("digits")).class_names == ("a", "b")


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "pets", {"a": 3, "b": 3})
    assert data.load("~/pets").name == "pets"
