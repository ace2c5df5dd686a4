"""The public checkpoints of the family, as typed entries of `weights_manifest.json`."""

import dataclasses
import difflib
import functools
import itertools
import json
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from keras_inception.errors import InputError, unknown
from keras_inception.preprocessing import Preprocessing

# From strong to weak; the last is the first digits of a SHA-256, as they stand in file names.
Algorithm = Literal["sha512", "sha384", "sha256", "sha1", "md5", "sha256-prefix"]
Subject = Literal["file", "archive", "member"]
Format = Literal["tf_checkpoint", "keras_h5", "safetensors", "torch", "onnx", "caffemodel"]

ALIASES = {"InceptionV1": "GoogLeNet"}
"""Other names of the models."""

_EXTRAS = {"torch": "torch", "onnx": "onnx"}  # formats that need an extra of this package
_ENDINGS = {"tf_checkpoint": "ckpt", "keras_h5": "h5", "torch": "pth"}  # others: the format's name


@dataclasses.dataclass(frozen=True)
class Checksum:
    """A published checksum.

    Attributes:
        algorithm: what it was made with; "sha256-prefix": the value is only the beginning.
        value: hexadecimal digits, lower case.
        of: what it is the sum of: the "file" that is downloaded, the "archive" that is
            downloaded, or the first "member" of that archive.
        source: where it is stated.
        confidence: who states it: the "publisher" of the file, a named "third-party", code of an
            unnamed party "corroborated" by the file's name, or the publisher in the "file-name".
            Nothing less trustworthy is in the manifest.
    """

    algorithm: Algorithm
    value: str
    of: Subject
    source: str
    confidence: Literal["publisher", "third-party", "corroborated", "file-name"]

    def __str__(self) -> str:
        """Return it as "algorithm:value"."""
        return f"{self.algorithm}:{self.value}"


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A published score, in percent; what was not measured is None.

    Attributes:
        dataset: for example "ImageNet 2012 validation" or "LFW".
        top1: share of the images whose class has the highest score.
        top5: share of the images whose class is among the five highest scores.
        pairs: share of face pairs judged rightly.
        protocol: how it was measured; scores of different protocols do not compare.
        source: where it is stated.
    """

    dataset: str
    top1: float | None
    top5: float | None
    pairs: float | None
    protocol: str
    source: str


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One public set of weights. What no source states is None.

    Attributes:
        id: its name in this package.
        model: the builder it belongs to, for example "InceptionV4".
        architecture: the variant of that network that it needs.
        publisher: whose naming of tensors it has, as `assign` takes it.
        origin: who published it.
        urls: where it is downloaded from, the official address first; empty if it can only be
            fetched by hand.
        manual_url: a page that hands it to a browser.
        archive: the kind of archive that is downloaded; None: the file itself.
        members: the files of the archive that are needed; the first one is what
            `read_checkpoint` takes.
        format: the file format.
        size_bytes: size of the download.
        checksums: every checksum known.
        classes: outputs of the classifier inside; 0: there is none.
        background_class: whether output 0 is a background class.
        aux_heads: whether tensors of auxiliary heads are inside.
        embedding_size: units of the bottleneck before the classes, if there is one.
        input_size: height, width and channels that it was trained or evaluated with.
        preprocessing: what brings an image to that size and range.
        preprocessing_note: which part of `preprocessing` is not stated by the publisher.
        epsilon: that of its batch norm where it is not the 1e-3 of all others.
        accuracy: published scores.
        licence: SPDX identifier.
        licence_note: what the licence was stated for, and contradictions.
        deviations: how it departs from the paper.
        notes: what else one should know.
        sources: where each group of facts was found.
        default: whether `weights="imagenet"` means this one.
        default_reason: why.
    """

    id: str
    model: str
    architecture: Literal["paper", "slim", "caffe", "torchvision", "fid", "facenet"]
    publisher: Literal[
        "slim", "keras", "torchvision", "timm", "cadene", "facenet", "osmr", "pytorch_fid", "caffe"
    ]
    origin: str
    urls: tuple[str, ...]
    manual_url: str | None
    archive: Literal["tar.gz", "zip"] | None
    members: tuple[str, ...]
    format: Format
    size_bytes: int | None
    checksums: tuple[Checksum, ...]
    classes: int | None
    background_class: bool | None
    aux_heads: bool | None
    embedding_size: int | None
    input_size: tuple[int, int, int]
    preprocessing: Preprocessing
    preprocessing_note: str | None
    epsilon: float | None
    accuracy: tuple[Accuracy, ...]
    licence: str | None
    licence_note: str
    deviations: tuple[str, ...]
    notes: str | None
    sources: dict[str, str]
    default: bool
    default_reason: str | None

    def __post_init__(self) -> None:
        """Check the id, which becomes the name of a file."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.id):
            raise InputError(f"{self.id!r} is no id: only letters, digits, and . _ - within.")

    @property
    def extra(self) -> str | None:
        """The extra of this package that reading it needs, if any."""
        return _EXTRAS.get(self.format)

    @property
    def file_name(self) -> str:
        """A name for the download that no other checkpoint has: the id and the usual ending."""
        return f"{self.id}.{self.archive or _ENDINGS.get(self.format, self.format)}"

    def strongest_checksum(self, of: str | None = None) -> Checksum | None:
        """Return the checksum by the strongest algorithm.

        Args:
            of: "file", "archive" or "member"; None: whatever is downloaded.

        Returns:
            The checksum, or None if none is known. One whose algorithm is "sha256-prefix" is to
            be compared with the beginning of the SHA-256.

        Raises:
            InputError: for another `of`; names it.
        """
        if of is None:
            of = "file" if self.archive is None else "archive"
        if of not in typing.get_args(Subject):
            raise unknown("subject of a checksum", of, typing.get_args(Subject))
        strength = typing.get_args(Algorithm).index
        known = (checksum for checksum in self.checksums if checksum.of == of)
        return min(known, key=lambda checksum: strength(checksum.algorithm), default=None)


class CheckpointList(list[Checkpoint]):
    """Checkpoints; shown as a table."""

    def __repr__(self) -> str:
        """Return a line for each, under its model and architecture."""
        rows = [("", "id", "classes", "top-1 / 5 %"), *map(_row, self)]
        star, name, classes, score = (max(map(len, column)) for column in zip(*rows, strict=True))
        header, *lines = (
            f"{row[0]:{star}}  {row[1]:{name}}  {row[2]:>{classes}}  {row[3]:>{score}}"
            for row in rows
        )
        table = ["Public weights; * is what weights='imagenet' means", header]
        of_entries = zip(self, lines, strict=True)
        for (model, form), group in itertools.groupby(
            of_entries, lambda pair: (pair[0].model, pair[0].architecture)
        ):
            table += ["", f"{model}, {form}", *(line for _, line in group)]
        return "\n".join(table if self else [*table, "none"])

    __str__ = __repr__


def _row(entry: Checkpoint) -> Sequence[str]:
    """Return the star, the id, the classes, and the first published accuracy with a top-1 score."""
    scores = [accuracy for accuracy in entry.accuracy if accuracy.top1 is not None]
    score = f"{scores[0].top1} / {scores[0].top5 or '-'}" if scores else "-"
    return "*" if entry.default else "", entry.id, str(entry.classes or "-"), score


@dataclasses.dataclass(frozen=True)
class Unsupported:
    """A public checkpoint that this package does not load, and why.

    Attributes:
        id: what it is called here.
        publisher: who published it.
        format: its file format.
        url: where it is.
        reason: why it is not loaded, and what to take instead.
    """

    id: str
    publisher: str
    format: str
    url: str
    reason: str


@dataclasses.dataclass(frozen=True)
class DefaultWeights:
    """What `weights="imagenet"` means for one model.

    Attributes:
        default: id of the checkpoint, or None if the model has no public weights.
        reason: why this one.
    """

    default: str | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All of `weights_manifest.json`.

    Attributes:
        models: every model, with its default weights.
        weights: the checkpoints that this package loads, by id.
        unsupported: those that it does not.
    """

    models: dict[str, DefaultWeights]
    weights: dict[str, Checkpoint]
    unsupported: tuple[Unsupported, ...]


