"""Where the weights of a model come from: the manifest, or a file of this package."""

import contextlib
import os
import random
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError, import_extra, unknown
from keras_inception.files import atomic_path
from keras_inception.weights import cache, manifest, storage
from keras_inception.weights.assign import (
    Assignment,
    assign,
    assign_kept,
    class_count,
    heads_in,
)
from keras_inception.weights.mapping import scheme_of
from keras_inception.weights.mapping.conversion import IMAGENET_CLASSES, classes_fit
from keras_inception.weights.mapping.units import is_class_head, is_foreign
from keras_inception.weights.own_files import (
    OWN_ENDINGS,
    Trunk,
    architecture_of,
    check_order,
    is_own,
)
from keras_inception.weights.readers import read_checkpoint

Build = Callable[..., keras.Model]

CONVERTER_VERSION = "1"
"""To be changed whenever converting a checkpoint gives another file; part of the cached names."""

_ORIGINS: weakref.WeakKeyDictionary[keras.Model, manifest.Checkpoint] = weakref.WeakKeyDictionary()

_OWN = "keras_inception"
_HOW_TO_CONVERT = (
    f"Files of this package end in {' or '.join(OWN_ENDINGS)}; other checkpoints are made one by: "
    "keras-inception weights convert IN OUT --model MODEL --publisher PUBLISHER"
)


@dataclass(frozen=True)
class NamedWeights:
    """A checkpoint of the manifest.

    Attributes:
        entry: what the manifest says of it.
    """

    entry: manifest.Checkpoint

    @property
    def architecture(self) -> str:
        """The form of the network that the weights need."""
        return self.entry.architecture

    def load(self, model: keras.Model, build: Build) -> Assignment:
        """Load the checkpoint into a model; fetch and convert it unless that was done before.

        If the model has other classes than the checkpoint, only the rest is loaded. What is kept
        in the cache folder is the whole checkpoint in our names, so that another time needs no
        extra of its format.

        Args:
            model: of the network and architecture of the checkpoint.
            build: as for `convert`.

        Returns:
            What was loaded.

        Raises:
            InputError: if the checkpoint cannot be had, or does not fit.
        """
        convert_whole = partial(convert, build=build, publisher=self.entry.publisher)
        if self.entry.extra and not _is_converted(self.entry):
            import_extra(self.entry.extra, self.entry.extra)  # before much is fetched
        path = cache.converted(self.entry, CONVERTER_VERSION, convert_whole)
        tensors = read_checkpoint(path)
        if not any(head.startswith("aux") for head in heads_in(tensors, _OWN)):
            self._refuse_aux_heads(any(layer.name.startswith("aux") for layer in model.layers))
        other_classes = self._has_other_classes(model, class_count(tensors, _OWN))
        try:
            assignment = assign_kept(
                model, tensors, _OWN, is_class_head if other_classes else is_foreign
            )
        except InputError as error:
            raise InputError(f"Weights {self.entry.id!r}: {error}") from error
        _ORIGINS[model] = self.entry
        return assignment

    def check_aux_heads(self, wanted: bool) -> None:
        """Refuse, before anything is built or fetched, heads that the weights are known to lack.

        Args:
            wanted: whether the model is to have auxiliary heads.

        Raises:
            InputError: naming weights that have them.
        """
        if self.entry.aux_heads is False:
            self._refuse_aux_heads(wanted)

    def _refuse_aux_heads(self, wanted: bool) -> None:
        if wanted:
            having = [
                other.id
                for other in manifest.list_weights(self.entry.model)
                if other.aux_heads and other.architecture == self.entry.architecture
            ]
            raise InputError(
                f"Weights {self.entry.id!r} have no auxiliary heads. Build the model with "
                f"aux_heads=False, or with weights that have: {', '.join(having) or 'none'}."
            )

    def _has_other_classes(self, model: keras.Model, in_file: int | None) -> bool:
        wanted = _units(model)
        if not wanted or _serves(in_file, wanted):
            return False
        if wanted == IMAGENET_CLASSES:
            warnings.warn(
                f"Weights {self.entry.id!r} have {in_file or 'no'} classes: the class head of the "
                f"model with its {wanted} is left random. For features, build the model with "
                "include_top=False.",
                stacklevel=4,
            )
        return True


