"""The neural tangent kernel and its condition number."""

from landscape.ntk.condition import (
    ConditionNumber,
    condition_number,
    kernel_eigenvalues,
    of_stored,
    pair_eigenvalues,
    summarise,
)
from landscape.ntk.empirical import Jacobians, empirical_ntk

__all__ = [
    "ConditionNumber",
    "Jacobians",
    "condition_number",
    "empirical_ntk",
    "kernel_eigenvalues",
    "of_stored",
    "pair_eigenvalues",
    "summarise",
]
