"""From an image of any size to what a network expects, as a dataclass that travels with weights."""

import dataclasses
import math
import warnings
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError, unknown

RESIZE_RULES = ("shorter_side", "squash", "central_crop_squash", "none")
INTERPOLATIONS = ("bilinear", "bicubic", "bilinear_tf1")
CHANNEL_ORDERS = ("RGB", "BGR")

_ROUNDINGS = {"floor": math.floor, "round": round, "ceil": math.ceil}
_HALF_RANGE = 127.5  # as mean and as deviation it takes 0..255 to -1..1
_warned_about_range = False


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images are resized, cropped and scaled for one set of weights.

    The default is that of the papers' networks: RGB, x / 127.5 - 1. Most weights were trained so.
    torchvision's own models take images with ImageNet's mean and deviation and undo that in their
    first operation (`transform_input`): their first convolution sees x / 127.5 - 1 as well, and
    that is what their entries in the manifest say.

    Attributes:
        size: height and width of the result, in pixels.
        resize: how an image becomes `size`.
            "shorter_side": resized in proportion until it just covers `size / crop_fraction`,
            then the centre is cut out (torchvision, timm).
            "squash": resized to `size / crop_fraction` out of proportion, then the centre is cut
            out (Caffe; with `crop_fraction=1` the plain resizing of most examples).
            "central_crop_squash": the central `crop_fraction` of both sides is cut out, then
            resized to `size` out of proportion (TF-Slim).
            "none": left as it is; the image must have `size`.
        crop_fraction: share of both sides that the crop keeps, in (0, 1].
        rounding: how `size / crop_fraction` becomes whole pixels: "floor", "round" or "ceil".
        interpolation: "bilinear"; "bicubic" (Keys, a = -0.5: Pillow's and TensorFlow's); or
            "bilinear_tf1", the `resize_bilinear` of TensorFlow 1, whose grids share their corner
            instead of being centred on each other. TF-Slim's scores were measured with it.
        antialias: widen the kernel where an image is made smaller, as Pillow always does.
        mean: subtracted from the channels, in 0..255 units and in `channel_order`. With mean and
            std None, those of each image itself are taken, the deviation being at least
            1 / sqrt(number of values): the whitening of facenet's models of 2017.
        std: what the channels are divided by afterwards, in 0..255 units.
        channel_order: "RGB", or "BGR" for networks that come from Caffe. Images are given in RGB
            order always.

    Raises:
        InputError: for an illegal field; names the field, the value and what is legal.

    Example:
        >>> Preprocessing(size=(75, 75))(np.zeros((80, 100, 3), "uint8")).shape
        (75, 75, 3)
    """

    size: tuple[int, int] = (299, 299)
    resize: str = "shorter_side"
    crop_fraction: float = 0.875
    rounding: str = "floor"
    interpolation: str = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] | None = (_HALF_RANGE,) * 3
    std: tuple[float, float, float] | None = (_HALF_RANGE,) * 3
    channel_order: str = "RGB"

    def __post_init__(self) -> None:
        """Check every field; lists, as JSON has them, become tuples."""
        for field in ("size", "mean", "std"):
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        for field, legal in (
            ("resize", RESIZE_RULES),
            ("rounding", _ROUNDINGS),
            ("interpolation", INTERPOLATIONS),
            ("channel_order", CHANNEL_ORDERS),
        ):
            if getattr(self, field) not in tuple(legal):  # a list has no hash
                raise unknown(f"value of {field}", getattr(self, field), legal)
        if not (_are_numbers(self.size, 2, int) and min(self.size) > 0):
            raise InputError(f"size is (height, width) in whole pixels, but got {self.size!r}.")
        if not (_are_numbers((self.crop_fraction,), 1) and 0 < self.crop_fraction <= 1):
            raise InputError(f"crop_fraction is in (0, 1], but got {self.crop_fraction!r}.")
        if self.interpolation == "bilinear_tf1" and self.antialias:
            raise InputError('interpolation="bilinear_tf1" has no antialiasing: antialias=False.')
        if (self.mean, self.std) == (None, None):
            return
        if not (_are_numbers(self.mean, 3) and _are_numbers(self.std, 3) and min(self.std) > 0):
            raise InputError(
                "mean and std are three numbers each, std above 0, or both None (those of each "
                f"image), but got mean={self.mean!r} and std={self.std!r}."
            )

    def __call__(self, images: Any) -> Any:
        """Resize, crop and scale images; the argument is never changed.

        Works eagerly, in `tf.data`, in compiled functions, and on symbolic Keras tensors (where it
        is `as_layer`).

        Args:
            images: (height, width, 3) or (batch, height, width, 3), RGB, values 0..255 of any
                numeric type, any size: a NumPy array or what becomes one (a Pillow image), a
                TensorFlow tensor, or a tensor of the Keras backend.

        Returns:
            float32 images of `size` in the network's range and channel order, of the argument's
            rank: a tensor if it was a tensor, else a NumPy array.

        Raises:
            InputError: if the images have another shape, or if with `resize="none"` they do not
                have `size`.

        Warns:
            UserWarning: once per process, if an array or an eager TensorFlow tensor has values
                outside 0..255, or no value above 1 (it was probably scaled before).
        """
        images = _as_tensor(images)
        if isinstance(images, keras.KerasTensor):
            return self.as_layer()(images)
        _warn_about_range(images)
        return self._apply(images)

    def normalize(self, images: Any) -> Any:
        """Take values from 0..255 to the network's range, and channels to its order.

        Args:
            images: (..., 3), RGB, values 0..255: an array, a tensor, or a symbolic Keras tensor.
                With the mean of each image: (..., height, width, 3) of `size`.

        Returns:
            New float32 images of the same shape.
        """
        images = _as_tensor(images)
        ops = _namespace(images)
        images = _float32(images)
        if self.channel_order == "BGR":
            images = ops.stack([images[..., channel] for channel in (2, 1, 0)], -1)
        if self.mean is not None:
            return (images - _constant(self.mean)) / _constant(self.std)
        axes, values = (-3, -2, -1), math.prod(self.size) * 3
        images = images - _sum(images, axes) / values
        deviation = ops.sqrt(_sum(images * images, axes) / values)
        return images / ops.maximum(deviation, np.float32(1 / math.sqrt(values)))

    def sized(self, size: tuple[int | None, int | None]) -> "Preprocessing":
        """Return the same preprocessing for another size.

        Args:
            size: height and width in pixels; None: as it is.

        Example:
            >>> Preprocessing(crop_fraction=0.9).sized((75, None)).size
            (75, 299)
        """
        own = zip(size, self.size, strict=True)
        return dataclasses.replace(self, size=tuple(side or mine for side, mine in own))

    def as_layer(self, name: str | None = None) -> "PreprocessingLayer":
        """Return this as a layer, so that a saved or exported model takes raw images.

        Args:
            name: name of the layer; None: Keras chooses one.

        Returns:
            A layer from (batch, height, width, 3), values 0..255, any numeric type and size, to
            (batch, *size, 3) float32.

        Example:
            >>> pixels = keras.Input((None, None, 3), dtype="uint8")
            >>> Preprocessing(size=(75, 75)).as_layer()(pixels).shape
            (None, 75, 75, 3)
        """
        return PreprocessingLayer(self, name=name)

    def _apply(self, images: Any) -> Any:
        """Resize and scale an array or tensor; see `__call__`."""
        batched = _checked_rank(images) == 4
        images = _float32(images if batched else images[None])
        if self.resize == "none":
            _check_size(images.shape[1:3], self.size)
        else:
            images = _resample(images, *self._matrices(*_sides(images)))
            if self.interpolation == "bicubic":  # it overshoots; Pillow clips likewise
                ops = _namespace(images)
                images = ops.minimum(ops.maximum(images, 0.0), 255.0)
        images = self.normalize(images)
        return images if batched else images[0]

    def _matrices(self, height: Any, width: Any) -> list[Any]:
        """Return the two matrices that resize and crop: (size[0], height) and (size[1], width)."""
        if self.resize == "central_crop_squash":
            margins = [_crop_margin(side, self.crop_fraction) for side in (height, width)]
            resized = self.size
        else:
            margins = (0, 0)
            resized = [_ROUNDINGS[self.rounding](side / self.crop_fraction) for side in self.size]
        if self.resize == "shorter_side":
            resized = _cover(height, width, *resized)
        return [
            _axis_matrix(*axis, self.interpolation, self.antialias)
            for axis in zip((height, width), margins, resized, self.size, strict=True)
        ]


@keras.saving.register_keras_serializable("keras_inception")
class PreprocessingLayer(keras.layers.Layer):
    """A `Preprocessing` as a layer, float32 under every precision policy.

    Args:
        preprocessing: a `Preprocessing`, or its fields as a dictionary.
        **kwargs: of `keras.layers.Layer`; the default of `dtype` is "float32".

    Example:
        >>> layer = PreprocessingLayer(Preprocessing(size=(75, 75)))
        >>> tuple(layer(np.zeros((2, 90, 80, 3), "uint8")).shape)
        (2, 75, 75, 3)
    """

    def __init__(self, preprocessing: Preprocessing | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "autocast": False} | kwargs)
        if isinstance(preprocessing, dict):
            preprocessing = Preprocessing(**preprocessing)
        self.preprocessing = preprocessing

    def call(self, images: Any) -> Any:
        """Return images (batch, *size, 3) float32 from (batch, height, width, 3)."""
        return self.preprocessing._apply(images)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, *size, 3)."""
        return (input_shape[0], *self.preprocessing.size, 3)

    def get_config(self) -> dict[str, Any]:
        """Return everything `__init__` needs."""
        return super().get_config() | {"preprocessing": dataclasses.asdict(self.preprocessing)}


