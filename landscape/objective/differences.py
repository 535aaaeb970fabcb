"""Hessian-vector products by central differences of gradients, with their error estimated.

For losses whose second derivative does not exist in code, such as fused attention kernels.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

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
        Largest norm of the difference between the products of a unit vector at this step and at
        the next, over the vectors that were tried: the truncation grows with the step and the
        rounding falls, so this is of the size of the larger of the two. An estimate, no bound.
    """

    step: float
    error: float

    def product(self, gradient: Gradient, point: Tree, vector: Tree) -> Tree:
        """``(g(w + s v) - g(w - s v)) / 2s`` with s such that the step has its length."""
        length = parameters.norm(vector)
        safe = jnp.where(length > 0, length, jnp.ones_like(length))
        return _product(gradient, point, vector, self.step / safe)


def choose_differences(gradient: Gradient, point: Tree, key: jax.Array) -> Differences:
    """The step at which products change least, of eleven below and above the usual rule.

    The rule is ``max(|w|, 1)`` times the cube root of the machine epsilon, where truncation and
    rounding balance for a function whose derivatives are all of size one. Sharp directions need
    shorter steps, and a random vector hardly has a part along them, so products are compared for a
    random vector and for what two products make of it.
    """
    epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(point))
    rule = max(float(parameters.norm(point)), 1.0) * epsilon ** (1 / 3)
    steps = [rule * 4.0**power for power in range(-8, 3)]
    vector = parameters.gaussian(key, point, unit=True)
    candidates = {start: _sharpened(gradient, point, vector, start) for start in steps[::3]}
    # The step that sees the largest curvature shows the sharpest direction.
    _, sharp = max(candidates.values(), key=lambda found: found[0])
    errors = np.zeros(len(steps) - 1)
    for one in (vector, sharp):
        products = [_product(gradient, point, one, step) for step in steps]
        for place, (a, b) in enumerate(itertools.pairwise(products)):
            change = float(parameters.norm(parameters.add_scaled(a, -1.0, b)))
            errors[place] = max(errors[place], change)
    best = int(np.argmin(errors))
    return Differences(steps[best], float(errors[best]))


def _sharpened(gradient: Gradient, point: Tree, vector: Tree, step: float) -> tuple[float, Tree]:
    """Norm of a second product, and the unit vector it was of (of a first product)."""
    for _ in range(2):
        image = _product(gradient, point, vector, step)
        length = float(parameters.norm(image))
        if length == 0:
            return 0.0, vector
        vector, curvature = parameters.scaled(image, 1 / length), length
    return curvature, vector


def _product(gradient: Gradient, point: Tree, vector: Tree, step: jax.Array | float) -> Tree:
    there = gradient(parameters.add_scaled(point, step, vector))
    back = gradient(parameters.add_scaled(point, -jnp.asarray(step), vector))
    return parameters.scaled(parameters.add_scaled(there, -1.0, back), 0.5 / jnp.asarray(step))
