"""Means over areas of an image, from its integral."""

import numpy as np


def area_means(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean of every cell of a ``height x width`` grid over an image, shape (height, width, C)."""
    for axis, cells in enumerate((height, width)):
        lines = np.moveaxis(pixels, axis, 0)
        integral = np.concatenate([np.zeros((1, *lines.shape[1:])), lines.cumsum(0)])
        edges = np.arange(cells + 1) * len(lines) / cells
        before = np.minimum(edges.astype(int), len(lines) - 1)
        beyond = (edges - before)[:, None, None]
        until = integral[before] + beyond * lines[before]
        pixels = np.moveaxis(np.diff(until, axis=0) * cells / len(lines), 0, axis)
    return pixels
