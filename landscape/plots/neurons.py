"""Active neurons against depth, as in the paper's figure on the first MLP layers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.plots import style

_NAMES = {"MlpBlock": "MLP", "token_mixing": "token MLP", "channel_mixing": "channel MLP",
          "unit": "residual units"}  # fmt: skip


@dataclass(frozen=True)
class Activity:
    """Active fractions of one network.

    ``layers`` in network order (``"encoderblock_0/MlpBlock_0"``), ``fraction`` in [0, 1] and its
    standard ``error``, both of shape (layers,); NaN where nothing was measured.
    """

    layers: Sequence[str]
    fraction: np.ndarray
    error: np.ndarray

    def kinds(self) -> dict[str, "Activity"]:
        """One curve per kind of layer: Mixers have token and channel MLPs in turn."""
        found: dict[str, list[int]] = {}
        for place, layer in enumerate(self.layers):
            found.setdefault(kind(layer), []).append(place)
        return {
            name: Activity([self.layers[i] for i in places], self.fraction[places],
                           self.error[places])
            for name, places in found.items()
        }  # fmt: skip


def kind(layer: str) -> str:
    """What a layer is, without its number: ``"encoderblock_3/MlpBlock_0"`` gives ``"MLP"``."""
    name = re.sub(r"[_\d]*$", "", layer.rpartition("/")[2])
    return _NAMES.get(name, name or layer)


def plot_neurons(
    runs: Mapping[str, Activity],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    looks: Mapping[str, style.Look] | None = None,
) -> Axes:
    """Percentage of active neurons per block, a line with standard errors per run.

    The abscissa counts the layers of a run from 1. Labels that differ only by ``-SAM`` share a
    hue; SAM is dashed with open markers. Layers that were not measured are gaps and counted.
    ``looks`` fixes the hues where several axes share labels.
    """
    ax = style.dressed(ax)
    looks = looks or style.looks(runs)
    gaps = []
    for label, activity in runs.items():
        missing = int(np.sum(~np.isfinite(activity.fraction)))
        if missing:
            gaps.append(f"{label}: {missing} of {len(activity.layers)} not measured")
        look = looks[label]
        depth = np.arange(1, len(activity.layers) + 1)
        if np.isfinite(activity.fraction).any():
            ax.errorbar(
                depth, 100 * activity.fraction, 100 * np.asarray(activity.error),
                label=style.listed(label),
                color=look.hue, linestyle=look.dash, marker=look.marker, linewidth=1.1,
                markersize=3.2, markerfacecolor="white" if look.sam else look.hue,
                markeredgewidth=0.8, elinewidth=0.7, capsize=1.5,
            )  # fmt: skip
    if ax.containers:
        style.note_below(ax, style.lines(*gaps), 26)
    else:
        style.unavailable(ax, "not measured")
    ax.set_ylim(_limits(runs))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlabel("block", fontsize=style.SMALL)
    ax.set_ylabel("active neurons (%)", fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def _limits(runs: Mapping[str, Activity]) -> tuple[float, float]:
    """Ends of the ordinate that leave out no curve and no error, in percent."""
    ends = [0.0]
    for activity in runs.values():
        error = np.where(np.isfinite(activity.error), activity.error, 0)
        ends += [*(activity.fraction - error), *(activity.fraction + error)]
    low, high = 100 * np.nanmin(ends), 100 * np.nanmax(ends)
    margin = 0.06 * (high - low) or 1.0
    return (low - margin if low < 0 else 0.0), high + margin


def compare_neurons(runs: Mapping[str, Activity], *, width: float = style.PAGE) -> Figure:
    """A panel per model and kind of layer, plain and SAM together, all on one ordinate."""
    panels: dict[tuple[str, str], dict[str, Activity]] = {}
    for label, activity in runs.items():
        for name, curve in activity.kinds().items():
            panels.setdefault((style.base(label), name), {})[label] = curve
    columns = min(4, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    fig = style.figure(min(width, 2.3 * columns + 1.0), 2.0 * rows + 0.35)
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    looks = style.looks(runs)
    for place, ((family, name), curves) in enumerate(panels.items()):
        ax = plot_neurons(
            curves,
            ax=axes[place],
            title=f"{style.wrapped(family, 22)}\n{name}",
            looks=looks,
        )
        if place % columns:
            ax.set_ylabel("")
    axes[0].set_ylim(_limits(runs))  # shared by all
    style.legend_below(fig, axes[: len(panels)])
    return fig
