"""Losses and accuracies along a line through the parameters."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from landscape.plots import style
from landscape.plots.heights import told_of
from landscape.plots.places import told_outside

_LOSS, _ACCURACY = style.HUES[0], style.HUES[1]
_DASHES = ("-", "--", ":", "-.")
_HATCHES = ("", "//////", "......", r"\\\\\\")


def plot_line(
    x,
    losses: Mapping[str, np.ndarray],
    accuracies: Mapping[str, np.ndarray] | None = None,
    *,
    errors: Mapping[str, np.ndarray] | None = None,
    errors_of: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    log: bool = False,
    title: str | None = None,
    beside: str | None = None,
    markers: Mapping[str, float] | None = None,
    xlabel: str = "direction 1",
) -> Axes:
    """Losses along a line, with accuracies on a second axis at the right.

    The first label is solid, the second dashed. Points that are not finite, or on a logarithmic
    scale not positive, are gaps and counted in the text below.

    Parameters
    ----------
    x
        Coordinates (nx,).
    losses, accuracies
        ``{"train": (nx,), "test": (nx,)}``; accuracies in percent.
    errors
        Standard errors of the losses, drawn as bands of one on either side.
    errors_of
        ``{"train": "split", "test": "population"}``: what the losses estimate up to those errors,
        for the legend.
    ax
        Axes to draw on; new ones by default.
    log
        Losses on a logarithmic scale.
    beside
        Text below, such as how many points there are so far.
    markers
        ``{name: coordinate}``: labelled vertical lines, such as two checkpoints.
    """
    x = np.asarray(x, np.float64)
    ax = style.dressed(ax)
    losses, accuracies = (
        {label: np.asarray(values, np.float64) for label, values in (given or {}).items()}
        for given in (losses, accuracies)
    )
    if log:
        ax.set_yscale("log")
    shown = {label: _placed(values, positive=log) for label, values in losses.items()}
    for number, (label, values) in enumerate(shown.items()):
        ax.plot(x, values, color=_LOSS, label=style.listed(f"{label} loss"), **_look(number))
    cut = _draw_bands(ax, x, shown, errors or {}, errors_of or {}, log)
    if log:
        style.logarithmic(ax.yaxis)
    ax.set_xlabel(xlabel, fontsize=style.SMALL, color=style.INK)
    _coloured(ax, "loss", _LOSS)
    handles, labels = ax.get_legend_handles_labels()
    if accuracies:
        right = ax.twinx()
        for number, (label, values) in enumerate(accuracies.items()):
            right.plot(x, _placed(values), color=_ACCURACY, label=style.listed(f"{label} accuracy"),
                       **_look(number))  # fmt: skip
        every = np.concatenate([*map(_finite, accuracies.values()), [0, 100]])
        right.set_ylim(every.min(), every.max())
        right.spines[["top", "left", "bottom"]].set_visible(False)
        right.spines["right"].set(color=style.MUTED, linewidth=0.6)
        right.tick_params(labelsize=style.SMALL, width=0.6, length=2.5)
        _coloured(right, "accuracy (%)", _ACCURACY)
        handles += right.get_legend_handles_labels()[0]
        labels += right.get_legend_handles_labels()[1]
    ax.set_xlim(x.min(), x.max())
    outside = _mark(ax, x, markers or {})
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    told = _told("loss", losses.values(), log), _told("accuracy", accuracies.values(), False)
    lines = style.lines(beside, *told, cut, told_outside(outside))
    style.note_below(ax, lines, 26)
    room = 26 + 10 * (lines.count("\n") + 1 if lines else 0)  # points below the axes
    ax.legend(handles, labels, fontsize=style.SMALL - 1, frameon=False, labelcolor=style.INK,
              loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=0,
              ncols=2 if max(map(len, labels), default=0) < style.LONGEST / 2 else 1,
              bbox_transform=ax.transAxes + style.points_down(ax, room))  # fmt: skip
    style.titled(ax, title, 12 if markers else 6)
    return style.verbatim(ax)


def _look(number: int) -> dict[str, Any]:
    """A dash for each of the first four curves, dashes with markers for more."""
    more, dash = divmod(number, len(_DASHES))
    marker = style.MARKERS[(more - 1) % len(style.MARKERS)] if more else None
    return {"linestyle": _DASHES[dash], "linewidth": 1.2, "marker": marker, "markersize": 2.5,
            "markevery": 0.1}  # fmt: skip


def _draw_bands(ax: Axes, x, shown, errors, errors_of, log: bool) -> str:
    """One standard error on either side of the losses; returns where there is no room for it."""
    errors = {label: errors[label] for label in shown if label in errors}
    errors = {k: np.asarray(v, np.float64) for k, v in errors.items() if np.any(_finite(v) > 0)}
    cut = count = 0
    for number, (label, error) in enumerate(errors.items()):
        low, high = shown[label] - error, shown[label] + error
        if log:
            lowest = min(np.min(values, where=values > 0, initial=np.inf)
                         for values in shown.values())  # fmt: skip
            cut, count = cut + int(np.sum(low <= 0)), count + len(x)
            low = np.where(low <= 0, lowest / 2, low)
        of = f", {errors_of[label]}" if label in errors_of else ""
        hatch = _HATCHES[number % len(_HATCHES)]  # bands share a hue, as the losses do
        ax.fill_between(x, low, high, color=_LOSS, alpha=0.2, linewidth=0, hatch=hatch,
                        label=style.listed(f"{label} ± standard error{of}"))  # fmt: skip
    return told_of("with an error down to zero", cut, count) if cut else ""


def _told(name: str, curves: Iterable[np.ndarray], log: bool) -> str:
    """How many points of all curves are gaps, and why."""
    values = np.concatenate([np.empty(0), *curves])
    counts = {
        f"without a finite {name}": int(np.sum(~np.isfinite(values))),
        f"without a positive {name}": int(np.sum(_finite(values) <= 0)) if log else 0,
    }
    return style.lines(*(told_of(what, count, values.size) for what, count in counts.items()
                         if count))  # fmt: skip


def _finite(values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]


def _placed(values: np.ndarray, *, positive: bool = False) -> np.ndarray:
    """The values that have a place on the axis; NaN for the others."""
    good = np.isfinite(values) & ((values > 0) | (not positive))
    return np.where(good, values, np.nan)


def _coloured(ax: Axes, name: str, hue: str) -> None:
    ax.set_ylabel(name, fontsize=style.SMALL, color=hue)
    ax.tick_params(axis="y", labelcolor=hue, color=hue)


def _mark(ax: Axes, x: np.ndarray, markers: Mapping[str, float]) -> list[str]:
    """Vertical lines with their names at the top; returns the names outside the range."""
    outside = []
    for name, place in markers.items():
        if not x.min() <= place <= x.max():
            outside.append(name)
            continue
        ax.axvline(place, color=style.MUTED, linewidth=0.6, linestyle=":")
        # Above the axes, where no curve is; names near the ends grow inwards.
        part = (place - x[0]) / (x[-1] - x[0])
        ax.annotate(name, (place, 1.0), (0, 2), va="bottom",
                    xycoords=("data", "axes fraction"), textcoords="offset points",
                    ha="left" if part < 0.25 else "right" if part > 0.75 else "center",
                    fontsize=style.SMALL - 1, color=style.MUTED)  # fmt: skip
    return outside
