"""Surfaces as tables."""

import csv
import os

import numpy as np

from landscape.surface.result import Surface
from landscape.whole_file import whole_file


def save_csv(surface: Surface, path: str | os.PathLike) -> None:
    """Write one row per point: x, y, every metric, done, interpolated; x fastest.

    Numbers have the digits that give the same float64 back; ``inf`` and ``nan`` stand for
    themselves; ``done`` and ``interpolated`` are 1 or 0. On a line there is no y.

    Raises
    ------
    RequestError
        If the file cannot be written.
    """
    columns = {"x": surface.x}
    if not surface.is_line:
        y, x = np.meshgrid(surface.y, surface.x, indexing="ij")
        columns = {"x": x, "y": y}
    columns |= surface.metrics
    columns |= {"done": surface.done.astype(int), "interpolated": surface.interpolated.astype(int)}
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(np.ravel(v).tolist() for v in columns.values()), strict=True))
