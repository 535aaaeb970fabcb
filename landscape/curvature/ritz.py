"""Ritz vectors that were checked: by a product of their own, and in float64 by another program."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape import parameters
from landscape.curvature.lanczos import check_finite, rayleigh
from landscape.parameters import Tree


@dataclass(frozen=True)
class RitzPair:
    """A unit vector with what was measured of it.

    Attributes
    ----------
    vector
        The vector, a tree.
    quotient
        Its Rayleigh quotient, of a fresh product.
    residual
        ``||H u - quotient u||`` of that product.
    check, check_error
        The Rayleigh quotient by :meth:`landscape.Objective.rayleigh_quotient`, whose program shares
        nothing with the product's, and the size of its error; NaN for a matrix that has none.
    """

    vector: Tree
    quotient: float
    residual: float
    check: float
    check_error: float

    @property
    def product_error(self) -> float:
        """How far the product is off along the vector, and with it the eigenvalue to first order.

        0 where it is not known.
        """
        return float(np.nansum([abs(self.quotient - self.check), self.check_error]))

    def agrees(self, tolerance: float) -> bool:
        """Whether product and check are as near as the check's error and a tolerance allow."""
        allowed = tolerance + 2 * float(np.nan_to_num(self.check_error))
        return not abs(self.quotient - self.check) > allowed


def measured(matrix: Any, vector: Tree, products: int) -> RitzPair:
    """Measure a unit vector, with the product that comes after so many others.

    Raises
    ------
    RequestError
        If the product is not finite.
    """
    quotient, residual = map(float, rayleigh(vector, matrix.product(vector)))
    check_finite([quotient, residual], products + 1)
    check = getattr(matrix, "rayleigh_quotient", None)
    found = (math.nan, math.nan) if check is None else check(vector)
    return RitzPair(vector, quotient, residual, *found)


class Negated:
    """The matrix with all eigenvalues negated: its largest one is the smallest of the other."""

    def __init__(self, matrix: Any):
        self.params, self.noise = matrix.params, getattr(matrix, "noise", 0.0)
        self._matrix = matrix

    def product(self, vector: Tree) -> Tree:
        return parameters.scaled(self._matrix.product(vector), -1.0)
