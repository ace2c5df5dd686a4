"""The papers' crops of one image: 10, 12 or 144 squares of the network's size.

GoogLeNet paper (Szegedy et al. 2014, arXiv:1409.4842), section 7: the image is resized to four
scales; of each the left, centre and right square are taken (top, centre and bottom of a portrait);
of each square the four corners and the centre in the network's size, and the square itself resized
to it; and of each of these the mirror image: 4 x 3 x 6 x 2 = 144.

The 10 and 12 crops that the v3 and v4 papers report (arXiv:1512.00567, table 4;
arXiv:1602.07261, table 3) are defined in none of them. Here they are the part of the 144 that
belongs to the first scale's centre square: with the resized square 1 x 1 x 6 x 2 = 12, without it
10, which is also what Krizhevsky et al. (2012), who introduced the ten crops, took.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from keras_inception.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

MIRRORS = 2  # every crop is used as it is and flipped left to right

# The paper's shorter sides belong to crops of 224 pixels. Other sizes keep the proportion:
# 299 pixels are cut from shorter sides of 342, 384, 427 and 470.
_PAPER_SCALES = tuple(shorter_side / 224 for shorter_side in (256, 288, 320, 352))

_CENTRE = (0.5,)
_THREE_SQUARES = (0.0, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is cut from an image.

    Attributes:
        scales: shorter sides that the image is resized to, as multiples of the crop's side.
        squares: where the squares lie along the longer side: 0 is left or top, 1 right or bottom.
        whole_square: whether the resized square follows the four corners and the centre.
    """

    scales: tuple[float, ...]
    squares: tuple[float, ...]
    whole_square: bool

    @property
    def views(self) -> int:
        """Crops of one image, mirrors not counted."""
        return len(self.scales) * len(self.squares) * (6 if self.whole_square else 5)


_PROTOCOLS = {
    10: Protocol(_PAPER_SCALES[:1], _CENTRE, whole_square=False),
    12: Protocol(_PAPER_SCALES[:1], _CENTRE, whole_square=True),
    144: Protocol(_PAPER_SCALES, _THREE_SQUARES, whole_square=True),
}


def protocol(crops: int, scales: Sequence[float] | None = None) -> Protocol:
    """Return the papers' protocol of that many crops.

    Args:
        crops: 10, 12 or 144. (The single crop belongs to a `Preprocessing`.)
        scales: shorter sides that the image is resized to, as multiples of the crop's side: one
            for 10 and 12 crops, four for 144. Default: 256/224 (and 288/224, 320/224, 352/224).

    Returns:
        The protocol.

    Raises:
        InputError: for another number of crops, another number of scales, or a scale below 1.
    """
    if crops == 1:
        raise InputError("The single crop is cut by a Preprocessing; here are 10, 12 and 144.")
    if crops not in _PROTOCOLS:
        known = ", ".join(map(str, _PROTOCOLS))
        raise InputError(f"No protocol has {crops!r} crops; the papers have 1, {known}.")
    paper = _PROTOCOLS[crops]
    if scales is None:
        return paper
    scales = tuple(float(scale) for scale in scales)
    if len(scales) != len(paper.scales):
        raise InputError(
            f"{crops} crops need {len(paper.scales)} scales, got {len(scales)}: {scales}."
        )
    if not all(1 <= scale < float("inf") for scale in scales):
        raise InputError(
            "A scale is the resized image's shorter side divided by the crop's side, so it must "
            f"be at least 1; got {scales}."
        )
    return dataclasses.replace(paper, scales=scales)


def crops(
    image: Any, size: int, crops: int = 144, *, scales: Sequence[float] | None = None
) -> tf.Tensor:
    """Cut all crops of one image.

    Args:
        image: array or tensor (height, width, 3), any range, uint8 or float, any size.
        size: side of a crop in pixels.
        crops: 10, 12 or 144.
        scales: see `protocol`.

    Returns:
        float32 tensor (crops, size, size, 3) in the image's range. By scale, then by square (left
        to right, or top to bottom), then top left, top right, bottom left, bottom right, centre,
        resized square; then the mirrors of all these in the same order, so that crop
        i + crops / 2 is the mirror of crop i.

    Raises:
        InputError: if the image's shape, `size`, `crops` or `scales` do not serve.
    """
    import tensorflow as tf

    views = tf.concat(list(stream(image, size, crops, scales=scales)), axis=0)
    return with_mirrors(views)


