"""One place for the colours, line styles, sizes and plain dressing of every picture.

Figures are made with the object-oriented interface, never with pyplot, so that no global state of
matplotlib is touched. Hues are Okabe and Ito's, which people with every common form of colour
blindness can tell apart; plain and SAM training share a hue and differ in dash and fill.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import fill
from typing import TypeVar

import matplotlib.colors as colors
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from landscape.printable import escape, printable

COLUMN = 3.4  # inches, one column of a two-column paper
PAGE = 7.0  # inches, the whole width of the text
SMALL, NORMAL = 7.0, 8.0  # points
INK, MUTED, FAINT = "#1a1a1a", "#595959", "#d9d9d9"
HEIGHTS = "viridis"  # perceptually uniform, readable in grey
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SAM = "-SAM"  # a label that holds this belongs to the label without it
LONGEST = 64  # characters of a line

Drawn = TypeVar("Drawn", bound=Artist)


@dataclass(frozen=True)
class Look:
    """How one run is drawn: its hue, dash, marker and whether areas are filled or only tinted."""

    hue: str
    dash: str
    marker: str
    sam: bool

    @property
    def fill(self) -> str:
        """The hue for plain training, a light tint of it for SAM."""
        if not self.sam:
            return self.hue
        red, green, blue = colors.to_rgb(self.hue)
        return colors.to_hex(tuple(0.35 * part + 0.65 for part in (red, green, blue)))


def base(label: str) -> str:
    """The label of the plainly trained partner: ``"ViT-B/16-SAM"`` gives ``"ViT-B/16"``."""
    return label.replace(SAM, "")


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """A :class:`Look` per label; labels that differ only by ``-SAM`` share hue and marker."""
    labels = list(labels)
    families = list(dict.fromkeys(map(base, labels)))
    found = {}
    for label in labels:
        place = families.index(base(label))
        sam = SAM in label
        found[label] = Look(
            HUES[place % len(HUES)],
            "--" if sam else "-",
            MARKERS[(place + place // len(HUES)) % len(MARKERS)],  # no two runs look the same
            sam,
        )
    return found


def figure(width: float = COLUMN, height: float = 2.4, *, constrained: bool = True) -> Figure:
    """An empty white figure of the given size in inches."""
    layout = "constrained" if constrained else None
    return Figure(figsize=(width, height), dpi=200, facecolor="white", layout=layout)


def dressed(ax: Axes | None, *, grid: str = "both") -> Axes:
    """The axes, or new ones in a new figure, with thin spines, small ticks and a faint grid."""
    ax = figure().add_subplot() if ax is None else ax
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=MUTED, linewidth=0.6)
    ax.tick_params(labelsize=SMALL, color=MUTED, labelcolor=INK, width=0.6, length=2.5)
    ax.tick_params(which="minor", width=0.4, length=1.5, color=MUTED)
    ax.grid(visible=True, axis=grid, color=FAINT, linewidth=0.4)
    ax.set_axisbelow(True)
    return ax


def titled(ax: Axes, title: str | None, points: float = 6) -> None:
    """A small title above the axes, if there is one."""
    if title:
        ax.set_title(wrapped(title), fontsize=NORMAL, color=INK, pad=points)


def lines(*texts: str | None) -> str:
    """Texts below each other, without the empty ones."""
    return "\n".join(filter(None, texts))


def wrapped(text: str, width: int = LONGEST) -> str:
    """The text with its lines broken where they are longer; what is longer than three is cut."""
    return "\n".join(fill(drawable(line, 3 * width), width) for line in text.split("\n"))


def drawable(text: str, most: int = LONGEST) -> str:
    """The text with escapes for what the font has no picture of, its lines cut where too long."""
    font = get_font(findfont(FontProperties()))
    shown = [printable(line, most) for line in text.split("\n")]
    return "\n".join(
        "".join(c if font.get_char_index(ord(c)) else escape(c) for c in line) for line in shown
    )


def listed(label: str) -> str:
    """A label as legends take it: matplotlib leaves out those that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def verbatim(drawn: Drawn) -> Drawn:
    """A finished figure, axes or legend with its words as they are: in names a $ is a $."""
    for text in drawn.findobj(Text):
        text.set(text=drawable(text.get_text()), parse_math=False)
    return drawn


