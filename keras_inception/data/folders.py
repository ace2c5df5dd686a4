"""Datasets in folders of class folders."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_inception.data.splits import PART_NAMES, Dataset, Split, host_tensor, three_splits
from keras_inception.errors import InputError
from keras_inception.images import ENDINGS, in_threads, problem, readable, without_broken

if TYPE_CHECKING:
    import tensorflow as tf

_LIKE_PARTS = ("train", "test", "val")  # Training, testing, valid: what others call parts


def load_folder(root: Path, *, seed: int, skip_broken: bool, check: bool) -> Dataset:
    """Return the images of a folder of class folders, or of train, validation and test folders.

    See `keras_inception.data.load` for the layouts.

    Args:
        root: the folder.
        seed: of the choice of validation and test images where the folder has none.
        skip_broken: leave broken images out instead of raising.
        check: read every image first.

    Raises:
        InputError: see `keras_inception.data.load`.
    """
    folders = _part_folders(root)
    classes = {part: _class_folders(folder) for part, folder in folders.items()}
    class_names = list(classes["train"])
    for part, found in classes.items():
        _check_same_classes(class_names, list(found), folders["train"], folders[part])

    names: list[str] = []
    labels: list[int] = []
    numbers: dict[str, list[int]] = {part: [] for part in folders}
    for part, found in classes.items():
        for label, folder in enumerate(found.values()):
            files = _image_files(folder, root)
            numbers[part] += range(len(names), len(names) + len(files))
            names += files
            labels += [label] * len(files)

    sound = np.ones(len(names), bool)
    if check:
        problems = in_threads(lambda i: _file_problem(root / names[i]), len(names))
        sound = without_broken(names, problems, str(root), skip_broken)
    read = ImageFiles(root, names, labels)
    parts = {}
    for part in folders:
        kept = np.array(numbers[part], "int64")
        kept = kept[sound[kept]]
        parts[part] = Split(read, kept)
        for label in set(range(len(class_names))) - set(read.labels[kept]):
            folder = classes[part][class_names[label]]
            raise InputError(f"The class folder {folder} holds no image that can be read.")
    return Dataset(
        name=root.resolve().name,
        class_names=tuple(class_names),
        skipped=tuple(names[i] for i in np.flatnonzero(~sound)),
        **three_splits(parts, read.labels[parts["train"].numbers], seed, str(root)),
    )


class ImageFiles:
    """Reads image files (see `Split.read`).

    Attributes:
        labels: int64 array (images,).
    """

    def __init__(self, root: Path, names: list[str], labels: list[int]) -> None:
        """Remember the files.

        Args:
            root: the folder that they are in.
            names: of the files, relative to `root`, with forward slashes.
            labels: of the files.
        """
        self.labels = np.array(labels, "int64")
        self._root = os.fsencode(root)
        self._names = names

    def __call__(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the example with this number."""
        import tensorflow as tf

        names, labels = self._tensors
        name = tf.gather(names, number)
        data = tf.io.read_file(tf.strings.join([self._root, name], "/"))
        return {"image": readable(data), "label": tf.gather(labels, number), "name": name}

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Names and labels as tensors, made once: there may be millions."""
        return host_tensor([os.fsencode(name) for name in self._names]), host_tensor(self.labels)


def _subfolders(folder: Path) -> dict[str, Path]:
    """Return the visible folders in a folder, sorted by name."""
    found = (entry for entry in folder.iterdir() if entry.is_dir())
    return {entry.name: entry for entry in sorted(found) if not entry.name.startswith(".")}


def _part_folders(root: Path) -> dict[str, Path]:
    """Return the folders of "train", "validation" and "test"; one without parts is "train"."""
    subfolders = _subfolders(root)
    # A class may be called "train" too, but the folder of a class holds no folders alone.
    if "train" in subfolders and _subfolders(subfolders["train"]):
        folders: dict[str, Path] = {}
        for name, part in PART_NAMES.items():
            if name in subfolders and part in folders:
                raise InputError(f"{root} holds both {folders[part].name} and {name}; remove one.")
            if name in subfolders:
                folders[part] = subfolders[name]
        if "validation" not in folders:
            _refuse_misnamed(root, subfolders)
        return folders
    if subfolders and subfolders.keys() <= PART_NAMES.keys():
        raise InputError(
            f"{root} holds {', '.join(subfolders)}, but no folder named train with class folders."
        )
    _refuse_parts_for_classes(root, subfolders)
    return {"train": root}


def _refuse_parts_for_classes(root: Path, subfolders: dict[str, Path]) -> None:
    """Raise `InputError` if the folders are named like parts, and hold folders of one name."""
    named_so = all(name.lower().startswith(_LIKE_PARTS) for name in subfolders)
    if len(subfolders) < 2 or not named_so:
        return
    inside = [_subfolders(folder).keys() for folder in subfolders.values()]
    shared = set.intersection(*map(set, inside))
    if shared:
        raise InputError(
            f"{root} holds {', '.join(subfolders)}, each with {', '.join(sorted(shared)[:3])} in "
            "it: that looks like the parts of a dataset. Rename them to train, validation and test."
        )


def _refuse_misnamed(root: Path, subfolders: dict[str, Path]) -> None:
    """Raise `InputError` if a folder beside train has its classes, but not the name of a part."""
    classes = _subfolders(subfolders["train"]).keys()
    for name, folder in subfolders.items():
        if name not in PART_NAMES and not classes.isdisjoint(_subfolders(folder)):
            raise InputError(
                f"{root} holds no folder named validation or val, but {name} with classes of "
                "train. Rename it if these are the validation images; else move it elsewhere."
            )


def _class_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the classes by name, sorted; raise unless there are two or more."""
    found = _subfolders(folder)
    for place in found.values():
        try:
            place.name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"The name of the class folder {os.fsencode(place)!r} is not in UTF-8, so that "
                "reports cannot name the class. Rename the folder."
            ) from error
    if len(found) > 1:
        return found
    expected = "expected one folder per class, with that class's images in it"
    if found:
        raise InputError(f"{folder} holds one class only, {next(iter(found))}; {expected}.")
    if any(folder.iterdir()):
        raise InputError(f"{folder} holds no class folders; {expected}.")
    raise InputError(f"{folder} is an empty folder; {expected}.")


def _check_same_classes(expected: list[str], found: list[str], train: Path, other: Path) -> None:
    """Raise `InputError` unless two parts have the same classes."""
    sides = ((train, set(expected) - set(found)), (other, set(found) - set(expected)))
    only = [f"only in {side}: {', '.join(sorted(names))}" for side, names in sides if names]
    if only:
        raise InputError(f"{train} and {other} hold different classes; {'; '.join(only)}.")


def _image_files(folder: Path, root: Path) -> list[str]:
    """Return the image files of a class, at any depth, as sorted names relative to `root`."""
    names = []
    for place, _, files in os.walk(folder):
        prefix = Path(place).relative_to(root).as_posix()
        names += [
            f"{prefix}/{file}"
            for file in files
            if file.lower().endswith(ENDINGS) and not file.startswith(".")
        ]
    if not names:
        endings = ", ".join(ENDINGS)
        raise InputError(f"The class folder {folder} holds no image; expected {endings} files.")
    return sorted(names)


def _file_problem(path: Path) -> str | None:
    """Return what is wrong with an image file, or None."""
    try:
        return problem(path.read_bytes())
    except OSError as error:
        return error.strerror or str(error)
