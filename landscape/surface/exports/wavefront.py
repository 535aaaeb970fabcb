"""Surfaces as Wavefront objects, for 3-D editors."""

import os

from landscape.surface.exports.mesh import mesh
from landscape.surface.result import Surface
from landscape.whole_file import whole_file


def save_obj(
    surface: Surface,
    path: str | os.PathLike,
    *,
    height: str = "train_loss",
    log: bool = False,
    cut: float | None = None,
) -> int:
    """Write a Wavefront ``.obj``: a vertex per point, x fastest, and a quadrilateral per cell.

    Cells with a corner whose height is not finite are left out; the vertex is kept, at the end of
    the range of heights, so that vertex ``1 + i * nx + j`` is always ``(x[j], y[i])``.

    Parameters
    ----------
    surface, path, height, log, cut
        As for :func:`landscape.surface.exports.save_vts`.

    Returns
    -------
    int
        How many cells were left out; a comment in the file also says it.

    Raises
    ------
    RequestError
        As for :func:`landscape.surface.exports.save_vts`.
    """
    made = mesh(surface, height, log, cut)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"# x and y in units of the directions, z = {made.name}\n")
        file.write(f"# {made.left_out} of {len(made.cells)} cells left out: not finite\n")
        file.writelines(f"v {x!r} {y!r} {z!r}\n" for x, y, z in made.points.tolist())
        cells = made.cells[made.complete] + 1
        file.writelines(f"f {a} {b} {c} {d}\n" for a, b, c, d in cells.tolist())
    return made.left_out