def note_below(ax: Axes, text: str, points: float = 4) -> None:
    """A muted line centred below the axes, if there is one."""
    if text:
        ax.annotate(wrapped(text), (0.5, 0.0), (0, -points), xycoords="axes fraction",
                    textcoords="offset points", ha="center", va="top", fontsize=SMALL,
                    color=MUTED, annotation_clip=False)  # fmt: skip


def points_down(ax: Axes, points: float) -> ScaledTranslation:
    """A shift by so many points, whatever the size of the axes."""
    return ScaledTranslation(0, -points / 72, ax.figure.dpi_scale_trans)


def legend_below(fig: Figure, axes: Iterable[Axes]) -> None:
    """One legend below a whole figure, every label once; the figure grows by its further lines."""
    handles = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        longest = min(max(map(len, handles)), LONGEST) + 9  # characters, with the sample line
        columns = max(1, min(len(handles), int(15 * fig.get_figwidth() / longest)))
        if columns < len(handles):  # even rows; partners stay above each other or side by side
            columns = -(-len(handles) // -(-len(handles) // columns))
        grow(fig, -(-len(handles) // columns) - 1)
        verbatim(
            fig.legend(handles.values(), handles.keys(), loc="outside lower center",
                       frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=2.6,
                       ncols=columns)
        )  # fmt: skip


def grow(fig: Figure, lines: int) -> None:
    """Room for so many more small lines of text."""
    fig.set_figheight(fig.get_figheight() + 1.3 * SMALL / 72 * max(lines, 0))


_DARK = {"page": "#121212", INK: "#ececec", MUTED: "#a8a8a8", FAINT: "#3d3d3d"}


def for_dark_page(fig: Figure) -> Figure:
    """Recolour a finished figure for a dark page: paper dark, inks light; data keep their hues."""
    swapped = {colors.to_hex(old): new for old, new in _DARK.items() if old != "page"}
    swapped |= {"#000000": _DARK[INK], HUES[0].lower(): "#3d9bdc"}  # too dark on dark paper
    fig.set_facecolor(_DARK["page"])
    for ax in fig.axes:
        paper = colors.to_hex(ax.get_facecolor())
        ax.set_facecolor(_DARK["page"] if paper == "#ffffff" else swapped.get(paper, paper))
        for axis in (ax.xaxis, ax.yaxis, getattr(ax, "zaxis", None)):
            grid = getattr(axis, "_axinfo", {}).get("grid")  # of three-dimensional axes
            if grid:
                grid["color"] = _DARK[FAINT]
    for part in ("color", "edgecolor"):
        for artist in fig.findobj(lambda a, part=part: hasattr(a, f"get_{part}")):
            colour = getattr(artist, f"get_{part}")()
            colour = colour[0] if np.ndim(colour) == 2 and len(colour) == 1 else colour
            # Words with a halo lie on the picture, which stays as it is.
            if colors.is_color_like(colour) and not artist.get_path_effects():
                hexed = colors.to_hex(colour)
                if hexed in swapped and colors.to_rgba(colour)[3]:
                    getattr(artist, f"set_{part}")(swapped[hexed])
    return fig


def plain(value: float, _position=None) -> str:
    """Tick labels of logarithmic axes: 0.01, 1, 100 rather than powers of ten."""
    return f"{value:g}"


def logarithmic(axis: Axis, limits: tuple[float, float] | None = None) -> None:
    """A logarithmic axis, with labels also where it spans less than a power of ten.

    Labels are at powers of ten, at 1, 2 and 5 times them below two decades, and equally far apart
    in value where the axis spans less than a factor of five; nothing between them is labelled.

    Parameters
    ----------
    axis
        Such as ``ax.yaxis``.
    limits
        Its positive ends; by default those that it has, so that it comes after the curves.
    """
    if axis.get_scale() != "log":
        getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    low, high = sorted(axis.get_view_interval() if limits is None else limits)
    if high < 5 * low:  # it might hold but one of 1, 2 and 5
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=6))
    axis.set_major_formatter(plain)
    axis.set_minor_formatter(NullFormatter())


def unavailable(ax: Axes, text: str) -> None:
    """Say in the middle of empty axes why there is nothing to see."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL,
            color=MUTED)  # fmt: skip
