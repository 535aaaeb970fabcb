"""A surface while it is computed: what is there, and the rest interpolated for the eye."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from landscape.plots import style
from landscape.plots.heights import filled_in, remark, shared_range
from landscape.plots.line import plot_line
from landscape.plots.places import draw_markers
from landscape.plots.surface import draw_contour


def watch_figure(surface: Any, *, log: bool = False) -> Figure:
    """What there is of a :class:`landscape.surface.Surface`, finished or not, with its progress.

    Points that are still to come are interpolated between those that are there.
    """
    done, loss = surface.done, np.where(surface.done, surface.loss, np.nan)
    fig = style.figure(style.COLUMN, 3.2)
    ax = fig.add_subplot()
    told = f"{done.sum()} of {done.size} points"
    if not done.all():
        told += " so far, the rest interpolated"
    if surface.interpolated.any():
        told += f"; {surface.interpolated.sum()} interpolated"
    if surface.is_line:
        if done.sum() > 1:
            markers = {name: place[0] for name, place in surface.markers.items()}
            label = surface.loss_name.removesuffix("_loss")
            plot_line(surface.x[done], {label: loss[done]}, ax=ax, log=log, beside=told,
                      markers=markers)  # fmt: skip
        else:
            style.unavailable(ax, "no picture yet")
            style.note_below(ax, told, 30)
        return fig
    shown = filled_in(surface.x, surface.y, loss, done)
    heights, outside = shared_range([loss], log=log), ""
    if np.isfinite(shown).sum() < 4:
        style.unavailable(ax, "no picture yet")
    else:
        draw_contour(ax, surface.x, surface.y, shown, heights)
        outside = draw_markers(ax, surface.x, surface.y, surface.markers)
    style.note_below(ax, style.lines(told, remark(loss[done], heights), outside), 30)
    return fig
