"""Curvature: certified extreme eigenvalues, whole and per block; the paper's power iteration."""

from landscape.curvature.extremes import DEFAULT_LIMIT, block_extremes, check_request, extremes
from landscape.curvature.power import PowerEstimate, power_iteration
from landscape.curvature.search import Eigenvalue, Extremes

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
