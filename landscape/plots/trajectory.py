"""The path of a training run over the contours of its plane."""

from collections.abc import Mapping, Sequence

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes

from landscape.plots import style
from landscape.plots.heights import checked, remark, shared_range
from landscape.plots.places import draw_markers
from landscape.plots.surface import draw_contour

_PATH = style.HUES[1]


def plot_trajectory(
    x,
    y,
    z,
    path,
    *,
    explained: Sequence[float] | None = None,
    axes_names: tuple[str, str] = ("component 1", "component 2"),
    markers: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
    log: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
    filled: bool = True,
    title: str | None = None,
    beside: str | None = None,
) -> Axes:
    """Contours with the projected path of a training trajectory over them.

    The path starts hollow and ends filled. It is a projection: the losses of its checkpoints lie
    above the surface drawn.

    Parameters
    ----------
    x, y, z
        The grid, see :func:`landscape.plots.plot_surface`.
    path
        Coordinates of the checkpoints in order, shape (steps, 2).
    explained
        Fraction of the trajectory's variance along each axis, added to the names of the axes.
    axes_names
        Names of the two directions.
    markers
        Other places: ``{name: (x, y)}``.
    beside
        Text below, such as the certified λmax.
    """
    x, y, z = checked(x, y, z)
    path = np.asarray(path, np.float64)
    heights = shared_range([z], vmin=vmin, vmax=vmax, log=log)
    ax = style.figure(style.COLUMN, 3.0).add_subplot() if ax is None else ax
    if explained is not None:
        axes_names = tuple(f"{name} ({100 * part:.0f} % of variance)"
                           for name, part in zip(axes_names, explained, strict=True))  # fmt: skip
    draw_contour(ax, x, y, z, heights, filled=filled, axes_names=axes_names)
    line = ax.plot(path[:, 0], path[:, 1], "-", color=_PATH, linewidth=1.0, marker="o",
                   markersize=2.2, markeredgewidth=0, label="training")[0]  # fmt: skip
    line.set_path_effects([effects.Stroke(linewidth=2.0, foreground="white"), effects.Normal()])
    ax.plot(*path[0], "o", color="white", markeredgecolor=_PATH, markersize=4.5, mew=1.0)
    ax.plot(*path[-1], "o", color=_PATH, markeredgecolor="white", markersize=4.5, mew=0.7)
    outside = draw_markers(ax, x, y, markers or {})
    inside = (path >= [x[0], y[0]]).all(1) & (path <= [x[-1], y[-1]]).all(1)
    lost = "" if inside.all() else f"{np.sum(~inside)} of {len(path)} steps outside"
    style.titled(ax, title)
    style.note_below(ax, style.lines(beside, remark(z, heights), lost, outside), 26)
    return style.verbatim(ax)
