"""What the surface pictures share: checked grids, one range of heights, missing and cut points."""

from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib.colors as colors
import numpy as np
from matplotlib.ticker import MaxNLocator

from landscape.errors import RequestError


@dataclass(frozen=True)
class Range:
    """One range of heights and colours for every panel of a picture.

    Heights below ``low`` are drawn at ``low`` and heights above ``high`` are cut; ``log`` says
    that heights and colours grow with the logarithm, and those that have none are left open.
    :func:`remark` counts all of them.
    """

    low: float
    high: float
    log: bool = False

    @property
    def norm(self) -> colors.Normalize:
        """From heights to [0, 1]."""
        kind = colors.LogNorm if self.log else colors.Normalize
        return kind(self.low, self.high, clip=True)

    def has_place(self, z: np.ndarray) -> np.ndarray:
        """Booleans: which heights are finite and, with ``log``, positive."""
        return np.isfinite(z) & ((z > 0) | (not self.log))

    def clip(self, z: np.ndarray) -> np.ndarray:
        """Heights within the range; what has no place on the scale becomes NaN."""
        return np.clip(np.where(self.has_place(z), z, np.nan), self.low, self.high)

    def above(self, z: np.ndarray) -> int:
        """How many heights are cut."""
        return int(np.sum(self.has_place(z) & (z > self.high)))

    def below(self, z: np.ndarray) -> int:
        """How many heights are drawn higher than they are."""
        return int(np.sum(self.has_place(z) & (z < self.low)))

    def ticks(self, count: int = 5) -> np.ndarray:
        """About ``count`` round heights inside the range, for an axis."""
        if self.log:
            powers = np.arange(np.ceil(np.log10(self.low)), np.floor(np.log10(self.high)) + 1)
            inside = 10.0**powers if len(powers) > 1 else self.rings()
            return inside[:: max(1, -(-len(inside) // (count + 1)))]
        ticks = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return ticks[(ticks >= self.low) & (ticks <= self.high)]

    def rings(self) -> np.ndarray:
        """Heights of contour lines: 1, 2, 5, 10, ... times a power of ten.

        The valley of a loss is steep at the rim and flat at the bottom, where equal steps would
        leave nothing to see; at most two decades below the top, three with ``log``.
        """
        bottom = self.high * (1e-3 if self.log else 1e-2)
        if self.high <= 0 or self.low >= self.high / 2 or self.low < -bottom:
            levels = MaxNLocator(9).tick_values(self.low, self.high)
        else:
            powers = 10.0 ** np.arange(-5, 1) * 10.0 ** np.floor(np.log10(self.high))
            levels = np.outer(powers, (1.0, 2.0, 5.0)).ravel()
            levels = levels[levels >= bottom]
        return levels[(levels > self.low) & (levels < self.high)]

    def rings_of(self, z: np.ndarray) -> np.ndarray:
        """The contour lines worth drawing: those that hold some points and leave some out.

        A line around fewer than nine points shows the grid rather than the valley.
        """
        least = min(9, z.size // 8)
        counts = np.array([np.sum(z < level) for level in self.rings()])
        finite = np.sum(np.isfinite(z))
        return self.rings()[(counts >= max(least, 1)) & (counts < finite)]


def shared_range(
    surfaces: Iterable[np.ndarray],
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    log: bool = False,
) -> Range:
    """The range that shows all surfaces at once.

    Parameters
    ----------
    surfaces
        Arrays of heights; values that are not finite are left out.
    vmin, vmax
        Fixed ends. By default the smallest height (the smallest positive one with ``log``) and
        the largest, the latter at most ten times as far above the smallest as a surface's median,
        so that one diverged corner does not flatten everything else. With ``log`` nothing is cut.
    log
        Heights and colours on a logarithmic scale.

    Raises
    ------
    RequestError
        If ``vmin`` is not below ``vmax``, or not positive with ``log``.
    """
    each = [np.ravel(np.asarray(z, np.float64)) for z in surfaces]
    each = [z[np.isfinite(z) & ((z > 0) | (not log))] for z in each]
    each = [z for z in each if z.size] or [np.array([1.0, 2.0])]
    finite = np.concatenate(each)
    low = float(finite.min()) if vmin is None else float(vmin)
    if vmax is not None:
        high = float(vmax)
    else:
        high = float(finite.max())
        if not log:
            medians = max(float(np.median(z)) for z in each)
            high = min(high, low + 10 * (medians - float(finite.min())))
        if high <= low:  # a constant surface, or more than half of it constant
            high = max(float(finite.max()), low + max(1e-3 * abs(low), 1e-12))
    if not low < high:
        raise RequestError(f"vmin: {low:g} is not below vmax={high:g}; give a smaller vmin")
    if log and low <= 0:
        raise RequestError(f"vmin: {low:g} has no logarithm; give a positive one, or log=False")
    return Range(low, high, log)


def checked(x, y, z) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The grid in float64, after checking its shapes.

    Raises
    ------
    RequestError
        If ``z`` is not of shape ``(len(y), len(x))`` or has fewer than two points along an axis.
    """
    x, y, z = (np.asarray(part, np.float64) for part in (x, y, z))
    if x.ndim != 1 or y.ndim != 1 or z.shape != (len(y), len(x)):
        raise RequestError(
            f"z: shape {z.shape} does not fit x {x.shape} and y {y.shape}; pass heights of shape "
            "(len(y), len(x))"
        )
    if min(z.shape) < 2:
        raise RequestError(f"z: a grid of {z.shape} has no area; use at least 2 x 2 points")
    return x, y, z


def remark(z: np.ndarray, heights: Range) -> str:
    """What the picture does not show as it is, a line each: missing, raised and cut points."""
    counts = {
        "without a finite value": int(np.sum(~np.isfinite(z))),
        "not positive": int(np.sum(np.isfinite(z) & ~heights.has_place(z))),
        f"raised to {heights.low:.3g}": heights.below(z),
        f"cut at {heights.high:.3g}": heights.above(z),
    }
    found = {told: count for told, count in counts.items() if count}
    return "\n".join(told_of(told, count, z.size) for told, count in found.items())


def told_of(what: str, count: int, of: int) -> str:
    """How many points are not shown as they are.

    Examples
    --------
    >>> told_of("not positive", 2, 45)
    '2 of 45 points not positive'
    """
    return f"{count} of {of} points {what}"


def filled_in(x, y, z, done) -> np.ndarray:
    """Heights with the points that are not done interpolated between those that are.

    Linear on triangles: one with a corner that is done and not finite stays open, so that holes
    are never averaged away. What lies outside all points that are done stays NaN.

    Parameters
    ----------
    x, y, z
        The grid.
    done
        Booleans of the shape of ``z``.
    """
    x, y, z = checked(x, y, z)
    done = np.asarray(done, bool)
    rows, columns = np.nonzero(done)
    if done.all() or len(set(rows)) < 2 or len(set(columns)) < 2:
        return np.where(done, z, np.nan)
    from scipy.interpolate import griddata

    # In units of the grid, whatever the directions' lengths.
    column, row = np.meshgrid(np.linspace(0, 1, len(x)), np.linspace(0, 1, len(y)))
    known = np.where(np.isfinite(z[done]), z[done], np.nan)
    found = griddata((row[done], column[done]), known, (row, column), method="linear")
    return np.where(done, z, found)
