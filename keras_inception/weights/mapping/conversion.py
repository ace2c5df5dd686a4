"""From the arrays of a file to those of a model: axes, classes, channels of the image."""

import numpy as np

from keras_inception.weights.mapping.units import Slot, is_class_head

IMAGENET_CLASSES = 1000
_WITH_BACKGROUND = (1001, 1008)
"""Widths of a class head whose columns 1 to 1000 are the ImageNet classes, behind a background."""
_RGB = 3


def classes_fit(in_file: int, in_model: int) -> bool:
    """Whether a class head of a file serves a model, whole or without its background class."""
    return in_file == in_model or (in_model == IMAGENET_CLASSES and in_file in _WITH_BACKGROUND)


def to_keras(value: np.ndarray, slot: Slot, output_first: bool) -> tuple[np.ndarray, str | None]:
    """Bring a tensor of a file into the form of a variable.

    Args:
        value: the tensor, of any shape.
        slot: where it goes.
        output_first: kernels are (out, in, height, width) and (out, in), as in torch and Caffe.

    Returns:
        The array, which has the shape of the variable if the two go together, and what was done
        to it beyond moving axes, or None. The array may be a view of `value`.
    """
    wanted = tuple(slot.variable.shape)
    if slot.place.role.endswith("kernel"):
        value = _kernel(value, len(wanted), output_first)
        if slot.grid and output_first and value.ndim == 2:
            value = _channels_last_rows(value, slot.grid)
    elif value.shape != wanted and value.size == max(value.shape, default=1):
        value = value.reshape(-1)  # some files have vectors as (1, n) or (1, 1, 1, n)
    if value.shape == wanted:
        return value, None
    if is_class_head(slot.place) and value.ndim == len(wanted):
        return _without_background(value, wanted[-1])
    if slot.is_first and value.ndim == len(wanted) == 4:
        return _for_channels(value, slot)
    return value, None


def _kernel(value: np.ndarray, rank: int, output_first: bool) -> np.ndarray:
    """Move the axes of a kernel; a 1x1 convolution serves for a dense layer."""
    if rank == 2 and value.ndim == 4:
        if output_first and value.shape[2:] == (1, 1):
            value = value[:, :, 0, 0]
        elif value.shape[:2] == (1, 1):  # TensorFlow's 1x1 convolution, or Caffe's 1x1xOUTxIN
            value = value[0, 0]
    if not output_first:
        return value
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _channels_last_rows(value: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Reorder the inputs of a dense layer from (channels, height, width) to Keras's order."""
    height, width, channels = grid
    if len(value) != height * width * channels:
        return value
    rows = value.reshape(channels, height, width, -1)
    return rows.transpose(1, 2, 0, 3).reshape(value.shape)


def _without_background(value: np.ndarray, classes: int) -> tuple[np.ndarray, str | None]:
    width = value.shape[-1]
    if width == classes or not classes_fit(width, classes):
        return value, None
    return value[..., 1 : 1 + classes], f"classes 1 to {classes} of {width}"


def _for_channels(value: np.ndarray, slot: Slot) -> tuple[np.ndarray, str | None]:
    """Adapt a first convolution on RGB to another number of channels.

    A grey image, all channels equal, gives the same response as before: for one or two channels
    the kernels are summed and shared out; for more they are repeated in turn, and each is divided
    by how often it is there. A separable convolution has too few filters for fewer channels than
    it was made for, and is left as it is.
    """
    role = slot.place.role
    multiplier = slot.layer.depth_multiplier if role == "pointwise_kernel" else 1
    channels = slot.variable.shape[2] // multiplier
    if value.shape[2] != _RGB * multiplier or channels == _RGB:
        return value, None
    if channels < _RGB:
        if role != "kernel":
            return value, None
        shared = np.repeat(value.sum(axis=2, keepdims=True) / channels, channels, axis=2)
        return shared, f"{_RGB} image channels summed into {channels}"
    turns = np.arange(channels) % _RGB
    kernels = value.reshape(*value.shape[:2], _RGB, multiplier, -1)[:, :, turns]
    if role != "depthwise_kernel":
        kernels = kernels / np.bincount(turns)[turns][:, None, None]
    note = f"{_RGB} image channels repeated for {channels}"
    return kernels.reshape(*value.shape[:2], channels * multiplier, value.shape[3]), note
