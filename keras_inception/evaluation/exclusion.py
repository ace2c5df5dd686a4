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
        entries = set(entries)
        for entry in entries:
            self._add(entry)
        self.listed = len(entries)
        self.met = 0

    def leave_out(self, name: str) -> bool:
        """Tell whether the image of that name is left out, and count it if so."""
        path = PurePosixPath(name.replace("\\", "/"))
        found = not self._names.isdisjoint((name, path.name, path.stem))
        self.met += found
        return found

    def _add(self, entry: object) -> None:
        if isinstance(entry, Integral) and not isinstance(entry, bool) and entry >= 1:
            self._names |= {str(entry), _VALIDATION_NAME.format(entry)}
        elif isinstance(entry, str) and entry:
            self._names.add(entry)
        else:
            raise InputError(
                f"exclude lists {entry!r}; expected names of images or validation numbers from 1."
            )


def exclusions(exclude: Iterable[str | int] | str | os.PathLike | None) -> Exclusions:
    """Return the images to leave out.

    Args:
        exclude: names or numbers as in `Exclusions`; or the path of a text file with one of them
            per line, empty lines and lines that begin with `#` skipped; or None.

    Returns:
        The set, perhaps empty.

    Raises:
        InputError: if the file cannot be read, or an entry is neither name nor number.
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
    return Exclusions(int(entry) if entry.isdecimal() else entry for entry in entries)
