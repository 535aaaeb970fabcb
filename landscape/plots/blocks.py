"""λmax of the sub-diagonal blocks of the Hessian: points between their two-sided bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.numbers import interval, number
from landscape.plots import style

LONGEST = 48  # characters of a component's name


@dataclass(frozen=True)
class Sharpness:
    """λmax per component of one network, all arrays of shape (components,).

    ``estimate`` with its ``lower`` and ``upper`` bounds, NaN where nothing was measured, and
    whether the computation ``converged``.
    """

    components: Sequence[str]
    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    converged: np.ndarray


def plot_blocks(
    runs: Mapping[str, Sharpness],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    looks: Mapping[str, style.Look] | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """λmax per component, a point per run, on a logarithmic axis.

    The line through a point spans the lower to the upper bound; a triangle at the edge stands for
    a bound that is not positive, or infinite. SAM points are open; an asterisk marks what did not
    converge. Components are those of all runs, in the order in which they first appear, from the
    top down. Values that are not positive have no place on the axis and are written out with their
    bounds, and what was not measured is said. ``looks`` and ``limits`` fix hues and ends of the
    axis where several axes share them.
    """
    components = list(dict.fromkeys(name for run in runs.values() for name in run.components))
    if ax is None:
        rows = len(components) * len(runs)
        ax = style.figure(style.COLUMN, 0.7 + 0.14 * rows).add_subplot()
    ax = style.dressed(ax)
    looks = looks or style.looks(runs)
    limits = limits or _limits(runs)
    if limits:
        ax.set_xscale("log")
        ax.set_xlim(limits)
        style.logarithmic(ax.xaxis, limits)
    for place, (label, run) in enumerate(runs.items()):
        at = np.array([components.index(name) for name in run.components])
        at = at - 0.4 + (place + 0.5) * 0.8 / len(runs)
        _draw(ax, at, run, looks[label], label, limits)
    if not limits and all(np.isnan(run.estimate).all() for run in runs.values()):
        style.unavailable(ax, "not measured")
    names = [style.drawable(name, LONGEST) for name in components]
    ax.set_yticks(range(len(components)), names, fontsize=style.SMALL)
    ax.set_ylim(max(len(components) - 0.4, 0.6), -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("λmax", fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def _draw(ax: Axes, at, run: Sharpness, look: style.Look, label, limits) -> None:
    """The points of one run with their bounds, and in words what has no place on the axis."""
    placed = (run.estimate > 0) & np.isfinite(run.estimate)
    face = "white" if look.sam else look.hue
    for i in np.flatnonzero(placed):
        value, lower, upper = run.estimate[i], run.lower[i], run.upper[i]
        ends = [value if np.isnan(end) else end for end in (lower, upper)]
        if ends[0] <= 0:
            ends[0] = limits[0]
            ax.plot(limits[0], at[i], "<", color=look.hue, markersize=3, clip_on=False)
        if ends[1] == np.inf:
            ends[1] = limits[1]
            ax.plot(limits[1], at[i], ">", color=look.hue, markersize=3, clip_on=False)
        ax.plot(ends, [at[i]] * 2, "-", color=look.hue, marker="|", markersize=4, linewidth=0.9)
        if not run.converged[i]:
            right = max(value, upper) if np.isfinite(upper) else value
            shift = (4, 4 if ends[1] > right else -1.5)  # above a line that goes on
            ax.annotate("*", (right, at[i]), shift, textcoords="offset points", va="center",
                        fontsize=style.NORMAL)  # fmt: skip
    ax.plot(run.estimate[placed], at[placed], look.marker, color=look.hue, markersize=3.2,
            markerfacecolor=face, markeredgewidth=0.8, label=style.listed(label))  # fmt: skip
    if limits is None:
        placed = placed | np.isnan(run.estimate)  # said once for all
    for i in np.flatnonzero(~placed):
        ax.text(0.01, at[i], _in_words(run, i), transform=ax.get_yaxis_transform(),
                fontsize=style.SMALL - 1, va="center", color=look.hue)  # fmt: skip


def _in_words(run: Sharpness, i: int) -> str:
    value, lower, upper = run.estimate[i], run.lower[i], run.upper[i]
    if np.isnan(value):
        return "not measured"
    within = "" if np.isnan([lower, upper]).any() else f" {interval(lower, upper, 2)}"
    return f"{number(value, 2)}{within}{'' if run.converged[i] else '*'}"


def _limits(runs: Mapping[str, Sharpness]) -> tuple[float, float] | None:
    """Ends of the axis around every estimate and bound that has a place on it; None if none has."""
    values = np.concatenate([np.empty(0), *(
        part for run in runs.values() for part in (run.estimate, run.lower, run.upper)
    )])  # fmt: skip
    values = values[(values > 0) & np.isfinite(values)]
    if not any(np.any(run.estimate > 0) for run in runs.values()) or not len(values):
        return None
    margin = max(1.5, (values.max() / values.min()) ** 0.06)  # on the right with an asterisk
    return float(values.min() / margin), float(values.max() * margin * 1.2)


def compare_blocks(runs: Mapping[str, Sharpness], *, width: float = style.PAGE) -> Figure:
    """A panel per model, plain and SAM together, all on one logarithmic axis."""
    families: dict[str, dict[str, Sharpness]] = {}
    for label, run in runs.items():
        families.setdefault(style.base(label), {})[label] = run
    longest = max((len(name) for run in runs.values() for name in run.components), default=0)
    columns = min(3 if longest <= LONGEST / 1.5 else 2, max(1, len(families)))
    rows = -(-len(families) // columns)
    tallest = 0.0  # of the panels, in inches: room for the names and for the points
    for group in families.values():
        names = len({name for run in group.values() for name in run.components})
        tallest = max(tallest, names * max(0.14, 0.105 * len(group)))
    fig = style.figure(min(width, 3.4 * columns), rows * (0.6 + max(tallest, 0.7)) + 0.3)
    axes = fig.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for ax in axes[len(families) :]:
        ax.set_visible(False)
    looks, limits = style.looks(runs), _limits(runs)
    for ax, (family, group) in zip(axes, families.items(), strict=False):
        plot_blocks(group, ax=ax, title=style.wrapped(family, 48), looks=looks, limits=limits)
        ax.tick_params(labelsize=style.SMALL - 1)
    style.legend_below(fig, axes[: len(families)])
    return fig