def info(weights_id: str) -> Checkpoint:
    """Return the manifest's entry of a checkpoint.

    Args:
        weights_id: for example "timm.inception_v4.tf_in1k".

    Raises:
        InputError: if there is no such id; names the nearest ones and the default of their models.

    Example:
        >>> info("timm.inception_v4.tf_in1k").licence
        'Apache-2.0'
    """
    weights = manifest().weights
    if weights_id not in weights:
        raise unknown_weights(weights_id)
    return weights[weights_id]


def unknown_weights(name: object) -> InputError:
    """Return the error for a name that is no id; there are too many ids to list them all.

    Args:
        name: what was given for an id, for example "imagenet", which only builders understand.
    """
    weights, defaults = manifest().weights, manifest().models
    spelled = {weights_id.lower(): weights_id for weights_id in weights}
    matches = difflib.get_close_matches(str(name).lower(), spelled, n=3, cutoff=0.5)
    near = [spelled[match] for match in matches]
    models = dict.fromkeys(weights[weights_id].model for weights_id in near) or defaults
    meant = [f"{m}: {defaults[m].default}" for m in models if defaults[m].default is not None]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return InputError(
        f"Unknown weights: {name!r}.{hint} What weights='imagenet' means: {', '.join(meant)}. "
        f"ki.list_weights(), or keras-inception weights list, names all {len(weights)}."
    )


