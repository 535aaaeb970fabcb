"""In which order a grid is evaluated: coarse first, and where it needs points at all.

An axis is halved again and again: both ends, the middle, the middles of the halves. A point's level
is the larger of its indices' levels, so that after each level the whole picture exists on a
coarser grid of 2, 3, 5, 9, 17, ... points per axis.
"""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import RegularGridInterpolator

ALWAYS = 3  # levels that are evaluated whole before refinement may skip anything: 9 points per axis


def levels(points: int) -> np.ndarray:
    """The level of each of ``points`` indices, shape (points,).

    Examples
    --------
    >>> levels(7).tolist()
    [0, 2, 3, 1, 2, 3, 0]
    """
    found = np.zeros(points, int)

    def halve(low: int, high: int, level: int) -> None:
        if high - low > 1:
            middle = (low + high) // 2
            found[middle] = level
            halve(low, middle, level + 1)
            halve(middle, high, level + 1)

    halve(0, points - 1, 1)
    return found


def grid_levels(shape: tuple[int, ...]) -> np.ndarray:
    """The level of every point of a grid."""
    axes = [levels(points) for points in shape]
    return np.max(np.meshgrid(*axes, indexing="ij"), axis=0)


def of_level(shape: tuple[int, ...], level: int) -> np.ndarray:
    """The indices of a level's points, shape (count, axes)."""
    return np.argwhere(grid_levels(shape) == level)


def wanted(values: np.ndarray, level: int, tolerance: float) -> np.ndarray:
    """Which points of a level must be evaluated, given the values of all levels below it.

    A point is needed where the level below was not predicted by linear interpolation from the
    level below that: next to a point that was off by more than ``tolerance`` of its height above
    the lowest point (a constant added to the loss changes nothing), or that is not finite.

    Parameters
    ----------
    values
        Heights on the grid, :func:`filled` up to the level below.
    level
        The level to be evaluated next.
    tolerance
        Largest relative error of the interpolation.

    Returns
    -------
    np.ndarray
        Indices, shape (count, axes).
    """
    shape, of_points = values.shape, grid_levels(values.shape)
    if level <= ALWAYS:
        return of_level(shape, level)
    predicted = interpolated(values, level - 2)
    finite = values[np.isfinite(values)]
    lowest = finite.min() if finite.size else 0.0
    floor = 1e-3 * np.median(finite - lowest) if finite.size else 0.0  # the lowest has no scale
    with np.errstate(invalid="ignore"):
        heights = values - lowest
        good = np.abs(values - predicted) <= tolerance * (heights + floor)
    bad = (of_points == level - 1) & ~good
    near = _widened(bad, [levels(points) <= level - 1 for points in shape])
    return np.argwhere(near & (of_points == level))


def _widened(bad: np.ndarray, coarse: list[np.ndarray]) -> np.ndarray:
    """All points within one coarse cell of a bad one, along every axis."""
    for axis, kept in enumerate(coarse):
        lines = np.flatnonzero(kept)
        moved = np.moveaxis(bad, axis, 0).copy()
        source = moved.copy()
        for place, line in enumerate(lines):
            low, high = lines[max(place - 1, 0)], lines[min(place + 1, len(lines) - 1)]
            moved[low : high + 1] |= source[line]
        bad = np.moveaxis(moved, 0, axis)
    return bad


def interpolated(values: np.ndarray, level: int) -> np.ndarray:
    """Linear interpolation, over the whole grid, of the values of the levels up to ``level``.

    NaN in every cell that has a corner which is not finite.
    """
    axes = [np.flatnonzero(levels(points) <= level) for points in values.shape]
    coarse = values[np.ix_(*axes)]
    rule = RegularGridInterpolator(axes, np.where(np.isfinite(coarse), coarse, np.nan))
    every = np.meshgrid(*map(np.arange, values.shape), indexing="ij")
    return rule(np.stack(every, -1))


def filled(values: np.ndarray, evaluated: np.ndarray, level: int) -> np.ndarray:
    """``values`` with the points up to ``level`` that were not evaluated interpolated."""
    found, of_points = values.copy(), grid_levels(values.shape)
    for each in range(1, level + 1):
        missing = (of_points == each) & ~evaluated
        if missing.any():
            found[missing] = interpolated(found, each - 1)[missing]
    return found


def refine(
    values: np.ndarray,
    evaluated: np.ndarray,
    tolerance: float | None,
    evaluate: Callable[[np.ndarray], None],
) -> None:
    """Evaluate a grid level by level.

    Parameters
    ----------
    values, evaluated
        Heights and which of them are known; ``evaluate`` fills them in place.
    tolerance
        See :func:`wanted`; None evaluates every point.
    evaluate
        Called with the indices (count, axes) of each level's points that are still to do.
    """
    for level in range(grid_levels(values.shape).max() + 1):
        if tolerance is None:
            points = of_level(values.shape, level)
        else:
            points = wanted(filled(values, evaluated, level - 1), level, tolerance)
        todo = points[~evaluated[tuple(points.T)]]
        if len(todo):
            evaluate(todo)
