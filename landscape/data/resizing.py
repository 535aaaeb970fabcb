"""Resizing to squares as the libraries do it that published networks were evaluated with.

The interpolation decides whose conventions hold:

- ``area`` and ``bilinear_without_antialias`` are TensorFlow's (``tf.image.resize``): sides are
  rounded to the nearest pixel from a float32 factor, the crop starts at ``(side - size) // 2``.
  ``area`` truncates to uint8, as big_vision's cast does; ``bilinear_without_antialias`` rounds to
  the nearest byte, since vision_transformer goes on with the fractions. Sums are exact here, while
  TensorFlow's are of float32, which flips single grey levels, mostly on flat areas.
- ``bilinear`` and ``bicubic`` are Pillow's, which antialias; sides and crop are torchvision's (and
  timm's): the longer side is truncated, the crop starts at ``round((side - size) / 2)``.

JPEGs are decoded by Pillow; TensorFlow's default decoder differs from it by a few grey levels.
"""

import dataclasses
import math
from typing import Literal, get_args

import numpy as np
from PIL import Image

from landscape.errors import RequestError

Resize = Literal["shorter_side", "squash", "central_square"]
Interpolation = Literal["area", "bilinear_without_antialias", "bilinear", "bicubic"]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How an image of any shape becomes a square.

    Raises
    ------
    RequestError
        For an unknown name, a crop outside (0, 1], or TensorFlow's interpolations of a central
        square, whose corners lie between pixels.
    """

    resize: Resize
    """``shorter_side`` to ``floor(size / crop)``, keeping the aspect ratio, or ``squash`` to a
    square of that length; then the central ``size x size`` is kept. ``central_square`` cuts out
    ``crop`` times the shorter side first and resizes that."""
    crop: float
    """Fraction of the resized shorter side that the central crop keeps."""
    interpolation: Interpolation

    def __post_init__(self):
        for field, known in (("resize", Resize), ("interpolation", Interpolation)):
            if getattr(self, field) not in get_args(known):
                raise RequestError(
                    f"geometry: {field} {getattr(self, field)!r} is none of "
                    f"{', '.join(get_args(known))}"
                )
        if not 0 < self.crop <= 1:
            raise RequestError(f"geometry: crop {self.crop}; give a fraction of the shorter side")
        if self.resize == "central_square" and self.interpolation not in _PILLOW:
            raise RequestError(
                f"geometry: no {self.interpolation} of a central square; use {', '.join(_PILLOW)}"
            )


def area_sums(pixels: np.ndarray, outputs: int, kept: slice) -> np.ndarray:
    """Sums of the pixels that output pixels cover, TensorFlow's ``area`` along the first axis.

    Parameters
    ----------
    pixels
        Whole numbers, shape (inputs, ...).
    outputs
        Pixels that all inputs together become.
    kept
        Which of the output pixels are computed.

    Returns
    -------
    int64, shape (length of ``kept``, ...); exact, and ``inputs`` times the mean.

    Examples
    --------
    >>> area_sums(np.array([5, 1, 3]), 2, slice(0, 2)).tolist()
    [11, 7]
    """
    inputs = len(pixels)
    at = np.arange(kept.start, kept.stop + 1) * inputs  # an input pixel has `outputs` parts
    edges = np.minimum(at // outputs, inputs - 1)
    beyond = _columns(outputs * (edges + 1) - at, pixels)
    pixels, edges = pixels[edges[0] : edges[-1] + 1], edges - edges[0]
    # The sum of 65,535 bytes is less than 2**24.
    sums = np.cumsum(pixels, axis=0, dtype=np.int32 if pixels.dtype == np.uint8 else np.int64)
    ends, through = (values[edges].astype(np.int64) for values in (pixels, sums))
    return np.diff(outputs * through - beyond * ends, axis=0)


def bilinear_sums(pixels: np.ndarray, outputs: int, kept: slice) -> np.ndarray:
    """Weighted sums of the two pixels around every output pixel's centre, along the first axis.

    TensorFlow's ``bilinear`` with half-pixel centres and no antialiasing.

    Parameters
    ----------
    pixels, outputs, kept
        As for `area_sums`.

    Returns
    -------
    int64, shape (length of ``kept``, ...); exact, and ``2 outputs`` times the interpolated value.

    Examples
    --------
    >>> bilinear_sums(np.array([0, 3]), 4, slice(0, 4)).tolist()
    [0, 6, 18, 24]
    """
    last, unit = len(pixels) - 1, 2 * outputs
    centres = (2 * np.arange(kept.start, kept.stop) + 1) * len(pixels) - outputs
    lower, fraction = np.divmod(np.clip(centres, 0, last * unit), unit)
    fraction = _columns(fraction, pixels)
    below, above = (pixels[x].astype(np.int64) for x in (lower, np.minimum(lower + 1, last)))
    return (unit - fraction) * below + fraction * above


def _columns(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Values along the first axis, with as many axes as ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


_TENSORFLOW = {"area": area_sums, "bilinear_without_antialias": bilinear_sums}
_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# Up to here, in pixels and in shorter sides, images are resized whole before they are cut.
_WHOLE, _LONGEST = 2**24, 16
CENTRAL_SQUARE = Geometry("central_square", 1.0, "bilinear")


def resized(image: Image.Image | np.ndarray, geometry: Geometry, size: int) -> np.ndarray:
    """The square that a network sees of an image.

    Parameters
    ----------
    image
        Of mode L or RGB, or uint8 of shape (H, W, C) with one or three channels.
    geometry
        What is resized and cut out, and how.
    size
        Side of the square in pixels, at least 1.

    Returns
    -------
    uint8, shape (size, size, C).
    """
    pixels = np.asarray(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if geometry.interpolation in _TENSORFLOW:
        return _by_tensorflow(pixels, geometry, size)
    if not isinstance(image, Image.Image):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return _by_pillow(image, geometry, size).reshape(size, size, -1)


def _by_pillow(image: Image.Image, geometry: Geometry, size: int) -> np.ndarray:
    method = _PILLOW[geometry.interpolation]
    if geometry.resize == "central_square":
        side = geometry.crop * min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), method, box))
    shorter = min(image.size)
    target = math.floor(size / geometry.crop)
    if geometry.resize == "squash":
        lengths = [target, target]
    else:
        lengths = [int(target * length / shorter) for length in image.size]
    kept = [slice(x, x + size) for x in (round((length - size) / 2) for length in lengths)]
    box = None
    if math.prod(lengths) > _WHOLE and max(lengths) > _LONGEST * target:
        axis = lengths.index(max(lengths))
        image, box = _seen(image, axis, lengths[axis], kept[axis])
        lengths[axis], kept[axis] = size, slice(size)
    columns, rows = kept
    return np.asarray(image.resize(lengths, method, box))[rows, columns]


def _seen(image: Image.Image, axis: int, length: int, kept: slice) -> tuple[Image.Image, list]:
    """What the kept pixels of a side of that length see of an image, and the box to resize of it.

    Pillow holds boxes in float32, whose error within the part stays far below a pixel.
    """
    scale = image.size[axis] / length
    low, high = kept.start * scale, kept.stop * scale
    margin = math.ceil(2 * max(scale, 1)) + 1  # of two pixels on either side, bicubic's
    first = max(math.floor(low) - margin, 0)
    part, box = [0, 0, *image.size], [0, 0, *image.size]
    part[axis], part[axis + 2] = first, min(math.ceil(high) + margin, image.size[axis])
    box[axis], box[axis + 2] = low - first, high - first
    return image.crop(part), box


def _by_tensorflow(pixels: np.ndarray, geometry: Geometry, size: int) -> np.ndarray:
    target = math.floor(size / geometry.crop)
    factor = np.float32(target) / np.float32(min(pixels.shape[:2]))
    method, total = _TENSORFLOW[geometry.interpolation], 1
    height, width = pixels.shape[:2]
    for axis in (0, 1) if height > width else (1, 0):  # the longer first: sums are exact
        length = pixels.shape[axis]
        side = target if geometry.resize == "squash" else int(np.rint(np.float32(length) * factor))
        start = (side - size) // 2
        sums = method(np.swapaxes(pixels, 0, axis), side, slice(start, start + size))
        pixels = np.swapaxes(sums, 0, axis)
        total *= length if geometry.interpolation == "area" else 2 * side
    half = 0 if geometry.interpolation == "area" else total // 2
    return ((pixels + half) // total).astype(np.uint8)
