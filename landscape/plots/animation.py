"""A surface along training: one frame per saved step, one range for all of them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter

from landscape.errors import RequestError
from landscape.plots import style
from landscape.plots.heights import checked, remark, shared_range
from landscape.plots.surface import AXES, draw_contour, draw_surface
from landscape.whole_file import whole_file

KINDS = ("surface", "contour")
_HEIGHT, _LINE = 3.1, 0.14  # inches of a frame, and of a line of text


def animate(
    frames: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
    *,
    kind: str = "surface",
    log: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
    dark: bool = False,
    label: str = "training loss",
    axes_names: tuple[str, str] = AXES,
) -> FuncAnimation:
    """Surfaces one after the other, on the same heights, colours and extent.

    Parameters
    ----------
    frames
        ``(title, x, y, z)`` of each; see :func:`landscape.plots.plot_surface`.
    kind
        ``"surface"`` or ``"contour"``.
    vmin, vmax, log
        The range, by default :func:`landscape.plots.heights.shared_range` of all frames.
    dark
        For a dark page.
    label
        What the heights are, below the axes.
    axes_names
        Names of the two directions.

    Raises
    ------
    RequestError
        For an unknown kind or no frames.
    """
    if kind not in KINDS:
        raise RequestError(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    if not frames:
        raise RequestError("frames: there are none; pass at least one surface")
    grids = [(title, *checked(x, y, z)) for title, x, y, z in frames]
    heights = shared_range([z for *_, z in grids], vmin=vmin, vmax=vmax, log=log)
    words = [style.lines(label, remark(z, heights)) for *_, z in grids]
    # Beyond one line above and one below, each takes room of its own.
    above, below = (
        _LINE * max(text.count("\n") for text in texts)
        for texts in ([title for title, *_ in grids], words)
    )
    high = _HEIGHT + above + below
    fig = style.figure(style.COLUMN, high, constrained=False)
    extent = {
        "xlim": (min(x[0] for _, x, _, _ in grids), max(x[-1] for _, x, _, _ in grids)),
        "ylim": (min(y[0] for _, _, y, _ in grids), max(y[-1] for _, _, y, _ in grids)),
    }

    def place(left: float, bottom: float, width: float, height: float) -> tuple[float, ...]:
        return left, (bottom * _HEIGHT + below) / high, width, height * _HEIGHT / high

    def draw(number: int) -> list:
        fig.clear()
        title, x, y, z = grids[number]
        if kind == "surface":
            ax = fig.add_axes(place(0.02, 0.08, 0.9, 0.84), projection="3d")
            draw_surface(ax, x, y, z, heights, axes_names=axes_names)
        else:
            ax = fig.add_axes(place(0.16, 0.16, 0.76, 0.74))
            draw_contour(ax, x, y, z, heights, axes_names=axes_names)
        ax.set(**extent)
        style.titled(ax, title)
        style.note_below(ax, words[number], 26 if kind == "contour" else 4)
        style.verbatim(fig)
        if dark:
            style.for_dark_page(fig)
        return list(fig.axes)

    return FuncAnimation(fig, draw, frames=len(grids), interval=400, init_func=lambda: [])


MADE_BY = "made by landscape"  # a comment in the file


def save_animation(animation: FuncAnimation, path: str | os.PathLike) -> None:
    """Write an animation as .gif, or as .mp4 where ffmpeg is installed.

    Raises
    ------
    RequestError
        For another suffix, without ffmpeg, or where the file cannot be written.
    """
    path = Path(path)
    writers = {".gif": PillowWriter, ".mp4": FFMpegWriter}
    if path.suffix not in writers:
        raise RequestError(f"animation: {path} is neither .gif nor .mp4")
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise RequestError("animation: .mp4 needs ffmpeg, which is not installed; use .gif")
    with whole_file(path, "animation") as temporary:
        writer = writers[path.suffix](fps=4, metadata={"comment": MADE_BY})
        animation.save(temporary, writer=writer, dpi=150)
        if path.suffix == ".gif":  # whose writer leaves the comment out
            with temporary.open("r+b") as file:
                file.seek(-1, os.SEEK_END)  # over the trailer
                file.write(b"\x21\xfe" + bytes([len(MADE_BY)]) + MADE_BY.encode() + b"\0;")
