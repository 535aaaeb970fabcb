"""Operators and objectives with prescribed Hessians, for tests."""

import jax
import jax.numpy as jnp
import numpy as np

from landscape.objective import Objective


class Diagonal:
    """The least an analysis asks of an objective: params and a symmetric product."""

    def __init__(self, spectrum, dtype=jnp.float32):
        self.params = jnp.asarray(spectrum, dtype)

    def product(self, vector):
        return self.params * vector


def quadratic(matrix, point, *, batches=3, **options):
    """Objective 0.5 w'Aw, spread over examples whose weights average to one."""
    matrix = jnp.asarray(matrix)
    weights = np.linspace(0.5, 1.5, 3 * batches - 1).astype(matrix.dtype)
    data = [weights[i : i + 3] for i in range(0, len(weights), 3)]

    def loss(w, batch):
        return 0.5 * jnp.vdot(w, matrix @ w) * batch

    return Objective(loss, jnp.asarray(point, matrix.dtype), data, **options)


def rotated(spectrum, seed=0, dtype=np.float64):
    """A dense symmetric matrix with the given eigenvalues."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(spectrum), len(spectrum))))
    return ((basis * np.asarray(spectrum)) @ basis.T).astype(dtype)


def dense(objective):
    """The Hessian of an objective as a matrix, product by product."""
    leaves, structure = jax.tree.flatten(objective.params)
    sizes = [leaf.size for leaf in leaves]
    columns = []
    for i in range(sum(sizes)):
        unit = np.zeros(sum(sizes), leaves[0].dtype)
        unit[i] = 1
        parts = np.split(unit, np.cumsum(sizes)[:-1])
        tree = jax.tree.unflatten(
            structure, [jnp.asarray(p.reshape(x.shape)) for p, x in zip(parts, leaves, strict=True)]
        )
        product = jax.tree.leaves(objective.product(tree))
        columns.append(np.concatenate([np.asarray(x).ravel() for x in product]))
    return np.stack(columns, axis=1)


SPECTRA = {
    "an outlier": np.r_[195.6, 105.7, 40.0, np.linspace(-2, 3, 197)],
    "a near-degenerate top": np.r_[195.6, 194.0, 193.0, np.linspace(-2, 3, 197)],
    "a degenerate top": np.r_[8.0, 8.0, 8.0, np.linspace(-1, 4, 197)],
    "no gap": np.linspace(-1, 1, 200),
    "a dominant negative end": np.r_[50.0, -80.0, np.linspace(-3, 3, 198)],
    "negative definite": np.linspace(-2, -1, 200),
    "few distinct values": np.r_[np.full(100, 3.0), np.full(100, 1.0)],
    "a multiple of the identity": np.full(200, 7.0),
    "zero": np.zeros(200),
}