def list_weights(model: str | None = None) -> CheckpointList:
    """Return the checkpoints that this package loads, in the manifest's order.

    Args:
        model: only those of this model, for example "InceptionV3".

    Returns:
        A list of entries; printed, it is the table of `keras-inception weights list`.

    Raises:
        InputError: if there is no such model; names the models.
    """
    name = None if model is None else _canonical(model)
    return CheckpointList(e for e in manifest().weights.values() if name in (None, e.model))


def architectures(model: str, publisher: str) -> tuple[str, ...]:
    """Return the architectures that a publisher's checkpoints of a model need.

    Args:
        model: for example "InceptionV3".
        publisher: as for `assign`, for example "torchvision".

    Raises:
        InputError: if there is no such model; names the models.
    """
    entries = [entry for entry in list_weights(model) if entry.publisher == publisher]
    return tuple(dict.fromkeys(entry.architecture for entry in entries))


def default_weights(model: str) -> Checkpoint | None:
    """Return what `weights="imagenet"` means for a model; None if it has no public weights.

    Args:
        model: for example "InceptionV3".

    Raises:
        InputError: if there is no such model; names the models.
    """
    weights_id = manifest().models[_canonical(model)].default
    return None if weights_id is None else info(weights_id)


def _canonical(model: str) -> str:
    """Return the name of a model that the manifest has it under."""
    name, models = ALIASES.get(model, model), manifest().models
    if name not in models:
        raise unknown("model", model, [*models, *ALIASES])
    return name


def preprocessing(weights_id: str) -> Preprocessing:
    """Return the preprocessing that belongs to a checkpoint.

    Args:
        weights_id: for example "timm.inception_v4.tf_in1k".

    Raises:
        InputError: if there is no such id; names the nearest ones.

    Example:
        >>> preprocessing("bvlc.googlenet").channel_order
        'BGR'
    """
    return info(weights_id).preprocessing


