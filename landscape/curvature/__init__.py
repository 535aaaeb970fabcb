"""Curvature: certified extremes, eigenpairs, trace, density; whole, per block, with data error."""

from landscape.curvature.data_error import DataError, Scan, data_error, scan
from landscape.curvature.density import Density, Smoothed
from landscape.curvature.diagonal import Diagonal, diagonal
from landscape.curvature.eigenpairs import Eigenpairs, eigenpairs
from landscape.curvature.estimate import Estimate
from landscape.curvature.extremes import DEFAULT_LIMIT, block_extremes, check_request, extremes
from landscape.curvature.fisher import fisher
from landscape.curvature.power import PowerEstimate, power_iteration
from landscape.curvature.search import Eigenvalue, Extremes
from landscape.curvature.sharpness import (
    CriticalStep,
    SamSharpness,
    critical_step,
    directional_sharpness,
    sam_sharpness,
)
from landscape.curvature.spectrum import Spectrum, spectrum
from landscape.curvature.trace import Trace, hutch_plus_plus, trace, xtrace

__all__ = [
    "DEFAULT_LIMIT",
    "CriticalStep",
    "DataError",
    "Density",
    "Diagonal",
    "Eigenpairs",
    "Eigenvalue",
    "Estimate",
    "Extremes",
    "PowerEstimate",
    "SamSharpness",
    "Scan",
    "Smoothed",
    "Spectrum",
    "Trace",
    "block_extremes",
    "check_request",
    "critical_step",
    "data_error",
    "diagonal",
    "directional_sharpness",
    "eigenpairs",
    "extremes",
    "fisher",
    "hutch_plus_plus",
    "power_iteration",
    "sam_sharpness",
    "scan",
    "spectrum",
    "trace",
    "xtrace",
]
