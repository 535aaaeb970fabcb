"""The empirical neural tangent kernel of any differentiable model, traced over its outputs."""

from collections.abc import Callable

import jax
import numpy as np

from landscape import parameters
from landscape.errors import RequestError
from landscape.parameters import Tree

Apply = Callable[[Tree, jax.Array], jax.Array]

# Jacobian rows held at a time, in bytes of float32.
_BUDGET = 2**29


def empirical_ntk(apply: Apply, params: Tree, inputs: jax.Array) -> np.ndarray:
    """``K[i, j] = sum over outputs k of <d f_k(x_i)/d params, d f_k(x_j)/d params>``.

    Jacobians are computed in the precision of the parameters, one example at a time; their inner
    products are accumulated in float64 on the host, because a float32 Gram matrix hides condition
    numbers above about 1e7.

    Parameters
    ----------
    apply
        ``(params, inputs) -> (B, outputs)``, deterministic.
    params
        Any pytree of floating arrays.
    inputs
        (m, ...) examples.

    Returns
    -------
    numpy.ndarray
        (m, m) float64, symmetric positive semidefinite. neural-tangents averages over outputs
        where this sums; condition numbers are the same.

    Raises
    ------
    RequestError
        If the outputs are not of shape (B, outputs), or not finite.

    References
    ----------
    Jacot, Gabriel, Hongler, arXiv:1806.07572; Novak et al., arXiv:2206.08720.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> kernel = empirical_ntk(lambda w, x: x @ w, jnp.zeros((2, 3)), jnp.array([[1.0, 2.0]]))
    >>> kernel.tolist()  # three outputs, each with the gradient (1, 2)
    [[15.0]]
    """
    parameters.check_floating(params)
    examples = len(inputs)
    shape = jax.eval_shape(apply, params, inputs).shape
    if len(shape) != 2 or shape[0] != examples:
        raise RequestError(f"apply: outputs have shape {shape}, expected ({examples}, outputs)")
    outputs, size = shape[1], parameters.size(params)
    rows = (apply if isinstance(apply, Jacobians) else Jacobians(apply)).rows
    chunk = min(outputs, max(1, _BUDGET // (4 * size)))
    together = min(examples, max(1, _BUDGET // (4 * size * chunk)))
    kernel = np.zeros((examples, examples))
    for first in range(0, outputs, chunk):
        basis = np.eye(outputs, dtype="f4")[first : first + chunk]

        def jacobians(start: int, basis=basis) -> list[np.ndarray]:
            """(examples, outputs x entries) per leaf, for one group of examples."""
            one_by_one = [
                jax.tree.leaves(rows(params, inputs[i : i + 1], basis))
                for i in range(start, min(start + together, examples))
            ]
            return [
                np.stack([np.asarray(leaf) for leaf in leaf_rows]).reshape(len(one_by_one), -1)
                for leaf_rows in zip(*one_by_one, strict=True)
            ]

        for i in range(0, examples, together):
            left = jacobians(i)
            for j in range(0, i + 1, together):
                right = left if i == j else jacobians(j)
                block = sum(
                    a.astype("f8") @ b.astype("f8").T for a, b in zip(left, right, strict=True)
                )
                kernel[i : i + together, j : j + together] += block
                if i != j:
                    kernel[j : j + together, i : i + together] += block.T
    if not np.isfinite(kernel).all():
        raise RequestError("apply: the Jacobian is not finite at these parameters and inputs")
    return (kernel + kernel.T) / 2


class Jacobians:
    """A network with the compiled program of its Jacobians, for kernels on several batches.

    Passed for ``apply`` it is compiled once. It keeps what the network closes over.
    """

    def __init__(self, apply: Apply):
        def rows(params, inputs, basis):
            outputs, pullback = jax.vjp(lambda p: apply(p, inputs), params)
            return jax.vmap(lambda row: pullback(row[None].astype(outputs.dtype))[0])(basis)

        self._apply, self._rows = apply, jax.jit(rows)

    def __call__(self, params: Tree, inputs: jax.Array) -> jax.Array:
        return self._apply(params, inputs)

    def rows(self, params: Tree, inputs: jax.Array, basis: np.ndarray) -> Tree:
        """Gradients of combinations of the outputs for one example, leading axis these."""
        with jax.default_matmul_precision("highest"):
            return self._rows(params, inputs, basis)
