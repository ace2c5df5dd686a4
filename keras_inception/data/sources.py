"""The one way to a dataset, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

from keras_inception.data.digits import DIGITS, load_digits
from keras_inception.data.folders import load_folder
from keras_inception.data.records import load_records, shards
from keras_inception.data.splits import Dataset, check_seed
from keras_inception.data.tfds import INFO_FILE, load_prepared, load_tfds
from keras_inception.errors import InputError


def load(
    name_or_path: str | os.PathLike,
    *,
    seed: int = 0,
    skip_broken: bool = False,
    check: bool = True,
    label_offset: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Load a dataset for image classification; its images stay on disk until they are needed.

    What it may be:

    - `"digits"`: the 1,797 handwritten digits of scikit-learn, 8x8x3 pixels, with a fixed split.
    - The path of a folder with one folder per class, whose images (.bmp .gif .jpeg .jpg .png
      .webp, in any case, at any depth) are that class's. Labels count the classes sorted by name.
      Or one with folders `train`, `validation` (or `val`) and `test`, each with class folders.
      See `keras_inception.images` for what becomes of unusual images.
    - The path of a folder of TFRecord files `train-*`, `validation-*` (or `val-*`), `test-*` with
      `image/encoded` and `image/class/label` (and perhaps `image/filename`, which the image is then
      called by), as TF-Slim and the Inception release write them, and perhaps `labels.txt`: lines
      `label:name` with the labels of the records, or the names of the classes in order. Without it
      the classes are called by their numbers.
    - A name of TensorFlow Datasets, which downloads and prepares it with a progress bar; or the
      path of a folder that it prepared. Images are called by the feature `file_name` if there is
      one, as in ImageNet. They are never checked: TensorFlow Datasets wrote them itself.

    A folder takes precedence over a name of TensorFlow Datasets, and `"digits"` over both. What has
    no validation or test images gets them as `keras_inception.data.splits.three_splits` says.

    Args:
        name_or_path: see above.
        seed: of the choice of validation and test images where the dataset has none of its own;
            0 or more.
        skip_broken: leave images of a folder or of TFRecord files out that cannot be read, and
            list them in `Dataset.skipped`.
        check: read every image of a folder or of TFRecord files first, so that a broken one is
            found now, not in the middle of training. There is nothing to check in the others.
        label_offset: subtracted from the labels of TFRecord files: 1 where label 0 is a background
            class without images, as in the ImageNet files of the Inception release.
        data_dir: where TensorFlow Datasets keeps its files; None: where it does by default.

    Returns:
        The dataset.

    Raises:
        InputError: if it does not exist (near names are suggested) or cannot be prepared; if a
            folder is empty, or has fewer than two classes, a class without images, or other
            classes in validation or test than in train; if an image cannot be read (named; see
            `skip_broken`); if labels lie outside the classes; if there are too few images to
            split; if an argument does not fit the kind of dataset.
        MissingExtra: if scikit-learn, Pillow or tensorflow_datasets is needed but not installed.

    Example:
        >>> dataset = load("digits")
        >>> len(dataset.train), len(dataset.validation), len(dataset.test)
        (1259, 179, 359)
    """
    check_seed(seed)
    if skip_broken and not check:
        raise InputError("skip_broken=True needs check=True: broken images are found by reading.")
    folder = Path(name_or_path).expanduser()
    is_digits = name_or_path == DIGITS
    is_name = not is_digits and not folder.exists() and not _looks_like_path(name_or_path)
    is_prepared = not is_digits and (folder / INFO_FILE).is_file()
    is_records = not is_digits and not is_prepared and folder.is_dir() and bool(shards(folder))
    if skip_broken and (is_digits or is_name or is_prepared):
        raise InputError(
            "skip_broken=True is for folders of images and TFRecord files, which "
            f"{name_or_path} is not: its images are not checked. Leave it out."
        )
    if label_offset and not is_records:
        raise InputError(
            f"label_offset={label_offset} is for TFRecord files, which {name_or_path} is not."
        )
    if data_dir is not None and not is_name:
        raise InputError(f"data_dir is for names of TFDS datasets, which {name_or_path} is not.")

    if is_digits:
        return load_digits()
    if is_name:
        return load_tfds(os.fspath(name_or_path), seed=seed, data_dir=data_dir)
    if not folder.is_dir():
        trouble = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {trouble}; expected a folder of class folders.")
    if is_prepared:
        return load_prepared(folder, seed=seed)
    options = {"seed": seed, "skip_broken": skip_broken, "check": check}
    if is_records:
        return load_records(folder, label_offset=label_offset, **options)
    return load_folder(folder, **options)


def _looks_like_path(name: str | os.PathLike) -> bool:
    """Tell whether this can only be meant as a path, not as a dataset's name."""
    if not isinstance(name, str) or name.startswith((".", "~", os.sep)):
        return True
    return name.endswith("/") or name.count("/") > 1  # a dataset is called name/configuration
