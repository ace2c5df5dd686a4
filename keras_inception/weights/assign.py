"""Putting the tensors of a checkpoint into a model: all of them, each once, or none."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.weights.manifest import list_weights
from keras_inception.weights.mapping import PUBLISHERS, scheme_of
from keras_inception.weights.mapping.conversion import to_keras
from keras_inception.weights.mapping.pairing import pair
from keras_inception.weights.mapping.scheme import Scheme
from keras_inception.weights.mapping.units import (
    Place,
    Slot,
    head,
    is_class_head,
    is_foreign,
    slots,
)

_SHOWN = 3


@dataclass(frozen=True)
class Assignment:
    """What `assign` did. Variables are named "layer/variable".

    Attributes:
        loaded: variable of the model to the tensor of the file that it was given.
        adapted: variable to what was done to its tensor beyond moving axes: classes cut out, image
            channels summed or repeated.
        ones: variables set to one because the publisher's files have none of the kind: gammas.
        kept: variables left as they were: class heads, with `skip_head`.
        dropped: tensor of the file that was not used, to why.
    """

    loaded: Mapping[str, str]
    adapted: Mapping[str, str]
    ones: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: Mapping[str, str]


def assign(
    model: keras.Model,
    tensors: Mapping[str, Any],
    publisher: str,
    *,
    skip_head: bool = False,
) -> Assignment:
    """Load the tensors of a checkpoint into a network of this package.

    Strict both ways: every variable of the model gets a tensor, and every tensor of the file is
    used exactly once, or is of a kind that is dropped, which the result lists: counters and
    optimizer state, and heads that the model does not have (`include_top=False`,
    `aux_heads=False`). Names are compared first, then shapes, then values. All checks come before
    the first change: a file that is refused leaves the model as it was.

    Class heads of 1001 classes (a background class first) and 1008 (the graph of 2015) fit models
    with as many classes, and models with 1000, which get the ImageNet classes 1 to 1000; that
    holds for auxiliary heads too. A model with another number of image channels than the file
    gets an adapted first convolution, which responds to a grey image (all channels equal) as the
    original does: for one or two channels the kernels are summed and shared out; for more than
    three they are repeated in turn, each divided by how often it occurs. (TF-Slim's separable first
    layer takes no fewer than three.)

    Args:
        model: built by this package, with the architecture that the weights need. Layers added to
            it are taken for class heads.
        tensors: name to array, as `read_checkpoint` gives them.
        publisher: who made the file: one of "slim", "keras", "torchvision", "timm", "cadene",
            "facenet", "osmr", "pytorch_fid", "caffe"; or "keras_inception" for this package's own.
        skip_head: leave the class heads (`logits`, auxiliary ones too) of the model as they are,
            and drop those of the file.

    Returns:
        What was loaded, adapted and dropped.

    Raises:
        InputError: if the publisher is unknown; if variables are missing in the file, tensors are
            left over or have other shapes, each with a few names and a count; if a tensor holds
            NaN or infinity.

    Example:
        >>> model = ki.InceptionV4(weights=None)
        >>> assign(model, read_checkpoint("inception_v4.ckpt"), "slim").adapted["logits/bias"]
        'classes 1 to 1000 of 1001'
    """
    return assign_kept(model, tensors, publisher, is_class_head if skip_head else _nothing)


def assign_kept(
    model: keras.Model,
    tensors: Mapping[str, Any],
    publisher: str,
    is_kept: Callable[[Place], bool],
) -> Assignment:
    """See `assign`; what `is_kept` says of a place decides what the model keeps of its own."""
    scheme = scheme_of(publisher, tensors)
    held = slots(model)
    kept = [slot for slot in held if is_kept(slot.place)]
    needed = [slot for slot in held if not is_kept(slot.place)]
    names, dropped, strange = _sort(tensors, scheme, held, is_kept)
    pairs = pair(scheme.regroup(needed), names)

    has_gamma = scheme.has_gamma or any(place.role == "gamma" for place in names)
    ones = [slot for slot in pairs.missing if slot.place.role == "gamma" and not has_gamma]
    missing = [slot for slot in pairs.missing if slot not in ones]
    values, adapted, misshaped = [], {}, []
    for slot, name in pairs.matched:
        tensor = np.asarray(tensors[name])
        value, note = to_keras(tensor, slot, scheme.output_first)
        if value.shape != tuple(slot.variable.shape):
            misshaped.append((slot, name, tensor.shape))
        if note:
            adapted[slot.name] = note
        values.append(value)
    left_over = strange + pairs.left_over
    if missing or left_over or misshaped:
        raise _refusal(model, publisher, tensors, missing, left_over, misshaped)
    for _, name in pairs.matched:
        _check_numbers(name, tensors[name])

    for (slot, _), value in zip(pairs.matched, values, strict=True):
        slot.variable.assign(value)
    for slot in ones:
        slot.variable.assign(np.ones(slot.variable.shape))
    for layer in {slot.layer for slot, _ in pairs.matched}:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes by copies of its variables
    return Assignment(
        loaded={slot.name: name for slot, name in pairs.matched},
        adapted=adapted,
        ones=tuple(slot.name for slot in ones),
        kept=tuple(slot.name for slot in kept),
        dropped=dropped,
    )


def _nothing(place: Place) -> bool:
    return False


def heads_in(tensors: Collection[str], publisher: str) -> set[str]:
    """Return the heads that a file has variables of: "logits", "aux_conv1", "bottleneck", ...

    Args:
        tensors: their names.
        publisher: as for `assign`.

    Raises:
        InputError: if the publisher is unknown.
    """
    places = scheme_of(publisher, tensors).locate(tensors).values()
    return {place.block for place in places if place is not None and place.family == "head"}


def class_count(tensors: Mapping[str, Any], publisher: str) -> int | None:
    """Return the number of classes, a background included, in a file; None if it has no head.

    Args:
        tensors: name to array.
        publisher: as for `assign`.

    Raises:
        InputError: if the publisher is unknown.
    """
    places = scheme_of(publisher, tensors).locate(tensors)
    biases = [name for name, place in places.items() if place == head("logits", "bias")]
    return int(np.size(tensors[biases[0]])) if biases else None


def _sort(
    tensors: Collection[str],
    scheme: Scheme,
    held: Sequence[Slot],
    is_kept: Callable[[Place], bool],
) -> tuple[dict[Place, str], dict[str, str], list[str]]:
    """Sort the names of a file: those to be paired, the dropped with why, and the strange."""
    names, strange = {}, []
    dropped = {
        name: reason
        for name in tensors
        for pattern, reason in scheme.dropped.items()
        if re.fullmatch(pattern, name)
    }
    relevant = [name for name in tensors if name not in dropped]
    heads = {slot.place.block for slot in held if slot.place.family == "head"}
    for name, place in scheme.locate(relevant).items():
        if place is None or place in names:
            strange.append(name)
        elif is_kept(place):
            dropped[name] = "a class head, skipped as asked"
        elif place.family == "head" and place.block not in heads:
            dropped[name] = f"the model has no {place.block}"
        else:
            names[place] = name
    return names, dropped, strange


def _check_numbers(name: str, tensor: Any) -> None:
    values = np.asarray(tensor)
    finite = np.isfinite(values)
    if not finite.all():
        raise InputError(
            f"Tensor {name!r} holds NaN or infinity in {np.size(finite) - finite.sum()} of "
            f"{values.size} values; nothing was loaded. Fetch the file again."
        )


def _refusal(
    model: keras.Model,
    publisher: str,
    tensors: Mapping[str, Any],
    missing: Sequence[Slot],
    left_over: Sequence[str],
    misshaped: Sequence[tuple[Slot, str, tuple[int, ...]]],
) -> InputError:
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing in it: {_few([slot.name for slot in missing])}")
    if left_over:
        parts.append(f"{len(left_over)} left over: {_few(left_over)}")
    if misshaped:
        shapes = [
            f"{slot.name} {tuple(slot.variable.shape)} from {name} {shape}"
            for slot, name, shape in misshaped
        ]
        parts.append(f"{len(misshaped)} of another shape: {_few(shapes)}")
    flawed = [*missing, *(slot for slot, *_ in misshaped)]
    only_misshaped = not missing and not left_over
    if only_misshaped and all(slot.is_first for slot in flawed):
        mend = (
            "The first layer, of another number of image channels than the file's, can be adapted "
            "to more channels than three, and to fewer unless it is separable. Build the model for "
            "three channels, and repeat those of grey images."
        )
    elif only_misshaped and all(slot.grid for slot in flawed):
        mend = (
            "The auxiliary heads look at all of a grid, whose size follows from that of the "
            "images. Build the model for the file's image size, or with aux_heads=False."
        )
    elif flawed and not left_over and all(is_class_head(slot.place) for slot in flawed):
        mend = "Build the model with the classes of the file, or keep its own head: skip_head=True."
    elif others := _others(publisher, tensors):
        mend = f"The names are those of publisher {' or '.join(map(repr, others))}."
    else:
        mend = (
            f"Build the model with the architecture{_needed(model, publisher)}, the heads and the "
            "width that the file was made with, or check the publisher."
        )
    return InputError(
        f"These weights do not fit {model.name} as a file of publisher {publisher!r}; nothing was "
        f"loaded: {'; '.join(parts)}. {mend}"
    )


def _needed(model: keras.Model, publisher: str) -> str:
    """Return in brackets what the publisher's public checkpoints of a network need, if known."""
    slug = model.name.replace("_", "")
    forms = {
        f"architecture={entry.architecture!r}"
        for entry in list_weights()
        if (entry.model.lower(), entry.publisher) == (slug, publisher)
    }
    return f" ({' or '.join(sorted(forms))})" if forms else ""


def _others(publisher: str, names: Collection[str]) -> list[str]:
    """Return the publishers whose names these are, unless they are this one's."""
    fitting = [
        candidate
        for candidate, schemes in PUBLISHERS.items()
        if any(_knows_all(scheme, names) for scheme in schemes)
    ]
    return [] if publisher in fitting else fitting


def _knows_all(scheme: Scheme, names: Collection[str]) -> bool:
    places, _, strange = _sort(names, scheme, (), _nothing)
    return not strange and not any(map(is_foreign, places))


def _few(items: Sequence[str]) -> str:
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
