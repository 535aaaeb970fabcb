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


def area_weights(inputs: int, outputs: int) -> np.ndarray:
    """Share of every input pixel in every output pixel, TensorFlow's ``area`` along one axis.

    Returns
    -------
    Shape (outputs, inputs); whole numbers, so that sums are exact. Rows sum to ``inputs``.

    Examples
    --------
    >>> area_weights(3, 2).tolist()
    [[2, 1, 0], [0, 1, 2]]
    """
    first, second = np.arange(outputs)[:, None] * inputs, np.arange(inputs) * outputs
    overlap = np.minimum(first + inputs, second + outputs) - np.maximum(first, second)
    return np.maximum(overlap, 0)


def bilinear_weights(inputs: int, outputs: int) -> np.ndarray:
    """Weights of the two pixels around every output pixel's centre, along one axis.

    TensorFlow's ``bilinear`` with half-pixel centres and no antialiasing.

    Returns
    -------
    Shape (outputs, inputs); whole numbers, so that sums are exact. Rows sum to ``2 outputs``.

    Examples
    --------
    >>> bilinear_weights(2, 4).tolist()
    [[8, 0], [6, 2], [2, 6], [0, 8]]
    """
    unit = 2 * outputs
    rows = np.arange(outputs)
    centres = np.clip((2 * rows + 1) * inputs - outputs, 0, (inputs - 1) * unit)
    lower, fraction = np.divmod(centres, unit)
    weights = np.zeros((outputs, inputs), int)
    weights[rows, lower] = unit - fraction
    weights[rows, np.minimum(lower + 1, inputs - 1)] += fraction
    return weights


_TENSORFLOW = {"area": area_weights, "bilinear_without_antialias": bilinear_weights}
_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
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
        lengths = target, target
    else:
        lengths = tuple(int(target * length / shorter) for length in image.size)
    left, top = (round((length - size) / 2) for length in lengths)
    return np.asarray(image.resize(lengths, method))[top : top + size, left : left + size]


def _by_tensorflow(pixels: np.ndarray, geometry: Geometry, size: int) -> np.ndarray:
    target = math.floor(size / geometry.crop)
    factor = np.float32(target) / np.float32(min(pixels.shape[:2]))
    kept = []
    for length in pixels.shape[:2]:
        side = target if geometry.resize == "squash" else int(np.rint(np.float32(length) * factor))
        start = (side - size) // 2
        weights = _TENSORFLOW[geometry.interpolation](length, side)
        kept.append(weights[start : start + size].astype(np.float64))  # exact, and uses BLAS
    rows, columns = kept
    sums = np.moveaxis(rows @ np.moveaxis(pixels, -1, 0) @ columns.T, 0, -1)
    total = int(rows[0].sum() * columns[0].sum())
    half = 0 if geometry.interpolation == "area" else total // 2
    return ((sums.astype(np.int64) + half) // total).astype(np.uint8)
