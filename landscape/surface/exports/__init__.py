"""Surfaces for other programs: ParaView (.vts, .vtp), 3-D editors (.obj), tables (.csv)."""

import os
from pathlib import Path

from landscape.errors import RequestError
from landscape.surface.exports.table import save_csv
from landscape.surface.exports.vtk import save_vtp, save_vts
from landscape.surface.exports.wavefront import save_obj
from landscape.surface.result import Surface

__all__ = ["export", "save_csv", "save_obj", "save_vtp", "save_vts"]

_MESHES = {".vts": save_vts, ".vtp": save_vtp, ".obj": save_obj}


def export(
    surface: Surface,
    path: str | os.PathLike,
    *,
    height: str = "train_loss",
    log: bool = False,
    cut: float | None = None,
) -> int:
    """Write a surface in the format that the name of the file ends in.

    Parameters
    ----------
    surface
        What to write; a line fits into a table only.
    path
        ``.vts``, ``.vtp``, ``.obj`` or ``.csv``; it appears complete or not at all.
    height, log, cut
        The metric that becomes the height, and its scale, see :func:`save_vts`. A table holds
        every metric as it is.

    Returns
    -------
    int
        How many cells are not shown because a corner has no finite height; 0 for a table.

    Raises
    ------
    RequestError
        For another ending, for a line where a plane is needed, for a metric that the surface does
        not have, and if the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        save_csv(surface, path)
        return 0
    if suffix not in _MESHES:
        known = ", ".join([*_MESHES, ".csv"])
        raise RequestError(f"export: {path} ends in none of {known}; name a file that does")
    return _MESHES[suffix](surface, path, height=height, log=log, cut=cut)
