"""Curvature: certified extreme eigenvalues, whole and per block; the paper's power iteration."""

from landscape.curvature.extremes import (
    DEFAULT_LIMIT,
    Eigenvalue,
    Extremes,
    block_extremes,
    extremes,
)
from landscape.curvature.power import PowerEstimate, power_iteration

__all__ = [
    "DEFAULT_LIMIT",
    "Eigenvalue",
    "Extremes",
    "PowerEstimate",
    "block_extremes",
    "extremes",
    "power_iteration",
]
