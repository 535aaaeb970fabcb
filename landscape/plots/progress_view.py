"""A surface while it is computed: what is there, and the rest interpolated for the eye."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from landscape.plots import style
from landscape.plots.heights import filled_in, remark, shared_range
from landscape.plots.line import plot_line
from landscape.plots.places import draw_markers
from landscape.plots.surface import draw_contour


def watch_figure(surface: Any, *, metric: str | None = None, log: bool = False) -> Figure:
    """What there is of a :class:`landscape.surface.Surface`, finished or not, with its progress.

    Points that are still to come are interpolated between those that are there.

    Parameters
    ----------
    surface
        A plane or a line.
    metric
        What is drawn of a plane, by default the loss; a line shows the loss.
    log
        Heights on a logarithmic scale.

    Raises
    ------
    RequestError
        If there is no such metric.
    """
    name, done = metric or surface.loss_name, surface.done
    found = np.where(done, surface.metric(name), np.nan)
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
            plot_line(surface.x[done], {label: surface.loss[done]}, ax=ax, log=log, beside=told,
                      markers=markers, xlabel=surface.axes_names[0])  # fmt: skip
        else:
            style.unavailable(ax, "no picture yet")
            style.note_below(ax, told, 30)
        return style.verbatim(fig)
    shown = filled_in(surface.x, surface.y, found, done)
    heights, outside = shared_range([found], log=log), ""
    if np.isfinite(shown).sum() < 4:
        style.unavailable(ax, "no picture yet")
    else:
        draw_contour(ax, surface.x, surface.y, shown, heights, axes_names=surface.axes_names)
        outside = draw_markers(ax, surface.x, surface.y, surface.markers)
    words = style.lines(name.replace("_", " "), told, remark(found[done], heights), outside)
    style.note_below(ax, words, 30)
    return style.verbatim(fig)
