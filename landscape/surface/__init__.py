"""Loss surfaces: directions, their normalisation, planes, grids and files."""

from landscape.surface.derivative_directions import (
    eigenvector_directions,
    gradient_direction,
    sam_direction,
)
from landscape.surface.directions import Normalization, filter_axes, is_ignored, random_direction
from landscape.surface.evaluate import compute_surface
from landscape.surface.exports import export
from landscape.surface.grid import coordinates
from landscape.surface.li_files import (
    read_li_directions,
    read_li_surface,
    write_li_directions,
)
from landscape.surface.measure import Measures
from landscape.surface.plane import Plane, cosine, difference, orthogonal, through
from landscape.surface.result import Surface, read_directions, read_surface
from landscape.surface.trajectory import principal_plane

__all__ = [
    "Measures",
    "Normalization",
    "Plane",
    "Surface",
    "compute_surface",
    "coordinates",
    "cosine",
    "difference",
    "eigenvector_directions",
    "export",
    "filter_axes",
    "gradient_direction",
    "is_ignored",
    "orthogonal",
    "principal_plane",
    "random_direction",
    "read_directions",
    "read_li_directions",
    "read_li_surface",
    "read_surface",
    "sam_direction",
    "through",
    "write_li_directions",
]