@functools.cache
def manifest() -> Manifest:
    """Return the whole manifest; it is read and checked once, when first needed.

    Raises:
        InputError: if the file is damaged; names the entry and the field.
    """
    package = Path(__file__).resolve().parents[1]
    bundled = package / "weights_manifest.json"  # in a wheel; in a checkout it is one level up
    return read_manifest(bundled if bundled.exists() else package.parent / bundled.name)


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest.

    Args:
        path: a JSON file of the form of `weights_manifest.json`.

    Raises:
        InputError: if it is no JSON, or an entry lacks a field, has an unknown one, or one of
            another type or value than its dataclass says; names the entry and the field.
    """
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read the manifest {path}: {error}.") from error
    try:
        return _manifest(document)
    except InputError as error:
        raise InputError(f"The manifest {path} is damaged: {error}") from error


def _manifest(document: Any) -> Manifest:
    """Build the manifest from its JSON document."""
    _check_keys(Manifest, document, "the document")
    models = {
        name: _record(DefaultWeights, fields, f"model {name}")
        for name, fields in _of_type(document["models"], dict, "models").items()
    }
    reasons = {m.default: m.reason for m in models.values() if m.default is not None}
    weights: dict[str, Checkpoint] = {}
    for fields in _of_type(document["weights"], list, "weights"):
        entry = _checkpoint(fields, reasons)
        if entry.id in weights:
            raise InputError(f"{entry.id}: the id stands twice.")
        if entry.model not in models:
            raise unknown(f"model of {entry.id}", entry.model, models)
        weights[entry.id] = entry
    for name, model in models.items():
        named = None if model.default is None else weights.get(model.default)
        if model.default is not None and (named is None or named.model != name):
            raise InputError(f"the default of {name}, {model.default}, is no entry of that model.")
    unsupported = _value(document["unsupported"], tuple[Unsupported, ...], "unsupported")
    return Manifest(models, weights, unsupported)


def _checkpoint(fields: Any, reasons: dict[str, str]) -> Checkpoint:
    """Build one entry; size, default and reason are stated once, elsewhere in the document."""
    where = str(fields.get("id", "an entry without id")) if isinstance(fields, dict) else "an entry"
    fields = dict(_of_type(fields, dict, where))
    size = _value(fields.get("input_size"), tuple[int, int, int], f"{where}: input_size")
    scaling = _of_type(fields.pop("preprocessing", None), dict, f"{where}: preprocessing")
    _check_keys(Preprocessing, {"size": size} | scaling, f"{where}: preprocessing")
    try:
        prepared = Preprocessing(size=size[:2], **scaling)
    except InputError as error:
        raise InputError(f"{where}: preprocessing: {error}") from error
    reason = reasons.get(where)
    given = {"preprocessing": prepared, "default": reason is not None, "default_reason": reason}
    return _record(Checkpoint, fields, where, given)


def _record(kind: type, fields: Any, where: str, given: dict[str, Any] | None = None) -> Any:
    """Build a dataclass from a JSON object; `given` fields are not in the object."""
    given = given or {}
    _check_keys(kind, given | _of_type(fields, dict, where), where)
    hints = typing.get_type_hints(kind)
    parsed = {name: _value(fields[name], hints[name], f"{where}: {name}") for name in fields}
    return kind(**parsed, **given)


def _value(value: Any, hint: Any, where: str) -> Any:
    """Check a JSON value against a type and return it so; lists become tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _value(value, inner, where)
    if origin is Literal:
        if value not in arguments:
            raise unknown(f"value of {where}", value, arguments)
        return value
    if origin is tuple:
        values = _of_type(value, list, where)
        if arguments[-1] is ...:
            arguments = arguments[:1] * len(values)
        if len(values) != len(arguments):
            raise InputError(f"{where} has {len(arguments)} values, but got {value!r}.")
        return tuple(map(_value, values, arguments, [where] * len(values)))
    if origin is dict:
        items = _of_type(value, dict, where).items()
        return {key: _value(item, arguments[1], f"{where}: {key}") for key, item in items}
    if dataclasses.is_dataclass(hint):
        return _record(hint, value, where)
    if hint is float and type(value) is int:
        return float(value)
    return _of_type(value, hint, where)


def _of_type(value: Any, kind: type, where: str) -> Any:
    """Return a value of exactly this type, or say that it is none."""
    if type(value) is not kind:
        raise InputError(f"{where} is {value!r}, but must be of type {kind.__name__}.")
    return value


def _check_keys(kind: type, fields: Any, where: str) -> None:
    """Refuse missing and unknown fields."""
    known = {field.name for field in dataclasses.fields(kind)}
    if missing := sorted(known - set(_of_type(fields, dict, where))):
        raise InputError(f"{where} lacks {', '.join(missing)}.")
    if extra := sorted(set(fields) - known):
        raise unknown(f"field of {where}", extra[0], sorted(known))
