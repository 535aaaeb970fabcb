"""Loss surfaces: lit in three dimensions, as contours, and several models on one scale."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape.plots import style
from landscape.plots.facets import ASPECT, facets, ring_segments, to_axis
from landscape.plots.heights import Range, checked, remark, shared_range
from landscape.plots.places import draw_markers

AXES = ("direction 1", "direction 2")
VIEW = (34, -58)  # elevation and azimuth in degrees


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
    beside: str | None = None,
    axes_names: tuple[str, str] = AXES,
) -> Axes3D:
    """A loss surface in three dimensions, coloured by height and lit from one side.

    The facets interpolate bilinearly between the measured points and pass through each of them.
    What lies above ``vmax`` is cut away, so that the shape of the valley shows from outside; what
    lies below ``vmin`` is drawn there; cells with a corner that is not finite, or on a logarithmic
    scale not positive, are left open. The text below the axes counts all of these points. The
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
    beside
        Text below, such as the certified λmax.
    axes_names
        Names of the two directions.
    """
    x, y, z = checked(x, y, z)
    heights = shared_range([z], vmin=vmin, vmax=vmax, log=log)
    if ax is None:
        ax = style.figure(style.COLUMN, 2.9, constrained=False).add_axes(
            (0.02, 0.08, 0.9, 0.84), projection="3d"
        )
    draw_surface(ax, x, y, z, heights, axes_names=axes_names)
    style.titled(ax, title)
    style.note_below(ax, style.lines(beside, remark(z, heights)))
    return style.verbatim(ax)


def draw_surface(
    ax: Axes3D, x, y, z, heights: Range, *, axes_names: tuple[str, str] = AXES
) -> None:
    """The lit surface and its axes, without any words."""
    ax.add_collection3d(_collection(x, y, z, heights), autolim=False)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set_zlim(*to_axis(np.array([heights.low, heights.high]), heights), view_margin=0)
    ax.set_box_aspect(ASPECT, zoom=1.08)
    ax.view_init(*VIEW)
    ax.set_proj_type("ortho")
    _dress(ax, heights, axes_names)


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
    markers: Mapping[str, Sequence[float]] | None = None,
    beside: str | None = None,
    axes_names: tuple[str, str] = AXES,
) -> Axes:
    """A loss surface as contour lines with their heights, on colours if ``filled``.

    Parameters are those of :func:`plot_surface`, and ``markers``, the places of other checkpoints:
    ``{name: (x, y)}``. The checkpoint at (0, 0) is marked with a cross; points without a place on
    the scale leave grey holes.
    """
    x, y, z = checked(x, y, z)
    heights = shared_range([z], vmin=vmin, vmax=vmax, log=log)
    if ax is None:
        ax = style.figure(style.COLUMN, 3.0).add_subplot()
    draw_contour(ax, x, y, z, heights, filled=filled, axes_names=axes_names)
    outside = draw_markers(ax, x, y, markers or {})
    style.titled(ax, title)
    style.note_below(ax, style.lines(beside, remark(z, heights), outside), 26)
    return style.verbatim(ax)


def draw_contour(
    ax: Axes, x, y, z, heights: Range, *, filled: bool = True, axes_names: tuple[str, str] = AXES
) -> None:
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
    ax.set_xlabel(axes_names[0], fontsize=style.SMALL, color=style.INK)
    ax.set_ylabel(axes_names[1], fontsize=style.SMALL, color=style.INK, labelpad=1)


def _extent(path) -> float:
    """Width of a contour line; labels of narrow ones would lie on top of each other."""
    return float(np.ptp(path.vertices[:, 0])) if len(path.vertices) else 0.0


def _collection(x, y, z, heights: Range) -> Poly3DCollection:
    """Facets and contour lines as one collection, so that they are sorted by depth together."""
    corners, colours = facets(x, y, z, heights)
    lines = ring_segments(x, y, z, heights, VIEW)
    paint = np.ones((len(corners) + len(lines), 4))
    paint[: len(corners), :3] = colours
    paint[len(corners) :, 3] = 0.75  # white, a little of the surface shines through
    # Edges in the colour of the facet close the hairlines that antialiasing leaves between facets.
    # The facets are pixels also in PDF and SVG files, where they would take megabytes.
    return Poly3DCollection(
        np.concatenate([corners, lines]), facecolors=paint, edgecolors=paint, linewidths=0.5,
        rasterized=True,
    )  # fmt: skip


def _dress(ax: Axes3D, heights: Range, axes_names: tuple[str, str]) -> None:
    """White panes, thin lines, few and small ticks."""
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set(color=style.MUTED, linewidth=0.5)
        # three-dimensional axes have no public way to style these
        axis._axinfo["grid"].update(color=style.FAINT, linewidth=0.4)
        axis._axinfo["tick"].update(inward_factor=0.0, outward_factor=0.15)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="both"))
    ax.zaxis.set_major_locator(FixedLocator(to_axis(heights.ticks(), heights)))
    if heights.log:
        ax.zaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:g}"))
    ax.zaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=style.SMALL - 1, pad=-4, labelcolor=style.INK)
    ax.set_xlabel(axes_names[0], fontsize=style.SMALL - 1, labelpad=-8, color=style.INK)
    ax.set_ylabel(axes_names[1], fontsize=style.SMALL - 1, labelpad=-8, color=style.INK)
