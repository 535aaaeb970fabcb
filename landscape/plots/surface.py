"""Loss surfaces: lit in three dimensions, as contours, and several models on one scale."""

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LightSource
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape.plots import style
from landscape.plots.heights import Range, checked, remark, shared_range

ASPECT = (1.0, 1.0, 0.75)
VIEW = (28, -58)  # elevation and azimuth in degrees
_LIGHT = LightSource(azdeg=225, altdeg=50)
_REFINE = 5  # facets per grid cell and axis


def plot_surface(
    x,
    y,
    z,
    *,
    ax: Axes3D | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    log: bool = False,
    title: str | None = None,
) -> Axes3D:
    """A loss surface in three dimensions, coloured by height and lit from one side.

    The facets interpolate bilinearly between the measured points and pass through each of them.
    What lies above ``vmax`` is cut away, so that the shape of the valley shows from outside; cells
    with a corner that is not finite are left open. Both are said in the text below the axes. The
    light depends on the slope alone and is not stretched per picture, so a flat bowl looks flat
    beside a sharp one.

    Parameters
    ----------
    x, y
        Coordinates along the two directions, shapes (nx,) and (ny,).
    z
        Heights, shape (ny, nx).
    ax
        Axes with ``projection="3d"``; new ones by default.
    vmin, vmax
        Range of heights and colours, see :func:`landscape.plots.heights.shared_range`.
    log
        Heights and colours on a logarithmic scale.
    title
        Text above.
    """
    x, y, z = checked(x, y, z)
    heights = shared_range([z], vmin=vmin, vmax=vmax, log=log)
    if ax is None:
        ax = style.figure(style.COLUMN, 2.9, constrained=False).add_axes(
            (0.02, 0.08, 0.9, 0.84), projection="3d"
        )
    draw_surface(ax, x, y, z, heights)
    style.titled(ax, title)
    style.note_below(ax, remark(z, heights))
    return ax


def draw_surface(ax: Axes3D, x, y, z, heights: Range) -> None:
    """The lit surface and its axes, without any words."""
    ax.add_collection3d(_facets(x, y, z, heights), autolim=False)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set_zlim(*_to_axis(np.array([heights.low, heights.high]), heights), view_margin=0)
    ax.set_box_aspect(ASPECT, zoom=1.12)
    ax.view_init(*VIEW)
    ax.set_proj_type("ortho")
    _dress(ax, heights)


def plot_contour(
    x,
    y,
    z,
    *,
    ax: Axes | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    log: bool = False,
    filled: bool = True,
    title: str | None = None,
) -> Axes:
    """A loss surface as contour lines with their heights, on colours if ``filled``.

    Parameters are those of :func:`plot_surface`. The checkpoint at (0, 0) is marked with a cross;
    points that are not finite leave grey holes.
    """
    x, y, z = checked(x, y, z)
    heights = shared_range([z], vmin=vmin, vmax=vmax, log=log)
    if ax is None:
        ax = style.figure(style.COLUMN, 3.0).add_subplot()
    draw_contour(ax, x, y, z, heights, filled=filled)
    style.titled(ax, title)
    style.note_below(ax, remark(z, heights), 26)
    return ax


def draw_contour(ax: Axes, x, y, z, heights: Range, *, filled: bool = True) -> None:
    """The contours and their axes, without any words beside the heights of the lines."""
    style.dressed(ax).grid(visible=False)
    ax.set_facecolor(style.FAINT)  # shows where nothing is known
    shown = heights.clip(z)
    space = np.geomspace if heights.log else np.linspace
    bands = space(heights.low, heights.high, 33)
    bands[[0, -1]] = heights.low, heights.high
    if filled:
        ax.contourf(x, y, shown, levels=bands, cmap=style.HEIGHTS, norm=heights.norm)
    else:
        ax.contourf(x, y, shown, levels=bands[[0, -1]], colors="white")
    levels = heights.rings_of(shown)
    if len(levels):
        colours = "white" if filled else style.INK
        drawn = ax.contour(x, y, shown, levels=levels, colors=colours, linewidths=0.7)
        wide = [level for level, path in zip(drawn.levels, drawn.get_paths(), strict=True)
                if _extent(path) > 0.25 * (x[-1] - x[0])]  # fmt: skip
        ax.clabel(drawn, wide, fontsize=style.SMALL - 1, fmt="%g", inline_spacing=2)
    if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
        ax.plot(0, 0, marker="+", color="white" if filled else style.INK, markersize=4, mew=0.7)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="both"))
    ax.set_xlabel("direction 1", fontsize=style.SMALL, color=style.INK)
    ax.set_ylabel("direction 2", fontsize=style.SMALL, color=style.INK, labelpad=1)


def _extent(path) -> float:
    """Width of a contour line; labels of narrow ones would lie on top of each other."""
    return float(np.ptp(path.vertices[:, 0])) if len(path.vertices) else 0.0


def _to_axis(z: np.ndarray, heights: Range) -> np.ndarray:
    return np.log10(z) if heights.log else z


