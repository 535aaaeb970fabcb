"""Checkpoints in the plane of a surface."""

from collections.abc import Mapping, Sequence

import matplotlib.patheffects as effects
from matplotlib.axes import Axes

from landscape.plots import style


def draw_markers(ax: Axes, x, y, markers: Mapping[str, Sequence[float]]) -> str:
    """Dots with names; returns what is to be said of those outside the grid."""
    outside = []
    taken: list[tuple[float, float]] = []
    for name, (column, row) in markers.items():
        if not (x[0] <= column <= x[-1] and y[0] <= row <= y[-1]):
            outside.append(name)
            continue
        ax.plot(column, row, "o", markersize=3.5, color="white", markeredgecolor=style.INK,
                markeredgewidth=0.7)  # fmt: skip
        # Towards the middle, and below instead of above where another name already is.
        left = column > (x[0] + x[-1]) / 2
        near = any(
            abs(column - c) < 0.3 * (x[-1] - x[0]) and abs(row - r) < 0.08 * (y[-1] - y[0])
            for c, r in taken
        )
        taken.append((column, row))
        text = ax.annotate(name, (column, row), (-4 if left else 4, -4 if near else 4),
                           textcoords="offset points", ha="right" if left else "left",
                           va="top" if near else "bottom", fontsize=style.SMALL - 1,
                           color="white")  # fmt: skip
        text.set_path_effects([effects.withStroke(linewidth=1.5, foreground=style.INK)])
    return told_outside(outside)


def told_outside(names: Sequence[str]) -> str:
    """Which places lie outside the picture."""
    return f"outside: {', '.join(names)}" if names else ""
