"""The datasets that can be evaluated, brought to one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_inception.errors import InputError
from keras_inception.evaluation.exclusion import Exclusions
from keras_inception.images import cannot_read, decode_image

if TYPE_CHECKING:
    import tensorflow as tf


def examples(dataset: Any, exclusions: Exclusions) -> tf.data.Dataset:
    """Bring a dataset to one form.

    Args:
        dataset: a split of `keras_inception.data` (anything with `examples()`), or an unbatched
            `tf.data.Dataset` of (image, label) or of dicts with "image", "label" and perhaps
            "name". Images are uint8 (height, width, 3 or 1) or encoded files, of any size.
        exclusions: images to leave out, counted there.

    Returns:
        A dataset of dicts: "index" int64, rising; "name" string, the position from 1 if the
        dataset has no names; "label" int64; "image" as it was.

    Raises:
        InputError: if the dataset is of another kind, batched, or endless, or if none of its
            images is among `exclusions`.
    """
    import tensorflow as tf

    source = dataset.examples() if hasattr(dataset, "examples") else dataset
    if not isinstance(source, tf.data.Dataset):
        raise InputError(
            f"Cannot evaluate on a {type(dataset).__name__}; expected a split of "
            "keras_inception.data or a tf.data.Dataset."
        )
    _check_element(source.element_spec)
    if source.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("The dataset never ends; evaluate on it without its repeat().")

    def unify(index: tf.Tensor, element: dict | tuple) -> dict:
        if isinstance(element, tuple):
            element = dict(zip(("image", "label"), element, strict=True))
        return {
            "index": index,
            "name": element.get("name", tf.strings.as_string(index + 1)),
            "label": tf.cast(element["label"], tf.int64),
            "image": element["image"],
        }

    def keep(example: dict) -> tf.Tensor:
        def listed(name: bytes) -> bool:
            return exclusions.leave_out(name.decode("utf-8", "replace"))

        return tf.logical_not(tf.numpy_function(listed, [example["name"]], tf.bool))

    unified = source.enumerate().map(unify)
    if not exclusions.listed:
        return unified
    names = unified.map(lambda example: example["name"]).as_numpy_iterator()
    try:
        exclusions.require_any_of(name.decode("utf-8", "replace") for name in names)
    except tf.errors.OpError as error:
        raise cannot_read("of the dataset", error) from error
    return unified.filter(keep)


def pixels(example: dict) -> dict:
    """Decode an example's image; works in a graph too."""
    return {**example, "image": decode_image(example["image"])}


def _check_element(spec: Any) -> None:
    """Raise `InputError` unless the elements are single images with labels."""
    import tensorflow as tf

    if isinstance(spec, tuple) and len(spec) == 2:
        spec = dict(zip(("image", "label"), spec, strict=True))
    if not isinstance(spec, dict) or not {"image", "label"} <= spec.keys():
        raise InputError(
            "The dataset's elements must be (image, label) or dicts with the keys image and label "
            f"(and name), got {spec}."
        )
    image, label = spec["image"], spec["label"]
    encoded = image.dtype == tf.string and image.shape.rank in (0, None)
    channels = image.shape[-1] if image.shape.rank == 3 else None
    raw = image.dtype == tf.uint8 and image.shape.rank in (3, None) and channels in (1, 3, None)
    if not (encoded or raw):
        raise InputError(
            "The dataset's images must be single encoded files (scalar strings) or uint8 (height, "
            f"width, 3 or 1); got {image.dtype.name} {image.shape}. Batches must be unbatched, "
            "and images not yet be scaled: each network's preprocessing does that."
        )
    if not label.dtype.is_integer or label.shape.rank not in (0, None):
        raise InputError(
            "The dataset's labels must be whole numbers, one an image; "
            f"got {label.dtype.name} {label.shape}."
        )
