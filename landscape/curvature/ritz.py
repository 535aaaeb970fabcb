"""Ritz vectors that were checked: by a product of their own, and in float64 by another program."""

import math
from dataclasses import dataclass
from typing import Any

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
    check
        The Rayleigh quotient in float64 by :meth:`landscape.Objective.rayleigh_quotient`, whose
        program shares nothing with the product's; NaN for a matrix that has none.
    """

    vector: Tree
    quotient: float
    residual: float
    check: float

    @property
    def difference(self) -> float:
        """How far product and check are apart: the product's error along the vector; 0 if unknown.

        By it the product misses this eigenvalue, to first order.
        """
        return 0.0 if math.isnan(self.check) else abs(self.quotient - self.check)


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
    return RitzPair(vector, quotient, residual, math.nan if check is None else check(vector))


class Negated:
    """The matrix with all eigenvalues negated: its largest one is the smallest of the other."""

    def __init__(self, matrix: Any):
        self.params, self.noise = matrix.params, getattr(matrix, "noise", 0.0)
        self._matrix = matrix

    def product(self, vector: Tree) -> Tree:
        return parameters.scaled(self._matrix.product(vector), -1.0)