def preprocess_input(images: Any) -> Any:
    """Scale images for the papers' networks: x / 127.5 - 1, no resizing.

    Some public weights want other values: `ki.preprocessing(weights_id)` prepares images for any.

    The namesake in `keras.applications` overwrites a float array it is given; this never does.

    Args:
        images: values 0..255 of any numeric type and shape: an array, a tensor, or a symbolic
            Keras tensor.

    Returns:
        New float32 values of the same shape, -1..1.

    Warns:
        UserWarning: as calling a `Preprocessing` does.
    """
    images = _as_tensor(images)
    _warn_about_range(images)
    return _float32(images) / _HALF_RANGE - 1


def _are_numbers(values: Any, count: int, kind: type = int | float) -> bool:
    """Tell whether `values` is a tuple of `count` numbers (a bool is none)."""
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    )


def _is_tensorflow(value: Any) -> bool:
    """Tell whether a value is TensorFlow's, without importing TensorFlow for that."""
    return type(value).__module__.startswith("tensorflow.")


def _as_tensor(images: Any) -> Any:
    """Return tensors as they are and anything else as an array of numbers."""
    if _is_tensorflow(images) or keras.ops.is_tensor(images):
        return images
    if isinstance(images, keras.KerasTensor):
        return images
    images = np.asarray(images)
    if not np.issubdtype(images.dtype, np.number):
        raise InputError(f"Images are arrays of numbers, but got {images.dtype} values.")
    return images


