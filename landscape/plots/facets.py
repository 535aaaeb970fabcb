"""A surface as small lit facets, and its contour lines in space."""

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from matplotlib.colors import LightSource

from landscape.plots import style
from landscape.plots.heights import Range

ASPECT = (1.0, 1.0, 0.75)  # of the box that is drawn
_LIGHT = LightSource(azdeg=225, altdeg=50)
_FACETS = 96  # at least so many along each axis, enough to look smooth at the size of a page


def to_axis(z: np.ndarray, heights: Range) -> np.ndarray:
    """Heights as they stand on the axis: their decimal logarithm with ``log``."""
    return np.log10(z) if heights.log else z


def facets(x, y, z, heights: Range) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 4, 3) and colours (n, 3) of the facets between the measured points.

    Facets interpolate bilinearly and pass through every measured point; they end at the top of the
    range, and there are none where a corner has no place on the scale. The colour says the height,
    its brightness the slope.
    """
    level, low, high = _levels(z, heights)
    light = _over_grid(_light(x, y, np.minimum(level, high), high - low))
    raised = _over_grid(level)
    corners = _corners(_grid(x, y, np.minimum(raised, high)))
    drawn = np.isfinite(corners[..., 2]).all(-1) & (_corners(raised) < high).any(-1)
    part = np.clip((corners[..., 2].mean(-1) - low) / (high - low), 0, 1)
    colours = colormaps[style.HEIGHTS](part)[..., :3] * _corners(light).mean(-1)[..., None]
    return corners[drawn], np.clip(colours, 0, 1)[drawn]


def ring_segments(x, y, z, heights: Range, view: tuple[float, float]) -> np.ndarray:
    """Contour lines on the surface as flat quads (n, 4, 3), to be sorted by depth with facets.

    They are moved towards the viewer (elevation and azimuth in degrees) by about a facet, which
    does not move them in a parallel projection, so that only facets truly in front hide them.
    """
    level, low, high = _levels(z, heights)
    grid = _grid(x, y, np.minimum(_over_grid(level), high))
    xs, ys, zs = grid[0, :, 0], grid[:, 0, 1], grid[..., 2]
    pieces = [np.empty((0, 2, 3))]
    generator = contour_generator(xs, ys, np.ma.masked_invalid(zs))
    for height in to_axis(heights.rings_of(z), heights):
        for line in generator.lines(height):
            points = np.c_[line, np.full(len(line), height)]
            pieces.append(np.stack([points[:-1], points[1:]], axis=1))
    elevation, azimuth = np.radians(view)
    towards = np.array([np.cos(elevation) * np.cos(azimuth),
                        np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])  # fmt: skip
    extent = np.array([np.ptp(xs), np.ptp(ys), high - low]) / ASPECT
    segments = np.concatenate(pieces) + 1.5 / min(zs.shape) * towards * extent
    return segments[:, [0, 1, 1, 0]]


def _levels(z, heights: Range) -> tuple[np.ndarray, float, float]:
    """Heights on the axis (NaN where they have no place) and the ends of the range there."""
    above = heights.low + 4 * (heights.high - heights.low)  # no corner pulls its cell up too far
    placed = np.where(heights.has_place(z), z, np.nan)
    level = to_axis(np.clip(placed, heights.low, above), heights)
    low, high = to_axis(np.array([heights.low, heights.high]), heights)
    return level, low, high


def _grid(x, y, refined: np.ndarray) -> np.ndarray:
    """Points (rows, columns, 3) of a refined surface."""
    return np.stack([*np.meshgrid(_refined(x), _refined(y)), refined], axis=-1)


def _corners(grid: np.ndarray) -> np.ndarray:
    """The four corners of every facet, shape (rows, columns, 4, ...)."""
    return np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2)


def _over_grid(values: np.ndarray) -> np.ndarray:
    return _refined(_refined(values).T).T


def _refined(values: np.ndarray) -> np.ndarray:
    """Linear interpolation along the last axis, in equal steps within each cell."""
    count = values.shape[-1]
    steps = -(-_FACETS // (count - 1))
    at = np.arange((count - 1) * steps + 1) / steps
    left = np.minimum(at.astype(int), count - 2)
    weight = at - left
    first, second = values[..., left], values[..., left + 1]
    # a missing neighbour must not wipe out the measured point itself
    return np.where(weight == 0, first, np.where(weight == 1, second,
                    (1 - weight) * first + weight * second))  # fmt: skip


def _light(x, y, z, height: float) -> np.ndarray:
    """Brightness per point by Lambert's law in the proportions of the drawn box, in [0.4, 1.2]."""
    rise = np.array([_bridged(x, row) for row in z]) / height * ASPECT[2]
    across = np.gradient(rise, x, axis=1) * (x[-1] - x[0]) / ASPECT[0]
    along = np.gradient(rise, y, axis=0) * (y[-1] - y[0]) / ASPECT[1]
    normal = np.stack([-across, -along, np.ones_like(rise)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return 0.4 + 0.8 * np.clip(normal @ _LIGHT.direction, 0, 1)


def _bridged(x, row) -> np.ndarray:
    """A row with its holes closed by straight lines, for the light beside them."""
    known = np.isfinite(row)
    return np.interp(x, x[known], row[known]) if known.any() else np.zeros_like(row)