def _facets(x, y, z, heights: Range) -> Poly3DCollection:
    """The lit facets as one collection; heights are those of the axis (log10 with ``log``)."""
    above = heights.low + 4 * (heights.high - heights.low)  # no corner pulls its cell up too far
    level = _to_axis(np.clip(np.where(np.isfinite(z), z, np.nan), heights.low, above), heights)
    low, high = _to_axis(np.array([heights.low, heights.high]), heights)
    light = _over_grid(_light(x, y, np.minimum(level, high), high - low))
    raised = _over_grid(level)
    shown = np.minimum(raised, high)
    grid = np.stack([*np.meshgrid(_refined(x), _refined(y)), shown], axis=-1)
    corners = _corners(grid)
    drawn = np.isfinite(corners[..., 2]).all(-1) & (_corners(raised) < high).any(-1)
    part = np.clip((corners[..., 2].mean(-1) - low) / (high - low), 0, 1)
    rgb = colormaps[style.HEIGHTS](part)[..., :3] * _corners(light).mean(-1)[..., None]
    faces = np.clip(rgb[drawn], 0, 1)
    lines = _ring_segments(grid, heights.rings_of(z), heights, high - low)
    # edges in the colour of the facet close the hairlines that antialiasing leaves between facets
    paint = np.concatenate([np.c_[faces, np.ones(len(faces))], np.full((len(lines), 4), 0.75)])
    paint[len(faces) :, :3] = 1
    return Poly3DCollection(
        np.concatenate([corners[drawn], lines]), facecolors=paint, edgecolors=paint, linewidths=0.5
    )


def _ring_segments(grid, levels, heights: Range, height: float) -> np.ndarray:
    """Contour lines on the surface as flat quads, sorted by depth with the facets around them.

    They are moved towards the viewer by about a facet, which does not move them in the picture
    (the projection is parallel), so that only facets truly in front hide them.
    """
    xs, ys, zs = grid[0, :, 0], grid[:, 0, 1], grid[..., 2]
    pieces = [np.empty((0, 2, 3))]
    generator = contour_generator(xs, ys, np.ma.masked_invalid(zs))
    for level in _to_axis(levels, heights):
        for line in generator.lines(level):
            points = np.c_[line, np.full(len(line), level)]
            pieces.append(np.stack([points[:-1], points[1:]], axis=1))
    segments = np.concatenate(pieces)
    elevation, azimuth = np.radians(VIEW)
    towards = np.array([np.cos(elevation) * np.cos(azimuth),
                        np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])  # fmt: skip
    extent = np.array([np.ptp(xs), np.ptp(ys), height]) / ASPECT
    segments = segments + 1.5 / min(zs.shape) * towards * extent
    return segments[:, [0, 1, 1, 0]]


def _corners(grid: np.ndarray) -> np.ndarray:
    """The four corners of every facet, shape (rows, columns, 4, ...)."""
    return np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2)


def _over_grid(values: np.ndarray) -> np.ndarray:
    return _refined(_refined(values).T).T


def _refined(values: np.ndarray) -> np.ndarray:
    """Linear interpolation to ``_REFINE`` steps per cell along the last axis."""
    count = values.shape[-1]
    at = np.linspace(0, count - 1, (count - 1) * _REFINE + 1)
    left = np.minimum(at.astype(int), count - 2)
    weight = at - left
    first, second = values[..., left], values[..., left + 1]
    # a missing neighbour must not wipe out the measured point itself
    return np.where(weight == 0, first, np.where(weight == 1, second,
                    (1 - weight) * first + weight * second))  # fmt: skip


def _light(x, y, z, height: float) -> np.ndarray:
    """Brightness per point by Lambert's law in the proportions of the drawn box, in [0.4, 1.2]."""
    rise = np.nan_to_num(z / height * ASPECT[2])
    across = np.gradient(rise, x, axis=1) * (x[-1] - x[0]) / ASPECT[0]
    along = np.gradient(rise, y, axis=0) * (y[-1] - y[0]) / ASPECT[1]
    normal = np.stack([-across, -along, np.ones_like(rise)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return 0.4 + 0.8 * np.clip(normal @ _LIGHT.direction, 0, 1)


def _dress(ax: Axes3D, heights: Range) -> None:
    """White panes, thin lines, few and small ticks."""
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set(color=style.MUTED, linewidth=0.5)
        axis._axinfo["grid"].update(color=style.FAINT, linewidth=0.4)
        axis._axinfo["tick"].update(inward_factor=0.0, outward_factor=0.15)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="both"))
    ax.zaxis.set_major_locator(FixedLocator(_to_axis(heights.ticks(), heights)))
    if heights.log:
        ax.zaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:.3g}"))
    ax.zaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=style.SMALL - 1, pad=-4, labelcolor=style.INK)
    ax.set_xlabel("direction 1", fontsize=style.SMALL - 1, labelpad=-8, color=style.INK)
    ax.set_ylabel("direction 2", fontsize=style.SMALL - 1, labelpad=-8, color=style.INK)