def _namespace(images: Any) -> ModuleType:
    """Return the module whose functions take such values.

    NumPy; TensorFlow, also in `tf.data` under another Keras backend; or `keras.ops`. What is used
    here has one name in all three, sums apart.
    """
    if isinstance(images, np.ndarray | int):
        return np
    if _is_tensorflow(images):
        import tensorflow

        return tensorflow
    return keras.ops


def _float32(images: Any) -> Any:
    """Return the values as float32."""
    ops = _namespace(images)
    return images.astype("float32") if ops is np else ops.cast(images, "float32")


def _constant(values: tuple[float, float, float]) -> Any:
    """Return float32 for three channels; one number if they agree, since that is much faster."""
    return np.float32(values if len(set(values)) > 1 else values[0])


def _sum(values: Any, axis: Any) -> Any:
    """Return sums over axes, which are kept with length 1."""
    ops = _namespace(values)
    total = ops.sum if ops in (np, keras.ops) else ops.reduce_sum
    return total(values, axis=axis, keepdims=True)


def _warn_about_range(images: Any) -> None:
    """Warn once per process about values that can be no pixels; only where values are at hand."""
    global _warned_about_range
    if _warned_about_range or isinstance(images, keras.KerasTensor) or images.dtype == "uint8":
        return
    if not isinstance(images, np.ndarray):
        if not (_is_tensorflow(images) and hasattr(images, "numpy")):
            return
        images = images.numpy()
    if images.size == 0:
        return
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        trouble = "some lie outside"
    elif 0 < high <= 1:
        trouble = "none is above 1"
    else:
        return
    _warned_about_range = True
    warnings.warn(
        f"Preprocessing takes pixel values from 0 to 255, but {trouble}: {low:g} to {high:g}. "
        "Images that were scaled before must not be scaled again. (Said once.)",
        stacklevel=3,
    )


def _checked_rank(images: Any) -> int:
    """Return 3 or 4, the number of axes of one image or a batch."""
    if getattr(images.shape, "rank", 0) is None:
        raise InputError("The images' number of axes is unknown; call set_shape on them.")
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or shape[-1] not in (3, None):
        raise InputError(
            "Images have shape (height, width, 3) or (batch, height, width, 3), "
            f"but got {shape}; convert them to RGB first if they have other channels."
        )
    return len(shape)


