"""What training does to images, so that the network never sees the same one twice.

All randomness is stateless: an image and a seed give one result, on any thread, in any order.
Functions take a seed as an int64 tensor (2,), images of any size (see `images.decode_image`), and
return pixels (*size, 3) float32, which may lie outside 0..255.
"""

import math
from collections.abc import Callable
from functools import partial, reduce

import tensorflow as tf

from keras_inception.images import decode_crop

RESIZE_METHODS = ("bilinear", "nearest", "bicubic", "area")

# The papers give no numbers for the photometric distortions. These are those of the authors'
# release, and so are the orders.
BRIGHTNESS = 32.0  # of 255: at most this is added or subtracted
SATURATION = CONTRAST = (0.5, 1.5)  # factors
HUE = 0.2  # of a full turn, in both directions
COLOUR_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)

# The light mode: ours, made for small pictures that fill their frame, like the digits.
LIGHT_ZOOM = (0.9, 1.1)  # factors of the window's sides
LIGHT_SHIFT = 0.1  # of the window's sides, in both directions
LIGHT_BRIGHTNESS = 16.0
LIGHT_CONTRAST = (0.9, 1.1)

_CROP_ATTEMPTS = 10


def paper(
    image: tf.Tensor,
    seed: tf.Tensor,
    *,
    size: tuple[int, int],
    area_range: tuple[float, float],
    aspect_range: tuple[float, float],
) -> tf.Tensor:
    """Return a random crop, resized by a random method, with other colours; not yet mirrored.

    "Going deeper with convolutions" (arXiv:1409.4842), section 6. Of a JPEG only the crop is
    decoded. The resizing has no antialiasing, as in the release.
    """
    crop_seed, method_seed, colour_seed = tf.unstack(tf.random.split(seed, 3))
    choose = partial(sample_crop, seed=crop_seed, area_range=area_range, aspect_range=aspect_range)
    crop = decode_crop(image, choose)
    methods = [partial(_resize, crop, size, method) for method in RESIZE_METHODS]
    return distort_colours(tf.switch_case(_choice(len(methods), method_seed), methods), colour_seed)


def light(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return an image (height, width, 3) zoomed, shifted, and in other light, all a little.

    Where the window leaves the image, the pixel at its border is repeated.
    """
    zoom_seed, shift_seed, light_seed = tf.unstack(tf.random.split(seed, 3))
    zoom = tf.random.stateless_uniform((), zoom_seed, *LIGHT_ZOOM)
    shift = tf.random.stateless_uniform((2,), shift_seed, -LIGHT_SHIFT, LIGHT_SHIFT)
    pixels = _window(tf.cast(pixels, tf.float32), zoom, shift)
    brightness_seed, contrast_seed = tf.unstack(tf.random.split(light_seed))
    contrast = tf.random.stateless_uniform((), contrast_seed, *LIGHT_CONTRAST)
    return tf.image.adjust_contrast(pixels, contrast) + tf.random.stateless_uniform(
        (), brightness_seed, -LIGHT_BRIGHTNESS, LIGHT_BRIGHTNESS
    )


def mirror(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return an image (height, width, 3) or, as often, its mirror image."""
    return tf.cond(_choice(2, seed) == 1, lambda: tf.reverse(pixels, [1]), lambda: pixels)


def sample_crop(
    height: tf.Tensor,
    width: tf.Tensor,
    *,
    seed: tf.Tensor,
    area_range: tuple[float, float],
    aspect_range: tuple[float, float],
) -> tf.Tensor:
    """Choose a rectangle in an image.

    Its share of the area is distributed evenly, the logarithm of its aspect ratio too (wide and
    tall ones are equally likely), and so is its place. If ten tries do not fit into the image, it
    is the largest rectangle in its centre with a legal aspect ratio.

    Args:
        height: of the image (scalar int32), in pixels.
        width: of the image.
        seed: int64 tensor (2,).
        area_range: least and greatest share of the image's area.
        aspect_range: least and greatest width / height.

    Returns:
        Top, left, height and width in pixels: int32 tensor (4,).
    """
    size_seed, place_seed = tf.unstack(tf.random.split(seed))
    image = tf.cast(tf.stack([height, width]), tf.float32)
    area_draw, aspect_draw = tf.unstack(tf.random.stateless_uniform((2, _CROP_ATTEMPTS), size_seed))
    low, high = area_range
    area = tf.reduce_prod(image) * (low + (high - low) * area_draw)
    low, high = map(math.log, aspect_range)
    aspect = tf.exp(low + (high - low) * aspect_draw)
    tries = tf.sqrt(tf.stack([area / aspect, area * aspect], -1))
    tries = tf.maximum(tf.round(tries), 1.0)

    aspect = tf.clip_by_value(image[1] / image[0], *aspect_range)
    largest = tf.round(tf.minimum(image, tf.stack([image[1] / aspect, image[0] * aspect])))
    fits = tf.reduce_all(tries <= image, -1)
    size = tf.where(tf.reduce_any(fits), tries[tf.argmax(fits)], tf.maximum(largest, 1.0))

    room = image - size
    random = tf.floor(tf.random.stateless_uniform((2,), place_seed) * (room + 1.0))
    corner = tf.where(tf.reduce_any(fits), tf.minimum(random, room), room // 2.0)
    return tf.cast(tf.concat([corner, size], 0), tf.int32)


def distort_colours(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change brightness, saturation, hue and contrast at random, in one of four orders.

    Args:
        pixels: float32 (height, width, 3), in 0..255.
        seed: int64 tensor (2,).

    Returns:
        The same shape; values may lie outside 0..255.
    """
    order_seed, *seeds = tf.unstack(tf.random.split(seed, 5))
    uniform = tf.random.stateless_uniform
    brightness = uniform((), seeds[0], -BRIGHTNESS, BRIGHTNESS)
    saturation = uniform((), seeds[1], *SATURATION)
    hue = uniform((), seeds[2], -HUE, HUE)
    contrast = uniform((), seeds[3], *CONTRAST)
    steps: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
        "brightness": lambda x: x + brightness,
        "saturation": lambda x: tf.image.adjust_saturation(x, saturation),
        "hue": lambda x: tf.image.adjust_hue(x, hue),
        "contrast": lambda x: tf.image.adjust_contrast(x, contrast),
    }

    def in_order(order: tuple[str, ...]) -> tf.Tensor:
        return reduce(lambda x, name: steps[name](x), order, pixels)

    orders = [partial(in_order, order) for order in COLOUR_ORDERS]
    return tf.switch_case(_choice(len(orders), order_seed), orders)


def _choice(count: int, seed: tf.Tensor) -> tf.Tensor:
    """Return a random number from 0 to count - 1, as int32."""
    return tf.random.stateless_uniform((), seed, maxval=count, dtype=tf.int32)


def _resize(pixels: tf.Tensor, size: tuple[int, int], method: str) -> tf.Tensor:
    return tf.cast(tf.image.resize(pixels, size, method), tf.float32)


def _window(pixels: tf.Tensor, zoom: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Return what a window sees, at the image's size: bilinear, borders repeated.

    The window's sides are the image's times `zoom`; its centre is `shift` (down, right; shares of
    the sides) from the image's.
    """
    sides = tf.cast(tf.shape(pixels)[:2], tf.float32)
    down, right = tf.unstack((sides - 1.0) / 2.0 * (1.0 - zoom) + shift * sides)
    # A row and a column of an affine map from the pixels of the result to those of the image.
    transform = tf.stack([zoom, 0.0, right, 0.0, zoom, down, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=transform[None],
        output_shape=tf.shape(pixels)[:2],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )[0]
