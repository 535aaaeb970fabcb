"""A surface as points and quadrilaterals."""

from dataclasses import dataclass

import numpy as np

from landscape.errors import RequestError
from landscape.surface.result import Surface


@dataclass(frozen=True)
class Mesh:
    """Points of a surface in space and the cells between them.

    Attributes
    ----------
    points
        (ny * nx, 3), x fastest, always finite.
    shown
        (ny * nx,) booleans: which points have a finite height. The others lie at the lowest of
        the finite heights (-inf) or at the highest (inf, NaN, not computed).
    cells
        (n, 4) indices of the corners of every cell, x fastest, counter-clockwise seen from above.
    complete
        (n,) booleans: which cells have four corners of finite height.
    name
        What the height is.
    """

    points: np.ndarray
    shown: np.ndarray
    cells: np.ndarray
    complete: np.ndarray
    name: str

    @property
    def left_out(self) -> int:
        """The number of cells that are not complete."""
        return int(np.sum(~self.complete))


def mesh(surface: Surface, height: str, log: bool, cut: float | None) -> Mesh:
    """The mesh whose height is a metric ``z``, cut to ``min(z, cut)``, then ``log(z + 0.1)``.

    The order and the constant are those of Li et al.'s ``h52vtp.py``.

    Raises
    ------
    RequestError
        For a line, a grid without area, an unknown metric, and if no height is finite.
    """
    if surface.is_line:
        raise RequestError("surface: it is a line, which has no area; write it as .csv")
    x, y = np.asarray(surface.x, np.float64), np.asarray(surface.y, np.float64)
    if min(len(x), len(y)) < 2:
        raise RequestError(
            f"surface: a grid of {len(x)} x {len(y)} points has no area; write it as .csv"
        )
    if height not in surface.metrics:
        known = ", ".join(surface.metrics)
        raise RequestError(f"height: {height!r} was not measured; use one of {known}")
    z, name = np.ravel(surface.metrics[height]).astype(np.float64), height
    if cut is not None:
        z, name = np.minimum(z, cut), f"min({name}, {cut:g})"
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            z, name = np.log(z + 0.1), f"log({name} + 0.1)"
    shown = np.isfinite(z)
    if not shown.any():
        raise RequestError(f"height: no value of {name} is finite; use another metric")
    low, high = z[shown].min(), z[shown].max()
    z = np.nan_to_num(z, nan=high, posinf=high, neginf=low)
    first = (np.arange(len(y) - 1)[:, None] * len(x) + np.arange(len(x) - 1)).ravel()
    cells = first[:, None] + np.array([0, 1, len(x) + 1, len(x)])
    points = np.stack([np.tile(x, len(y)), np.repeat(y, len(x)), z], axis=1)
    return Mesh(points, shown, cells, shown[cells].all(axis=1), name)
