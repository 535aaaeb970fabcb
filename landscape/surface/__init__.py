"""Loss surfaces: directions, their normalisation, and grids."""

from landscape.surface.directions import Normalization, cosine, filter_axes, random_direction
from landscape.surface.grid import Surface, compute_surface, coordinates, read_surface

__all__ = [
    "Normalization",
    "Surface",
    "compute_surface",
    "coordinates",
    "cosine",
    "filter_axes",
    "random_direction",
    "read_surface",
]
