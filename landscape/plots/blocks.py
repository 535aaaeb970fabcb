"""λmax of the sub-diagonal blocks of the Hessian as bars with their two-sided bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.plots import style


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
) -> Axes:
    """λmax per component, a bar per run, on a logarithmic axis.

    The lines at the ends of the bars span the lower to the upper bound. SAM bars are tinted; an
    asterisk marks what did not converge. Components are those of all runs, in the order in which
    they first appear, from the top down. Values that are not positive have no place on the axis
    and are written out beside it. ``looks`` fixes the hues where several axes share labels.
    """
    components = list(dict.fromkeys(name for run in runs.values() for name in run.components))
    if ax is None:
        rows = len(components) * len(runs)
        ax = style.figure(style.COLUMN, 0.7 + 0.14 * rows).add_subplot()
    ax = style.dressed(ax, grid="x")
    looks = looks or style.looks(runs)
    thick = 0.8 / max(1, len(runs))
    ends = _ends(runs)
    floor = ends[0] if ends else 1.0
    if ends:
        ax.set_xscale("log")
    for place, (label, run) in enumerate(runs.items()):
        for i, name in enumerate(run.components):
            at = components.index(name) - 0.4 + (place + 0.5) * thick
            value, mark = run.estimate[i], "" if run.converged[i] else "*"
            if value > 0:
                _bar(ax, at, 0.9 * thick, floor, run, i, looks[label], label)
            elif not np.isnan(value):
                ax.text(0.01, at, f"{value:.2g}{mark}", transform=ax.get_yaxis_transform(),
                        fontsize=style.SMALL - 1, va="center", color=looks[label].hue)  # fmt: skip
    if ends:
        ax.set_xlim(ends)
        ax.xaxis.set_major_formatter(style.plain)
    elif not ax.texts:
        style.unavailable(ax, "not measured")
    ax.set_yticks(range(len(components)), components, fontsize=style.SMALL)
    ax.set_ylim(max(len(components) - 0.4, 0.6), -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("λmax", fontsize=style.SMALL)
    style.titled(ax, title)
    return ax


def _bar(ax: Axes, at, thick, floor, run: Sharpness, i: int, look: style.Look, label) -> None:
    """One bar with its bounds and, if need be, its asterisk."""
    value, lower, upper = run.estimate[i], run.lower[i], run.upper[i]
    lower = max(lower, floor) if np.isfinite(lower) else value
    upper = upper if np.isfinite(upper) else value
    ax.barh(at, value, thick, left=1e-6 * floor, color=look.fill, edgecolor=look.hue,
            linewidth=0.6, label=label)  # fmt: skip
    reach = np.maximum([[value - lower], [upper - value]], 0)
    ax.errorbar(value, at, xerr=reach, color=style.INK, elinewidth=0.8, capsize=1.6, capthick=0.8)
    if not run.converged[i]:
        ax.annotate("*", (max(value, upper), at), (3, -1), textcoords="offset points",
                    va="center", fontsize=style.NORMAL)  # fmt: skip


def _ends(runs: Mapping[str, Sharpness]) -> tuple[float, float] | None:
    """The ends of the axis, None if nothing is positive.

    Bars begin a power of ten below the smallest value, at most six decades below the largest; on
    the right there is room for an asterisk.
    """
    values = [
        value
        for run in runs.values()
        for value in (*run.estimate, *run.lower, *run.upper)
        if 0 < value < np.inf
    ]
    if not values:
        return None
    lowest = max(min(values), 1e-6 * max(values))
    return float(10.0 ** np.floor(np.log10(lowest) - 0.15)), 2.5 * max(values)


def compare_blocks(runs: Mapping[str, Sharpness], *, width: float = style.PAGE) -> Figure:
    """A panel per model, plain and SAM together, all on one logarithmic axis."""
    families: dict[str, dict[str, Sharpness]] = {}
    for label, run in runs.items():
        families.setdefault(style.base(label), {})[label] = run
    columns = min(3, max(1, len(families)))
    rows = -(-len(families) // columns)
    tallest = 0.0  # of the panels, in inches: room for the names and for the bars
    for group in families.values():
        names = len({name for run in group.values() for name in run.components})
        tallest = max(tallest, names * max(0.14, 0.105 * len(group)))
    fig = style.figure(min(width, 3.4 * columns), rows * (0.6 + max(tallest, 0.7)) + 0.3)
    axes = fig.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for ax in axes[len(families) :]:
        ax.set_visible(False)
    looks = style.looks(runs)
    for ax, (family, group) in zip(axes, families.items(), strict=False):
        plot_blocks(group, ax=ax, title=family, looks=looks)
        ax.tick_params(axis="y", labelsize=style.SMALL - 1)
    if any(ax.get_xscale() == "log" for ax in axes[: len(families)]):
        axes[0].set_xlim(_ends(runs))  # shared by all
    style.legend_below(fig, axes[: len(families)])
    return fig