@dataclass(frozen=True)
class OwnFile:
    """A `.weights.h5` or `.keras` file of a network of this package.

    Attributes:
        path: of the file.
        architecture: of the network that it was written from, as far as its layers say.
        tensors: what is in it.
    """

    path: Path
    architecture: str | None
    tensors: Mapping[str, np.ndarray] = field(repr=False, compare=False)

    def load(self, model: keras.Model, build: Build) -> Assignment:
        """Load the file into a model, by the names of the layers and not by their order.

        Args:
            model: built as that which the file was written from; heads may be left out.
            build: as for every source; a file of our own needs no converting.

        Returns:
            What was loaded.

        Raises:
            InputError: if the file's layers stand under other names or in another order, or have
                other shapes.
        """
        try:
            self._check_classes(model)
            check_order(self.path, model)
            return assign(model, self.tensors, _OWN)
        except InputError as error:
            hint = "" if _is_ours(self.tensors) else f" {_HOW_TO_CONVERT}"
            raise InputError(f"{self.path}: {error}{hint}") from error

    def check_aux_heads(self, wanted: bool) -> None:
        """See `NamedWeights`; what a file lacks is told when it is loaded."""

    def _check_classes(self, model: keras.Model) -> None:
        wanted, in_file = _units(model), class_count(self.tensors, _OWN)
        if not wanted or not _is_ours(self.tensors) or _serves(in_file, wanted):
            return
        same = "" if in_file is None else f"Build the model with classes={in_file}. "
        raise InputError(
            f"The file has {in_file or 'no'} classes, the model has {wanted}. {same}To load all "
            "but the class head, build the model with weights=None, and then call "
            f"ki.weights.assign(model, ki.weights.read_checkpoint({str(self.path)!r}), "
            f"{_OWN!r}, skip_head=True)."
        )


def origin(model: keras.Model) -> manifest.Checkpoint | None:
    """Return which public weights a model was built with, whatever it learned since.

    Known as long as the very model lives: a `.keras` file says nothing of it.

    Args:
        model: that a builder returned; of any other it is not known.

    Returns:
        What the manifest says of the weights; None for others.
    """
    return _ORIGINS.get(model)


def find(
    weights: str | os.PathLike | None,
    model: str,
    architecture: str | None,
    width: float = 1.0,
    trunks: Iterable[tuple[str, Trunk]] = (),
) -> NamedWeights | OwnFile | None:
    """Return the source of the weights that a builder was asked for; nothing is downloaded yet.

    What a file was written from, its layers tell. Where they do not (see `architecture_of`), it is
    loaded into any network that has its tensors.

    Args:
        weights: None; "imagenet", the default of the model; an id of the manifest; or the path of
            a `.weights.h5` or `.keras` file of this package.
        model: name of the builder, for example "InceptionV4".
        architecture: that the builder was asked for, or None.
        width: of the model; public weights have 1.0.
        trunks: the architectures of the model that a file may have been written from, and their
            layers.

    Returns:
        The source: its `architecture` is what the weights need, None if that is not known; its
        `load(model, build)` loads them. None for no weights.

    Raises:
        InputError: if there are no such weights, near ids suggested; if they belong to another
            network, to another architecture than the one asked for, or to another width; if a
            path is none of a file of this package, or the file cannot be read.
        DownloadError: if the weights are not in the cache and the network is forbidden.
    """
    if weights is None:
        return None
    if not isinstance(weights, str | os.PathLike):
        raise InputError(f"weights is {weights!r}; expected a name, a path or None.")
    if weights == "imagenet":
        entry = manifest.default_weights(model)
        if entry is None:
            raise InputError(
                f"{model} has no public weights. Build it with weights=None and train it, or give "
                "the path of a file of your own."
            )
    elif (entry := manifest.manifest().weights.get(str(weights))) is None:
        return _own_file(_own_path(weights, model), model, architecture, trunks)
    _check_fit(entry, model, architecture, width)
    if storage.offline():
        _check_cache(entry)
    return NamedWeights(entry)


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    build: Build,
    publisher: str,
    *,
    aux_heads: bool | None = None,
) -> Assignment:
    """Write a checkpoint as a file of this package: all its classes and heads, bit for bit.

    Args:
        source: a file that `read_checkpoint` takes.
        target: a path that ends in `.weights.h5` or `.keras`; replaced in one step, at the end.
        build: builds the network that the checkpoint belongs to, in the architecture that it
            needs, with random weights, given some of the builders' `classes`, `include_top`,
            `pooling` and `aux_heads`. Such as
            `functools.partial(ki.build, "InceptionV3", weights=None, architecture="torchvision")`.
        publisher: who made the checkpoint, as for `assign`.
        aux_heads: convert auxiliary heads too; None: if the file has some and the network too.

    Returns:
        What was converted, and what of the file was dropped.

    Raises:
        InputError: if the target's ending is another, or the file cannot be read or does not fit.
        OSError: if the target cannot be written.

    Example:
        >>> build = functools.partial(ki.build, "InceptionV4", weights=None)
        >>> convert("inception_v4.ckpt", "inception_v4.weights.h5", build, "slim").dropped
        {}
    """
    if not is_own(Path(target)):
        raise InputError(f"{target} should end in {' or '.join(OWN_ENDINGS)}.")
    tensors = read_checkpoint(source)
    with _in_float32(), drawing_no_seeds():
        model = _built_for(tensors, build, publisher, aux_heads)
    assignment = assign(model, tensors, publisher)
    with atomic_path(target) as path:
        (model.save if path.suffix == ".keras" else model.save_weights)(path)
    return assignment


