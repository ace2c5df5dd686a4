"""Images that are left out, such as those on the blacklist of the ImageNet challenge."""

import os
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path, PurePosixPath

from keras_inception.errors import InputError

_VALIDATION_NAME = "ILSVRC2012_val_{:08d}"


class Exclusions:
    """A set of image names.

    Attributes:
        listed: how many different entries there are.
        met: how many images `leave_out` was true for.
    """

    def __init__(self, entries: Iterable[str | int]):
        """Collect the names.

        Args:
            entries: names of images (whole, or only the last part, with or without its ending), or
                whole numbers from 1, which mean the image `ILSVRC2012_val_<number>` of ImageNet's
                validation set, or the image of that position if the dataset gives no names.

        Raises:
            InputError: for an entry that is neither, or a number below 1.
        """
        self._names: set[str] = set()
        entries = list(dict.fromkeys(entries))
        for entry in entries:
            self._add(entry)
        self.listed = len(entries)
        self._example = _in_words(entries[0]) if entries else ""
        self.met = 0

    def leave_out(self, name: str) -> bool:
        """Tell whether the image of that name is left out, and count it if so."""
        found = self._lists(name)
        self.met += found
        return found

    def require_any_of(self, names: Iterable[str]) -> None:
        """Raise `InputError` if there are images, but the list has none of them.

        Args:
            names: of all images of a dataset; they are read up to the first that is listed.
        """
        first = None
        for name in names:
            if self._lists(name):
                return
            first = name if first is None else first
        if first is not None:
            raise InputError(
                f"None of the {self.listed} images that exclude lists, such as {self._example}, is "
                f"in the dataset, whose images are called like {first!r}. List the images as the "
                "dataset calls them, or leave exclude (--exclude) out."
            )

    def _lists(self, name: str) -> bool:
        path = PurePosixPath(name.replace("\\", "/"))
        return not self._names.isdisjoint((name, path.name, path.stem))

    def _add(self, entry: object) -> None:
        if _is_number(entry) and entry >= 1:
            self._names |= {str(entry), _VALIDATION_NAME.format(entry)}
        elif isinstance(entry, str) and entry:
            self._names.add(entry)
        else:
            raise InputError(
                f"exclude lists {entry!r}; expected names of images or validation numbers from 1."
            )


def _is_number(entry: object) -> bool:
    return isinstance(entry, Integral) and not isinstance(entry, bool)


def _in_words(entry: str | int) -> str:
    return f"{entry} ({_VALIDATION_NAME.format(entry)})" if _is_number(entry) else repr(entry)


def exclusions(exclude: Iterable[str | int] | str | os.PathLike | None) -> Exclusions:
    """Return the images to leave out.

    Args:
        exclude: names or numbers as in `Exclusions`; or the path of a text file with one of them
            per line, empty lines and lines that begin with `#` skipped; or None.

    Returns:
        The set, perhaps empty.

    Raises:
        InputError: if the file cannot be read or is empty, or an entry is neither name nor number.
    """
    if exclude is None:
        return Exclusions(())
    if not isinstance(exclude, str | os.PathLike):
        return Exclusions(exclude)
    try:
        lines = Path(exclude).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list of images to exclude cannot be read: {error}") from error
    entries = [line.strip() for line in lines]
    entries = [entry for entry in entries if entry and not entry.startswith("#")]
    if not entries:
        raise InputError(
            f"The list of images to exclude, {os.fspath(exclude)}, is empty; expected a name or a "
            "number a line."
        )
    return Exclusions(int(entry) if _is_plain(entry) else entry for entry in entries)


def _is_plain(entry: str) -> bool:
    """Whether a line is a number: with zeros in front it is a name."""
    return entry.isdecimal() and entry == str(int(entry))
