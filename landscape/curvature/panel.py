"""Several vectors side by side: trees whose leaves have one axis more, in front.

The trailing axes keep the parameters' shapes, nothing is raveled.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from landscape import parameters
from landscape.parameters import Tree

Panel = Tree


@functools.partial(jax.jit, static_argnames="count")
def zeros(like: Tree, count: int) -> Panel:
    """``count`` zero vectors shaped like ``like``, float32 or better."""
    return jax.tree.map(lambda x: jnp.zeros((count, *x.shape), parameters.wide(x.dtype)), like)


@functools.partial(jax.jit, donate_argnums=0)
def _put(panel: Panel, row: jax.Array, vector: Tree) -> Panel:
    return jax.tree.map(lambda p, v: p.at[row].set(v.astype(p.dtype)), panel, vector)


def put(panel: Panel, row: int, vector: Tree) -> Panel:
    """The panel (used up) with one vector replaced."""
    return _put(panel, jnp.asarray(row, jnp.int32), vector)


@jax.jit
def _take(panel: Panel, row: jax.Array) -> Tree:
    return jax.tree.map(lambda p: p[row], panel)


def take(panel: Panel, row: int) -> Tree:
    """One vector of the panel."""
    return _take(panel, jnp.asarray(row, jnp.int32))


def _coefficients(panel: Panel, vector: Tree) -> jax.Array:
    parts = [
        jnp.tensordot(p, v.astype(p.dtype), axes=v.ndim, precision="highest")
        for p, v in zip(jax.tree.leaves(panel), jax.tree.leaves(vector), strict=True)
    ]
    return parameters.total(parts)


coefficients = jax.jit(_coefficients)
coefficients.__doc__ = """Inner products of every vector of the panel with ``vector`` (count,)."""


def _without(panel: Panel, vector: Tree, weights: jax.Array) -> Tree:
    return jax.tree.map(
        lambda p, v: v - jnp.tensordot(weights.astype(p.dtype), p, axes=1, precision="highest"),
        panel,
        vector,
    )


@functools.partial(jax.jit, donate_argnums=1)
def orthogonalise(panel: Panel, vector: Tree) -> tuple[Tree, jax.Array, jax.Array]:
    """Take the panel's part out of a vector (used up).

    Classical Gram-Schmidt, twice, which leaves a part of the size of rounding.

    Returns
    -------
    tuple
        The rest, scaled to unit length; the coefficients (count,) of what was taken out; the
        length of the rest.
    """
    vector, exponent = parameters.balanced(vector)
    first = _coefficients(panel, vector)
    vector = _without(panel, vector, first)
    second = _coefficients(panel, vector)
    vector = _without(panel, vector, second)
    taken, length = (jnp.ldexp(x, exponent) for x in (first + second, parameters.norm(vector)))
    return parameters.unit(vector), taken, length


@jax.jit
def split(panel: Panel, vector: Tree) -> tuple[Tree, Tree]:
    """The parts of a vector outside and inside the span of an orthonormal panel."""
    outside = _without(panel, vector, _coefficients(panel, vector))
    return outside, parameters.add_scaled(vector, -1.0, outside)


@jax.jit
def _combine_leaf(leaf: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.tensordot(weights.astype(leaf.dtype).T, leaf, axes=1, precision="highest")


def combine(panel: Panel, weights: np.ndarray) -> Panel:
    """New vectors ``sum_j weights[j, i] v_j``, one per column of ``weights`` (count, new)."""
    weights = jnp.asarray(weights)
    return jax.tree.map(lambda leaf: _combine_leaf(leaf, weights), panel)


@jax.jit
def _gram_leaf(a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
    return jnp.tensordot(a, b, ((1,), (1,)), precision="highest")


def gram(a: Panel, b: Panel) -> np.ndarray:
    """All inner products (count of a, count of b), float64 on the host."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum(np.asarray(_gram_leaf(x, y), np.float64) for x, y in pairs)


def stack(vectors: list[Tree]) -> Panel:
    """Vectors as a panel."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *vectors)


def orthonormalise(panel: Panel) -> tuple[Panel, np.ndarray]:
    """QR factors: an orthonormal panel of the same span, and R upper triangular (count, count).

    A vector that depends on those before it up to rounding gives a zero vector and a zero on the
    diagonal of R.
    """
    first = jax.tree.leaves(panel)[0]
    count, triangle = first.shape[0], np.zeros((first.shape[0], first.shape[0]))
    epsilon = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(panel))
    basis = jax.tree.map(jnp.zeros_like, panel)
    for i in range(count):
        vector = take(panel, i)
        before = float(parameters.norm(vector))
        unit, taken, length = orthogonalise(basis, vector)
        triangle[:, i] = np.asarray(taken)
        if float(length) > 10 * epsilon * before:
            triangle[i, i] = float(length)
            basis = put(basis, i, unit)
    return basis, triangle
