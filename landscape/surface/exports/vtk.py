"""Surfaces as VTK XML files, which ParaView opens; written without VTK."""

import base64
import os
from xml.sax.saxutils import quoteattr

import numpy as np

from landscape.surface.exports.mesh import mesh
from landscape.surface.result import Surface
from landscape.whole_file import whole_file

_HEAD = '<VTKFile type="{}" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
_TYPES = {"f8": "Float64", "i8": "Int64", "u1": "UInt8"}

# What vtkDataSetAttributes calls HIDDENPOINT and HIDDENCELL.
_HIDDEN_POINT, _HIDDEN_CELL = 2, 32


def save_vts(
    surface: Surface,
    path: str | os.PathLike,
    *,
    height: str = "train_loss",
    log: bool = False,
    cut: float | None = None,
) -> int:
    """Write a VTK structured grid: the height is one metric, all metrics are point data.

    Points whose height is not finite are hidden, and so are the cells around them (the array
    ``vtkGhostType``); their z is the end of the range of heights, because a NaN there would leave
    the picture without bounds. Metrics keep their values in float64, but infinities become NaN: an
    infinite range of colours makes everything one colour. Use ``cut`` to show infinite losses as
    a plateau. The heights as drawn are the point data ``zvalue``, as in :func:`save_vtp`.

    Parameters
    ----------
    surface
        A plane.
    path
        The file; it appears complete or not at all.
    height
        The metric that becomes z.
    log
        z = log(metric + 0.1), as in the figures of Li et al.
    cut
        Larger values, infinity too, are lowered to this one first.

    Returns
    -------
    int
        How many cells are hidden.

    Raises
    ------
    RequestError
        For a line, for a metric that was not measured or is nowhere finite, and if the file cannot
        be written.
    """
    made = mesh(surface, height, log, cut)
    flags = {"done": surface.done, "interpolated": surface.interpolated}
    point_data = [
        _binary("zvalue", made.points[:, 2], "f8"),
        *(
            _binary(name, np.where(np.isfinite(values), values, np.nan), "f8")
            for name, values in surface.metrics.items()
        ),
        *(_binary(name, values, "u1") for name, values in flags.items()),
        _binary("vtkGhostType", np.where(made.shown, 0, _HIDDEN_POINT), "u1"),
    ]
    cell_data = [_binary("vtkGhostType", np.where(made.complete, 0, _HIDDEN_CELL), "u1")]
    extent = f'"0 {len(surface.x) - 1} 0 {len(surface.y) - 1} 0 0"'
    _write(path, [
        _HEAD.format("StructuredGrid"),
        f"<StructuredGrid WholeExtent={extent}>",
        f"<Piece Extent={extent}>",
        '<PointData Scalars="zvalue">', *point_data, "</PointData>",
        "<CellData>", *cell_data, "</CellData>",
        "<Points>", _binary("Points", made.points, "f8", 3), "</Points>",
        "</Piece>",
        "</StructuredGrid>",
        "</VTKFile>",
    ])  # fmt: skip
    return made.left_out


def save_vtp(
    surface: Surface,
    path: str | os.PathLike,
    *,
    height: str = "train_loss",
    log: bool = False,
    cut: float | None = None,
) -> int:
    """Write quadrilaterals as the ``h52vtp.py`` of Li et al. does: ASCII VTK poly data.

    The heights are the point data ``zvalue``, their means over the corners the cell data
    ``averaged zvalue``. Unlike there, the grid need not be square, and cells with a corner whose
    height is not finite are left out; the point is kept, at the end of the range of heights.

    Parameters
    ----------
    surface, path, height, log, cut
        As for :func:`save_vts`.

    Returns
    -------
    int
        How many cells were left out.

    Raises
    ------
    RequestError
        As for :func:`save_vts`.
    """
    made = mesh(surface, height, log, cut)
    z, cells = made.points[:, 2], made.cells[made.complete]
    size = f'NumberOfPoints="{len(z)}" NumberOfPolys="{len(cells)}"'
    _write(path, [
        _HEAD.format("PolyData"),
        "<PolyData>",
        f'<Piece {size} NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0">',
        '<PointData Scalars="zvalue">', _ascii("zvalue", z, "f8"), "</PointData>",
        "<CellData>", _ascii("averaged zvalue", z[cells].mean(axis=1), "f8"), "</CellData>",
        "<Points>", _ascii("Points", made.points, "f8", 3), "</Points>",
        "<Polys>",
        _ascii("connectivity", cells, "i8"),
        _ascii("offsets", 4 * np.arange(1, len(cells) + 1), "i8"),
        "</Polys>",
        "</Piece>",
        "</PolyData>",
        "</VTKFile>",
    ])  # fmt: skip
    return made.left_out


def _binary(name: str, values: np.ndarray, dtype: str, components: int = 1) -> str:
    """A data array in base64, the only form in which readers take NaN."""
    raw = np.ascontiguousarray(values, "<" + dtype).tobytes()
    text = base64.b64encode(np.uint64(len(raw)).astype("<u8").tobytes() + raw).decode()
    return _array(name, dtype, components, "binary", text)


def _ascii(name: str, values: np.ndarray, dtype: str, components: int = 1) -> str:
    """A data array in digits that give the same numbers back."""
    rows = values if values.ndim == 2 else values[:, None]
    text = "\n".join(" ".join(map(repr, row)) for row in rows.tolist())
    return _array(name, dtype, components, "ascii", text)


def _array(name: str, dtype: str, components: int, form: str, text: str) -> str:
    return (
        f'<DataArray type="{_TYPES[dtype]}" Name={quoteattr(name)} '
        f'NumberOfComponents="{components}" format="{form}">\n{text}\n</DataArray>'
    )


def _write(path: str | os.PathLike, lines: list[str]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
