"""Curvature matrices for scipy: raveled vectors on the host in, raveled vectors out."""

from typing import Any

import jax
import numpy as np
import scipy.sparse.linalg

from landscape import parameters


def as_scipy(matrix: Any) -> scipy.sparse.linalg.LinearOperator:
    """A ``LinearOperator`` of shape (n, n); vectors are the leaves raveled one after the other.

    Parameters
    ----------
    matrix
        Anything with ``params`` and a symmetric ``product(vector)``.
    """
    like = matrix.params
    size = parameters.size(like)
    dtype = np.result_type(*(parameters.wide(leaf.dtype) for leaf in jax.tree.leaves(like)))

    def multiply(vector: np.ndarray) -> np.ndarray:
        return parameters.raveled(matrix.product(parameters.unraveled(vector, like)))

    return scipy.sparse.linalg.LinearOperator(
        (size, size), matvec=multiply, rmatvec=multiply, dtype=dtype
    )
