"""Trees that a caller passes: checked against the objective's own, and brought to its devices.

NumPy arrays, arrays on other devices and, for leaves without axes, plain numbers will do.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from landscape import parameters
from landscape.errors import RequestError
from landscape.parameters import Tree


def is_traced(tree: Tree) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def params_like(params: Tree, own: Tree) -> Tree:
    """Parameters in the place of the own ones, in the precision that they come in.

    Raises
    ------
    RequestError
        If structure or shapes differ, or a leaf is not floating.
    """
    if is_traced(params):
        return params
    check_like(params, own, "params")
    parameters.check_floating(params)
    return jax.tree.map(lambda leaf, like: _placed(leaf, like, leaf.dtype), params, own)


def vector_like(vector: Tree, params: Tree) -> Tree:
    """A vector of the space of the parameters, float32 or better.

    Raises
    ------
    RequestError
        If structure or shapes differ.
    """
    check_like(vector, params, "vector")
    return jax.tree.map(
        lambda leaf, like: _placed(leaf, like, parameters.wide(like.dtype)), vector, params
    )


def state_like(state: Tree, own: Tree) -> Tree:
    """A state in the place of the own one, of the same types.

    Raises
    ------
    RequestError
        If structure or shapes differ.
    """
    check_like(state, own, "state")
    return jax.tree.map(lambda leaf, like: _placed(leaf, like, like.dtype), state, own)


def check_like(tree: Tree, own: Tree, what: str) -> None:
    """Refuse a tree of another structure or other shapes (RequestError)."""
    if jax.tree.structure(tree) != jax.tree.structure(own):
        raise RequestError(f"{what}: its tree structure differs from that of the objective's own")
    for (name, leaf), like in zip(
        parameters.named_leaves(tree).items(), jax.tree.leaves(own), strict=True
    ):
        if np.shape(leaf) != np.shape(like):
            raise RequestError(f"{what}: {name!r} has shape {np.shape(leaf)}, not {np.shape(like)}")


def _placed(leaf: Any, like: jax.Array, dtype: Any) -> jax.Array:
    if not isinstance(leaf, jax.Array):
        return parameters.placed_like([np.asarray(leaf, dtype)], like)
    leaf = leaf if leaf.dtype == dtype else leaf.astype(dtype)
    if isinstance(leaf, jax.core.Tracer) or isinstance(like.sharding, SingleDeviceSharding):
        return leaf
    same = leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim)
    return leaf if same else jax.device_put(leaf, like.sharding)
