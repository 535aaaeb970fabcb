"""Several loss surfaces side by side on one range, one height and one colour scale."""

import math
from collections.abc import Mapping

import matplotlib.cm as cm
import numpy as np
from matplotlib.figure import Figure

from landscape.errors import RequestError
from landscape.plots import style
from landscape.plots.heights import Range, checked, remark, shared_range
from landscape.plots.surface import AXES, draw_contour, draw_surface

KINDS = ("surface", "contour")


def compare(
    surfaces: Mapping[str, tuple],
    *,
    kind: str = "surface",
    vmin: float | None = None,
    vmax: float | None = None,
    log: bool = False,
    captions: Mapping[str, str] | None = None,
    columns: int | None = None,
    width: float = style.PAGE,
    label: str = "training loss",
    filled: bool = True,
    axes_names: tuple[str, str] = AXES,
) -> Figure:
    """Surfaces of several models with one colour bar for all of them.

    Every panel has the same heights, the same colours and the same extent along both directions.

    Parameters
    ----------
    surfaces
        ``{title: (x, y, z)}`` with shapes (nx,), (ny,) and (ny, nx).
    kind
        ``"surface"`` or ``"contour"``.
    vmin, vmax, log
        The range, by default :func:`landscape.plots.heights.shared_range` of all surfaces.
    captions
        ``{title: text}``: a line or two below a panel, such as its λmax.
    columns
        Panels per row; by default at most three.
    width
        Of the figure, in inches; the height follows. One or two panels take less.
    label
        What the heights are, beside the colour bar.
    filled
        Whether contours lie on colours.
    axes_names
        Names of the two directions.

    Raises
    ------
    RequestError
        For no surfaces, a wrong shape, an unknown kind or an empty range.
    """
    if kind not in KINDS:
        raise RequestError(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    if not surfaces:
        raise RequestError("surfaces: there are none to compare; pass at least one")
    grids = {title: checked(*grid) for title, grid in surfaces.items()}
    heights = shared_range([z for _, _, z in grids.values()], vmin=vmin, vmax=vmax, log=log)
    if columns is None:
        columns = len(grids) if len(grids) <= 3 else 2 if len(grids) == 4 else 3
    sheet = _Sheet(grids, kind, heights, captions or {}, columns, width, label)
    return sheet.drawn(filled, axes_names)


class _Sheet:
    """The page the panels are laid out on, in inches."""

    BAR, TOP, LINE, LARGEST = 0.72, 0.2, 0.135, 3.0
    CHARACTERS = 19  # small ones, in an inch

    def __init__(self, grids, kind, heights: Range, captions, columns: int, width, label):
        self.grids, self.kind, self.heights, self.label = grids, kind, heights, label
        self.flat = kind == "contour"
        self.columns = columns
        self.left = 0.5 if self.flat else 0.05
        self.axis = 0.4 if self.flat else 0.17  # for the ticks and names of the lower axis
        self.cell = min((width - self.left - self.BAR) / columns, self.LARGEST)
        self.words = {}  # the caption, then what the drawing has to say of itself
        for title, (_, _, z) in grids.items():
            text = style.lines(captions.get(title), remark(z, heights))
            self.words[title] = style.wrapped(text, int(self.CHARACTERS * self.cell))
        lines = max(text.count("\n") + 1 if text else 0 for text in self.words.values())
        self.width = self.left + columns * self.cell + self.BAR
        self.panel = self.cell - 0.14 if self.flat else 0.84 * self.cell
        self.foot = self.axis + self.LINE * lines + 0.1
        self.row = self.TOP + self.panel + self.foot
        self.height = math.ceil(len(grids) / columns) * self.row

    def drawn(self, filled: bool, axes_names: tuple[str, str]) -> Figure:
        fig = style.figure(self.width, self.height, constrained=False)
        limits = self._limits()
        projection = {} if self.flat else {"projection": "3d"}
        for place, (title, grid) in enumerate(self.grids.items()):
            row, column = divmod(place, self.columns)
            x = self.left + column * self.cell
            y = self.height - (row + 1) * self.row
            wide = self.panel if self.flat else self.cell - 0.06
            ax = fig.add_axes(self._part(x, y + self.foot, wide, self.panel), **projection)
            if self.flat:
                draw_contour(ax, *grid, self.heights, filled=filled, axes_names=axes_names)
            else:
                draw_surface(ax, *grid, self.heights, axes_names=axes_names)
            ax.set(**limits)
            if self.flat:
                self._name_outer_axes_only(ax, place)
            self._write(fig, title, x + wide / 2, y)
        self._bar(fig)
        return style.verbatim(fig)

    def _part(self, x, y, wide, high) -> tuple[float, float, float, float]:
        """Inches as fractions of the figure."""
        return x / self.width, y / self.height, wide / self.width, high / self.height

    def _limits(self) -> dict:
        """The smallest rectangle that holds every grid."""
        xs = np.concatenate([x for x, _, _ in self.grids.values()])
        ys = np.concatenate([y for _, y, _ in self.grids.values()])
        return {"xlim": (xs.min(), xs.max()), "ylim": (ys.min(), ys.max())}

    def _name_outer_axes_only(self, ax, place: int) -> None:
        """One extent for all: the axes are named at the left and below the lowest panels."""
        if place % self.columns:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if place + self.columns < len(self.grids):
            ax.set_xlabel("")

    def _write(self, fig, title: str, x: float, y: float) -> None:
        """Title above the panel, words below it."""
        top, foot = y + self.row - 0.03, y + self.foot - self.axis
        size = min(style.NORMAL, 5.9 * self.CHARACTERS * self.cell / max(len(title), 1))
        fig.text(x / self.width, top / self.height, title, ha="center", va="top",
                 fontsize=size, weight="bold", color=style.INK)  # fmt: skip
        fig.text(x / self.width, foot / self.height, self.words[title], ha="center", va="top",
                 fontsize=style.SMALL, color=style.MUTED, linespacing=1.3)  # fmt: skip

    def _bar(self, fig) -> None:
        high = min(self.height * 0.6, 2.6)
        rectangle = self._part(self.width - 0.58, (self.height - high) / 2, 0.11, high)
        above, below = (
            any(beyond(z) for _, _, z in self.grids.values())
            for beyond in (self.heights.above, self.heights.below)
        )
        ends = {(True, True): "both", (True, False): "max", (False, True): "min"}
        colours = cm.ScalarMappable(self.heights.norm, style.HEIGHTS)
        extend = ends.get((above, below), "neither")
        bar = fig.colorbar(colours, cax=fig.add_axes(rectangle), extend=extend)
        bar.set_label(self.label, fontsize=style.SMALL, color=style.INK)
        if self.heights.log:
            style.logarithmic(bar.ax.yaxis, (self.heights.low, self.heights.high))
        bar.outline.set_linewidth(0.4)
        bar.ax.tick_params(labelsize=style.SMALL, width=0.5, length=2, labelcolor=style.INK)
