"""Files and folders appear whole, or what was there stays."""

import os

import pytest

from keras_inception.files import atomic_path, move_into_place


def folder(path, content):
    path.mkdir(parents=True)
    (path / "file").write_text(content)
    return path


def tree(root):
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def renaming_fails(monkeypatch):
    """Renaming to a path that ends in "out" fails, but for what stood there before."""
    rename = os.replace

    def replace(source, target):
        if os.path.basename(target) == "out" and ".tmp" not in f"{source}{target}":
            raise OSError("busy")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_a_folder_takes_the_place_of_another(tmp_path):
    new, out = folder(tmp_path / "new", "new"), folder(tmp_path / "out", "old")
    move_into_place(new, out)
    assert tree(tmp_path) == {"out/file": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_move_that_fails_leaves_both(tmp_path, renaming_fails):
    new, out = folder(tmp_path / "new", "days of work"), folder(tmp_path / "out", "old")
    with pytest.raises(OSError, match="busy"):
        move_into_place(new, out)
    assert tree(tmp_path) == {"new/file": "days of work", "out/file": "old"}
    assert {path.name for path in tmp_path.iterdir()} == {"new", "out"}


def test_a_folder_does_not_take_the_place_of_a_link_or_file(tmp_path):
    new = folder(tmp_path / "new", "days of work")
    (tmp_path / "link").symlink_to(folder(tmp_path / "elsewhere", "kept"))
    (tmp_path / "text").write_text("kept")
    for target in ("link", "text"):
        with pytest.raises(NotADirectoryError):
            move_into_place(new, tmp_path / target)
    assert tree(new) == {"file": "days of work"}
    assert (tmp_path / "link").readlink() == tmp_path / "elsewhere"


def test_what_fails_leaves_the_old_file_and_no_new_folder(tmp_path):
    (tmp_path / "out").write_text("old")
    for path in (tmp_path / "out", tmp_path / "a" / "b"):
        with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
    assert tree(tmp_path) == {"out": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