def _check_size(sides: Any, size: tuple[int, int]) -> None:
    """Refuse images that have not the size wanted, as far as it is known."""
    if any(side not in (None, wanted) for side, wanted in zip(sides, size, strict=True)):
        raise InputError(
            f'resize="none" takes images of height and width {size}, but got {tuple(sides)}; '
            "the other resize rules take any size."
        )


def _sides(images: Any) -> tuple[Any, Any]:
    """Return height and width of a batch: two ints, or two scalar tensors if one is unknown."""
    sides = tuple(images.shape[1:3])
    if None not in sides:
        return sides
    return tuple(_namespace(images).shape(images)[axis] for axis in (1, 2))


def _float64(value: Any) -> Any:
    """Return ints and int tensors as float64: where pixels lie is computed exactly."""
    ops = _namespace(value)
    return np.float64(value) if ops is np else ops.cast(value, "float64")


def _crop_margin(side: Any, fraction: float) -> Any:
    """Return the pixels that a central crop leaves out at either end, as TF-Slim counts them."""
    margin = (_float64(side) - _float64(side) * fraction) / 2
    return int(margin) if _namespace(side) is np else _namespace(side).cast(margin, "int32")


def _cover(height: Any, width: Any, tall: int, wide: int) -> tuple[Any, Any]:
    """Return the smallest size of the proportions height : width that covers (tall, wide)."""
    ops = _namespace(height)
    upright = width * tall < height * wide
    return (
        ops.where(upright, height * wide // width, tall),
        ops.where(upright, wide, width * tall // height),
    )


def _axis_matrix(
    length: Any, margin: Any, resized: Any, out: int, interpolation: str, antialias: bool
) -> Any:
    """Return the matrix that resizes one axis of an image and keeps the middle of the result.

    Resizing is linear, so that an image is resized and cropped by two such matrices. Weights that
    fall off the image are spread over the others, as in Pillow and TensorFlow.

    Args:
        length: pixels of the image along the axis; an int or a scalar tensor.
        margin: pixels at either end that are cut off first.
        resized: pixels that the rest is resized to.
        out: how many of these, the central ones, are kept.
        interpolation: one of `INTERPOLATIONS`.
        antialias: widen the kernel when the axis becomes shorter.

    Returns:
        float32 (out, length); each row sums to 1.
    """
    ops = _namespace(length)
    pixels = _float64(np.arange(length) if ops is np else ops.range(length))
    first, end = _float64(margin), _float64(length) - _float64(margin)
    scale = (end - first) / _float64(resized)
    kept = np.arange(out) + ops.round((_float64(resized) - out) / 2)
    half = 0.0 if interpolation == "bilinear_tf1" else 0.5
    centres = first + (kept + half) * scale - half
    distances = ops.abs(pixels[None, :] - centres[:, None])
    if antialias:
        distances = distances / ops.maximum(scale, np.float64(1))
    weights = _bicubic(distances) if interpolation == "bicubic" else _bilinear(distances)
    weights = ops.where((pixels >= first) & (pixels < end), weights, np.float64(0))
    return _float32(weights / _sum(weights, 1))


def _bilinear(distances: Any) -> Any:
    """Return the triangle kernel at these distances from its centre."""
    return _namespace(distances).maximum(1 - distances, np.float64(0))


def _bicubic(distances: Any) -> Any:
    """Return the kernel of Keys (1981), a = -0.5, at these distances from its centre."""
    ops = _namespace(distances)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((2.5 - 0.5 * distances) * distances - 4) * distances + 2
    return ops.where(distances < 1, near, ops.where(distances < 2, far, np.float64(0)))


def _resample(images: Any, rows: Any, columns: Any) -> Any:
    """Multiply the rows and the columns of (batch, height, width, 3) images by a matrix each.

    Two plain matrix products per image, on every backend and in every export format.
    """
    ops = _namespace(images)
    (tall, height), (wide, width) = (
        (matrix.shape[0], side)
        for matrix, side in zip((rows, columns), _sides(images), strict=True)
    )
    images = ops.matmul(rows, ops.reshape(images, (-1, height, width * 3)))
    images = ops.transpose(ops.reshape(images, (-1, tall, width, 3)), (0, 1, 3, 2))
    images = ops.matmul(ops.reshape(images, (-1, tall * 3, width)), ops.transpose(columns))
    return ops.transpose(ops.reshape(images, (-1, tall, 3, wide)), (0, 1, 3, 2))
