"""The diagonal of a curvature matrix from random signs, as a matrix of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import parameters
from landscape.curvature.lanczos import check_finite
from landscape.errors import RequestError
from landscape.objective import Objective
from landscape.objective.linear_operator import as_scipy
from landscape.parameters import Tree


@dataclass(frozen=True)
class Diagonal:
    """An estimated diagonal; has ``params`` and ``product`` like any curvature matrix.

    Attributes
    ----------
    params
        The parameters it belongs to.
    values, standard_error
        Trees shaped like ``params``.
    probes
        Products spent.
    """

    params: Tree
    values: Tree
    standard_error: Tree
    probes: int

    def product(self, vector: Tree) -> Tree:
        """Product of the diagonal matrix with a vector."""
        return jax.tree.map(lambda d, v: d * v.astype(d.dtype), self.values, vector)

    def as_scipy(self) -> Any:
        """As a ``scipy.sparse.linalg.LinearOperator`` on raveled vectors."""
        return as_scipy(self)


def diagonal(
    objective: Objective,
    *,
    probes: int = 30,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Diagonal:
    """Diagonal of the objective's curvature matrix, ``mean(z * Hz)`` over random signs z.

    The variance of an entry is the sum of the squares of the others in its row: useful for
    preconditioning, coarse for single entries. Two more vectors of memory.

    Parameters
    ----------
    objective
        The objective, or anything with ``params`` and a symmetric ``product(vector)``.
    probes
        Number of products, two or more for a standard error.
    seed, progress
        As for :func:`landscape.extremes`.

    Raises
    ------
    RequestError
        If ``probes`` is below 2.

    References
    ----------
    Bekas, Kokiopoulou, Saad, An estimator for the diagonal of a matrix, Appl. Numer. Math. 57
    (2007).
    """
    if probes < 2:
        raise RequestError(f"probes: {probes} is below 2, which a standard error needs")
    mean = spread = None
    for probe in range(probes):
        signs = parameters.signs(jax.random.fold_in(jax.random.key(seed), probe), objective.params)
        image = objective.product(signs)
        if mean is None:
            mean = spread = jax.tree.map(jnp.zeros_like, image)
        mean, spread = _welford(mean, spread, signs, image, np.float32(probe + 1))
        if progress is not None:
            progress()
    check_finite(parameters.norm(mean), probes)
    error = parameters.scaled(spread, 1 / (probes * (probes - 1)) ** 0.5)
    return Diagonal(objective.params, mean, error, probes)


@jax.jit
def _welford(mean: Tree, spread: Tree, signs: Tree, image: Tree, count: jax.Array):
    """Running mean and root of the sum of squared deviations; nothing is squared, for any scale."""

    def update(m, s, z, h):
        sample = z.astype(h.dtype) * h
        after = m + (sample - m) / count.astype(m.dtype)
        change = jnp.sqrt(jnp.abs(sample - m)) * jnp.sqrt(jnp.abs(sample - after))
        return after, jnp.hypot(s, change)

    pairs = jax.tree.map(update, mean, spread, signs, image)
    return jax.tree.transpose(jax.tree.structure(mean), jax.tree.structure((0, 0)), pairs)