def stream(
    image: Any, size: int, crops: int = 144, *, scales: Sequence[float] | None = None
) -> Iterator[tf.Tensor]:
    """Cut the crops of one image square by square, mirrors left out.

    Args and errors are those of `crops`.

    Yields:
        For each square of each scale a float32 tensor (5 or 6, size, size, 3), ordered as in
        `crops`. No more than one square's crops are in memory at a time.
    """
    import tensorflow as tf

    plan = protocol(crops, scales)
    if size < 1:
        raise InputError(f"The side of a crop must be at least 1 pixel, got {size}.")
    image = tf.convert_to_tensor(image)
    if image.shape.rank != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise InputError(f"An image must be (height, width, 3), got the shape {image.shape}.")
    for scale in plan.scales:
        resized = resize_shorter_side(image, size, scale)
        for position in plan.squares:
            yield square_views(resized, size, position, plan.whole_square)


def with_mirrors(views: tf.Tensor) -> tf.Tensor:
    """Append the mirrors, (n, h, w, c) -> (2 n, h, w, c), flipped left to right."""
    import tensorflow as tf

    return tf.concat([views, tf.reverse(views, axis=[2])], axis=0)


def resize_shorter_side(image: tf.Tensor, size: int, scale: float | tf.Tensor) -> tf.Tensor:
    """Resize an image in proportion; works in a graph.

    Args:
        image: tensor (height, width, 3), any range; height and width may be unknown.
        size: side of the crops in pixels.
        scale: the new shorter side divided by `size`; a number or a float64 scalar.

    Returns:
        float32 tensor (height, width, 3). Both sides are rounded to the nearest pixel, halves up.
    """
    import tensorflow as tf

    image = tf.cast(image, tf.float32)
    side = tf.cast(tf.floor(tf.cast(scale, tf.float64) * size + 0.5), tf.int64)
    shape = tf.cast(tf.shape(image)[:2], tf.int64)
    shorter = tf.reduce_min(shape)
    return _resize(image, tf.cast((2 * shape * side + shorter) // (2 * shorter), tf.int32))


def square_views(
    image: tf.Tensor, size: int, position: float | tf.Tensor, whole_square: bool
) -> tf.Tensor:
    """Cut the crops of one square, mirrors left out; works in a graph.

    Args:
        image: float32 tensor (height, width, 3), no side shorter than `size`.
        size: side of a crop in pixels.
        position: where the square lies along the longer side, from 0 to 1; a number or a float64
            scalar. Centres that fall between two pixels are rounded to the left and to the top.
        whole_square: whether to append the resized square.

    Returns:
        float32 tensor (5 or 6, size, size, 3): corners by rows, centre, resized square.
    """
    import tensorflow as tf

    shape = tf.shape(image)[:2]
    side = tf.reduce_min(shape)
    slack = tf.cast(shape - side, tf.float64)
    top_left = tf.cast(tf.floor(tf.cast(position, tf.float64) * slack), tf.int32)
    square = tf.slice(image, tf.concat([top_left, [0]], axis=0), [side, side, 3])
    end, middle = side - size, (side - size) // 2
    places = [(0, 0), (0, end), (end, 0), (end, end), (middle, middle)]
    views = [tf.slice(square, [top, left, 0], [size, size, 3]) for top, left in places]
    if whole_square:
        views.append(_resize(square, [size, size]))
    return tf.stack(views)


def _resize(image: tf.Tensor, size: Any) -> tf.Tensor:
    """Resize bilinearly, low-pass filtered when shrinking: Pillow's BILINEAR without rounding."""
    import tensorflow as tf

    return tf.image.resize(image, size, method="bilinear", antialias=True)
