"""Coordinates along a direction."""

import numpy as np

from landscape.errors import RequestError


def coordinates(low: float, high: float, points: int = 51) -> np.ndarray:
    """``points`` equally spaced coordinates from ``low`` to ``high``, an exact zero where one is.

    Around zero, where the checkpoint is, an odd number of points has one there; 50, the number that
    makes 2,500 points of a plane, has none.

    Raises
    ------
    RequestError
        If the range is empty or there are fewer than 2 points.

    Examples
    --------
    >>> coordinates(-0.5, 1.0, 4).tolist()
    [-0.5, 0.0, 0.5, 1.0]
    """
    if points < 2 or not low < high:
        raise RequestError(f"grid: {points} points from {low} to {high} are no grid; use 2 or more")
    values = np.linspace(low, high, points)
    values[np.abs(values) < 1e-12 * (high - low)] = 0.0
    return values
