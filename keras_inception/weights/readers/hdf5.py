"""Access to an HDF5 file of unknown origin: nothing outside it, nothing larger than it."""

from collections.abc import Iterator

import h5py
import ml_dtypes
import numpy as np

from keras_inception.errors import InputError
from keras_inception.weights.readers.guards import Budget


class Hdf5:
    """An open HDF5 file whose links and sizes are checked at every step.

    Args:
        file: open for reading.
        size: of the file in bytes.

    Attributes:
        root: the topmost group.
    """

    def __init__(self, file: h5py.File, size: int):
        """Allow the arrays together to be as large as the file."""
        self.root = file
        self._size = size
        self._budget = Budget(size)
        self._seen: set[int] = set()

    def has(self, group: h5py.Group, name: str) -> bool:
        """Say whether a group has an entry of a name, without following where it leads.

        Args:
            group: where to look.
            name: without "/".

        Returns:
            True if it is there, be it only a link.
        """
        return group.id.links.exists(name.encode())

    def child(self, group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
        """Return what stands at a path below a group.

        Args:
            group: where to start.
            path: names with "/" between them.

        Returns:
            The group or dataset.

        Raises:
            InputError: if it is missing, or reached by a link that could lead out of the file.
        """
        found = group
        for part in path.split("/"):
            is_inside = isinstance(found, h5py.Group) and part not in ("", ".")
            if not is_inside or not self.has(found, part):
                raise InputError(f"{group.name} has no entry {path!r}, though the file names it.")
            if found.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
                raise InputError(f"{found.name} has {part!r} as a link: links are not followed.")
            found = found[part]
        return found

    def children(self, group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
        """Yield the entries of a group, each group once.

        Args:
            group: of which the entries are wanted.

        Yields:
            Name and entry.

        Raises:
            InputError: if the group was asked for before under another name, as in a file that is
                knotted to be endless.
        """
        address = h5py.h5o.get_info(group.id).addr
        if address in self._seen:
            raise InputError(f"group {group.name} stands under two names, which Keras never does.")
        self._seen.add(address)
        for name in group:
            yield name, self.child(group, name)

    def texts(self, holder: h5py.Group | h5py.Dataset, name: str) -> list[str]:
        """Return an attribute that lists names, which Keras splits where it grows too long.

        Args:
            holder: group or dataset with the attribute.
            name: of the attribute; a split one has 0, 1, ... behind it.

        Returns:
            The names; an empty list if there is no such attribute.

        Raises:
            InputError: if the attribute holds anything but text.
        """
        if name in holder.attrs:
            return self._attribute(holder, name)
        texts: list[str] = []
        part = 0
        while f"{name}{part}" in holder.attrs:
            texts.extend(self._attribute(holder, f"{name}{part}"))
            part += 1
        return texts

    def _attribute(self, holder: h5py.Group | h5py.Dataset, name: str) -> list[str]:
        """Return the texts of one attribute, a single one as a list."""
        stored = holder.attrs.get_id(name)
        Budget(self._size).claim(f"{holder.name}@{name}", stored.shape, stored.dtype.itemsize)
        values = np.ravel(holder.attrs[name]).tolist()
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"attribute {name!r} of {holder.name} should be text, is {values[:3]}."
            )
        return texts

    def array(self, dataset: h5py.Dataset) -> np.ndarray:
        """Read a dataset whole.

        Args:
            dataset: of numbers, stored in this file without compression.

        Returns:
            The array; what Keras marked as bfloat16 has that dtype.

        Raises:
            InputError: if it is stored in another way, or declares more bytes than are stored.
        """
        name = dataset.name
        if dataset.external or dataset.is_virtual:
            raise InputError(f"dataset {name} lies in other files, which are not opened.")
        if dataset.id.get_create_plist().get_nfilters():
            raise InputError(
                f"dataset {name} is compressed, which no version of Keras does: "
                "unpack it with `h5repack -f NONE old.h5 new.h5`."
            )
        # h5py has no bfloat16: Keras writes two bytes without a meaning, and marks them.
        is_opaque = dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2
        is_bfloat16 = is_opaque and self.texts(dataset, "dtype") == ["bfloat16"]
        if dataset.shape is None or dataset.dtype.kind not in "fiub" and not is_bfloat16:
            raise InputError(f"dataset {name} holds {dataset.dtype}, not numbers.")
        declared = self._budget.claim(name, dataset.shape, dataset.dtype.itemsize)
        stored = dataset.id.get_storage_size()
        if declared > stored:
            raise InputError(f"dataset {name} declares {declared:,} bytes, but stores {stored:,}.")
        array = np.asarray(dataset[()])
        return array.view(ml_dtypes.bfloat16) if is_bfloat16 else array
