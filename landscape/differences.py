"""Hessian-vector products by central differences of gradients, with their error estimated.

For losses whose second derivative does not exist in code, such as fused attention kernels.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from landscape import parameters
from landscape.parameters import Tree

Gradient = Callable[[Tree], Tree]


@dataclass(frozen=True)
class Differences:
    """Central differences of a gradient at one point.

    Attributes
    ----------
    step
        Distance from the point at which gradients are taken, on both sides.
    error
        Norm of the difference between the products of one random unit vector at this step and at
        the next: the truncation grows with the step and the rounding falls, so this is of the size
        of the larger of the two. Measured once, along one vector: an estimate, no bound.
    """

    step: float
    error: float

    def product(self, gradient: Gradient, point: Tree, vector: Tree) -> Tree:
        """``(g(w + s v) - g(w - s v)) / 2s`` with s such that the step has its length."""
        length = float(parameters.norm(vector))
        if length == 0:
            return parameters.scaled(vector, 0.0)
        return _product(gradient, point, vector, self.step / length)


def choose_differences(gradient: Gradient, point: Tree, key: jax.Array) -> Differences:
    """The step at which products of a random unit vector change least, of seven around the rule.

    The rule is ``max(|w|, 1)`` times the cube root of the unit roundoff, where truncation and
    rounding balance for a function whose derivatives are all of size one.
    """
    vector = parameters.gaussian(key, point, unit=True)
    epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(point))
    rule = max(float(parameters.norm(point)), 1.0) * epsilon ** (1 / 3)
    steps = [rule * 4.0**power for power in range(-3, 4)]
    products = [_product(gradient, point, vector, step) for step in steps]
    errors = [
        float(parameters.norm(parameters.add_scaled(a, -1.0, b)))
        for a, b in itertools.pairwise(products)
    ]
    best = min(range(len(errors)), key=errors.__getitem__)
    return Differences(steps[best], errors[best])


def _product(gradient: Gradient, point: Tree, vector: Tree, step: float) -> Tree:
    there = gradient(parameters.add_scaled(point, step, vector))
    back = gradient(parameters.add_scaled(point, -step, vector))
    return parameters.scaled(parameters.add_scaled(there, -1.0, back), 1 / (2 * step))