def _built_for(
    tensors: Mapping[str, Any], build: Build, publisher: str, aux_heads: bool | None
) -> keras.Model:
    """Build a network with the classes and the heads of a checkpoint."""
    heads = heads_in(tensors, publisher)
    if "logits" not in heads:
        pooling = "bottleneck" if "bottleneck" in heads else None
        return build(include_top=False, pooling=pooling)
    build = partial(build, classes=class_count(tensors, publisher))
    if aux_heads is not None:
        return build(aux_heads=aux_heads)
    if any(head.startswith("aux") for head in heads):
        with contextlib.suppress(InputError):  # torchvision's GoogLeNet has heads that ours has not
            return build(aux_heads=True)
    return build(aux_heads=False)


def _is_ours(names: Collection[str]) -> bool:
    """Whether a file has a variable that is named as in a network of this package."""
    places = scheme_of(_OWN, names).locate(names).values()
    return any(place is not None and place.family != "foreign" for place in places)


def _units(model: keras.Model) -> int | None:
    """Return the number of classes of a model; None if it has no class head."""
    return next((layer.units for layer in model.layers if layer.name == "logits"), None)


def _serves(in_file: int | None, wanted: int) -> bool:
    return in_file is not None and classes_fit(in_file, wanted)


@contextlib.contextmanager
def drawing_no_seeds() -> Iterator[None]:
    """Let what is built leave Python's random numbers, from which Keras draws seeds, as they are.

    Networks that a cache spares another time must not decide on the weights of those built next.
    """
    before = random.getstate()
    try:
        yield
    finally:
        random.setstate(before)


@contextlib.contextmanager
def _in_float32() -> Iterator[None]:
    """Build models with variables of full precision, whatever policy the caller has set."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _check_fit(
    entry: manifest.Checkpoint, model: str, architecture: str | None, width: float
) -> None:
    of_model = {other.id: other for other in manifest.list_weights(model)}
    if entry.model != model:
        raise InputError(
            f"Weights {entry.id!r} belong to {entry.model}, not to {model}. "
            f"{unknown(f'weights of {model}', entry.id, of_model)}"
        )
    if architecture not in (None, entry.architecture):
        fitting = [i for i, other in of_model.items() if other.architecture == architecture]
        raise InputError(
            f"Weights {entry.id!r} need architecture={entry.architecture!r}, not {architecture!r}. "
            f"Leave architecture out, or take weights of {architecture!r}: "
            f"{', '.join(fitting) or 'there are none'}."
        )
    if width != 1.0:
        raise InputError(
            f"Weights {entry.id!r} have width=1.0, not {width}. For another width build with "
            "weights=None."
        )


def _check_cache(entry: manifest.Checkpoint) -> None:
    """Refuse offline what is not in the cache, before a network is built for it."""
    if not _is_converted(entry):
        cache.fetch_checkpoint(entry)


def _is_converted(entry: manifest.Checkpoint) -> bool:
    try:
        return cache.converted_path(entry, CONVERTER_VERSION).is_file()
    except InputError:  # never fetched
        return False


def _own_file(
    path: Path, model: str, architecture: str | None, trunks: Iterable[tuple[str, Trunk]]
) -> OwnFile:
    tensors = read_checkpoint(path)
    found = architecture_of(path, trunks) if _is_ours(tensors) else None
    if None not in (architecture, found) and architecture != found:
        raise InputError(
            f"{path} was written from {model} with architecture={found!r}, not {architecture!r}. "
            f"Leave architecture out, or give weights of {architecture!r}."
        )
    return OwnFile(path, found, tensors)


def _own_path(weights: str | os.PathLike, model: str) -> Path:
    path = Path(weights)
    exists = path.exists() or path.with_name(f"{path.name}.index").is_file()
    if not exists and len(path.parts) == 1 and not is_own(path):
        ids = [entry.id for entry in manifest.list_weights(model)]
        reason = str(unknown(f"weights of {model}", str(weights), ["imagenet", *ids]))
        raise InputError(f"{reason} Nor is it the path of a file. {_HOW_TO_CONVERT}")
    if not exists:
        raise InputError(f"There is no file {path}. {_HOW_TO_CONVERT}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file. {_HOW_TO_CONVERT}")
    if not is_own(path):
        raise InputError(f"{path} is no file of this package. {_HOW_TO_CONVERT}")
    return path
