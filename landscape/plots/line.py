"""Losses and accuracies along a line through the parameters."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from landscape.plots import style

_LOSS, _ACCURACY = style.HUES[0], style.HUES[1]
_DASHES = ("-", "--", ":", "-.")


def plot_line(
    x,
    losses: Mapping[str, np.ndarray],
    accuracies: Mapping[str, np.ndarray] | None = None,
    *,
    errors: Mapping[str, np.ndarray] | None = None,
    ax: Axes | None = None,
    log: bool = False,
    title: str | None = None,
    markers: Mapping[str, float] | None = None,
    xlabel: str = "direction 1",
) -> Axes:
    """Losses along a line, with accuracies on a second axis at the right.

    The first label is solid, the second dashed. Points that are not finite are gaps and counted in
    the text below the axes.

    Parameters
    ----------
    x
        Coordinates (nx,).
    losses, accuracies
        ``{"train": (nx,), "test": (nx,)}``; accuracies in percent.
    errors
        Standard errors of the losses, drawn as bands of one on either side.
    ax
        Axes to draw on; new ones by default.
    log
        Losses on a logarithmic scale.
    markers
        ``{name: coordinate}``: labelled vertical lines, such as two checkpoints.
    """
    x = np.asarray(x, np.float64)
    ax = style.dressed(ax)
    missing = 0
    for dash, (label, values) in zip(_DASHES, losses.items(), strict=False):
        shown = _finite(values, positive=log)
        missing += int(np.isnan(shown).sum())
        ax.plot(x, shown, dash, color=_LOSS, linewidth=1.2, label=f"{label} loss")
        error = None if errors is None else errors.get(label)
        if error is not None and np.any(_finite(error) > 0):
            low, high = shown - error, shown + error
            if log:
                low = np.maximum(low, np.nanmin(shown) / 2)
            ax.fill_between(x, low, high, color=_LOSS, alpha=0.2, linewidth=0)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(style.plain))
    ax.set_xlabel(xlabel, fontsize=style.SMALL, color=style.INK)
    _coloured(ax, "loss", _LOSS)
    handles, labels = ax.get_legend_handles_labels()
    if accuracies:
        right = ax.twinx()
        for dash, (label, values) in zip(_DASHES, accuracies.items(), strict=False):
            right.plot(x, _finite(values), dash, color=_ACCURACY, linewidth=1.2,
                       label=f"{label} accuracy")  # fmt: skip
        right.set_ylim(0, 100)
        right.spines[["top", "left", "bottom"]].set_visible(False)
        right.spines["right"].set(color=style.MUTED, linewidth=0.6)
        right.tick_params(labelsize=style.SMALL, width=0.6, length=2.5)
        _coloured(right, "accuracy (%)", _ACCURACY)
        handles += right.get_legend_handles_labels()[0]
        labels += right.get_legend_handles_labels()[1]
    ax.set_xlim(x[0], x[-1])
    outside = _mark(ax, x, markers or {})
    ax.legend(handles, labels, fontsize=style.SMALL - 1, frameon=False, labelcolor=style.INK,
              loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)  # fmt: skip
    notes = [f"{missing} points not finite"] if missing else []
    notes += [f"outside: {', '.join(outside)}"] if outside else []
    style.titled(ax, title, 12 if markers else 6)
    if notes:
        ax.annotate("; ".join(notes), (0.02, 0.97), xycoords="axes fraction", va="top",
                    fontsize=style.SMALL - 1, color=style.MUTED)  # fmt: skip
    return ax


def _finite(values, *, positive: bool = False) -> np.ndarray:
    values = np.asarray(values, np.float64)
    good = np.isfinite(values) & ((values > 0) | (not positive))
    return np.where(good, values, np.nan)


def _coloured(ax: Axes, name: str, hue: str) -> None:
    ax.set_ylabel(name, fontsize=style.SMALL, color=hue)
    ax.tick_params(axis="y", labelcolor=hue, color=hue)


def _mark(ax: Axes, x: np.ndarray, markers: Mapping[str, float]) -> list[str]:
    """Vertical lines with their names at the top; returns the names outside the range."""
    outside = []
    for name, place in markers.items():
        if not x[0] <= place <= x[-1]:
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
