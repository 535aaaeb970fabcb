"""Curvature: certified extreme eigenvalues, whole and per block; the paper's power iteration."""

from landscape.curvature.extremes import (
    DEFAULT_LIMIT,
    Eigenvalue,
    Extremes,
    block_extremes,
    check_request,
    extremes,
)
from landscape.curvature.power import PowerEstimate, power_iteration

__all__ = [
    "DEFAULT_LIMIT",
    "Eigenvalue",
    "Extremes",
    "PowerEstimate",
    "block_extremes",
    "check_request",
    "extremes",
    "power_iteration",
]
