"""Random directions in parameter space and their normalisation, for Flax layouts.

Normalisation gives every filter of the direction the norm of the same filter of the weights, so
that surfaces of networks with differently scaled weights can be compared. What a filter is depends
on the kind of parameter and is decided by its name: ranks mislead, since Flax attention biases are
two-dimensional.
"""

import re
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from landscape import parameters
from landscape.errors import RequestError
from landscape.parameters import Tree

Normalization = Literal["filter", "layer", "weight", "none"]

# Biases and the scales and offsets of normalisation layers, in linen, NNX, Equinox and Haiku.
_IGNORED = re.compile(r"(^|/)(bias|b|scale|offset|gamma|beta)$")
# Attention kernels of shape (D, heads, D/head): a neuron is one (head, dimension) pair.
_ATTENTION = re.compile(r"(^|/)(query|key|value)/kernel$")
# Tables of embeddings, one row each.
_TABLE = re.compile(r"(^|/)embedding$")
# Position embeddings and class tokens: one filter each, as Li et al.'s code treats them.
_WHOLE = re.compile(r"(^|/)(pos_embedding|posemb|pos_embed|cls|cls_token|probe)$")


def is_ignored(name: str, leaf: jax.Array) -> bool:
    """Whether a leaf is a bias or belongs to a normalisation layer, by its name.

    A one-dimensional ``weight`` is the scale of an Equinox normalisation layer.
    """
    return bool(_IGNORED.search(name)) or (name.split("/")[-1] == "weight" and leaf.ndim == 1)


def filter_axes(name: str, leaf: jax.Array) -> tuple[int, ...]:
    """The axes over which the norm of one filter is taken.

    ======================================  =======================  =============
    parameter                               shape                    axes
    ======================================  =======================  =============
    dense kernel                            (in, out)                0
    convolution kernel                      (h, w, in, out)          0, 1, 2
    query, key, value kernel                (D, heads, D/heads)      0
    attention output kernel                 (heads, D/heads, D)      0, 1
    Equinox ``weight``                      (out, in, ...)           all but the first
    embedding table                         (entries, D)             1
    position embedding, class token, 1-D    any                      all
    ======================================  =======================  =============

    The last axis counts the filters of a Flax kernel, the first one those of a PyTorch tensor: the
    two give the same filters (Li et al., arXiv:1712.09913, Section 4).
    """
    every = tuple(range(leaf.ndim))
    if leaf.ndim <= 1 or _WHOLE.search(name):
        return every
    if _ATTENTION.search(name):
        return (0,)
    by_first = name.split("/")[-1] == "weight" or _TABLE.search(name)
    return every[1:] if by_first else every[:-1]


def random_direction(
    params: Tree,
    seed: int | jax.Array,
    *,
    normalization: Normalization = "filter",
    ignore: str | None = None,
    embeddings: bool = True,
    axes: Mapping[str, tuple[int, ...]] | None = None,
) -> Tree:
    """A Gaussian direction, normalised against the parameters.

    Parameters
    ----------
    params
        The parameters; the direction has their structure, shapes and dtypes.
    seed
        A seed or a JAX key.
    normalization
        ``"filter"``: every filter gets its weights' norm (Li et al.); ``"layer"``: every leaf
        does; ``"weight"``: every entry is multiplied by the magnitude of its weight; ``"none"``.
    ignore
        Regular expression of leaves that stay zero. By default biases and normalisation
        parameters, by name.
    embeddings
        Whether position embeddings and class tokens move, each as one filter (Li et al.'s code
        moves them); False leaves them zero as well.
    axes
        ``{regular expression: axes}`` for layouts of your own; the first match decides.

    Returns
    -------
    Tree
        The direction. With filter or layer normalisation its norm is that of the leaves that are
        not ignored.

    Raises
    ------
    RequestError
        For an unknown normalisation, parameters that are not floating, or if every leaf is
        ignored.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein, Visualizing the loss landscape of neural nets,
    arXiv:1712.09913.
    """
    if normalization not in ("filter", "layer", "weight", "none"):
        raise RequestError(
            f"normalization: {normalization!r} is none of filter, layer, weight, none"
        )
    parameters.check_floating(params)
    spared = None if ignore is None else parameters.expression(ignore, "ignore")
    key = seed if isinstance(seed, jax.Array) else jax.random.key(seed)
    direction = parameters.named_leaves(parameters.gaussian(key, params))
    used = False
    for name, weights in parameters.named_leaves(params).items():
        ignored = spared.search(name) if spared is not None else is_ignored(name, weights)
        ignored = ignored or (not embeddings and _WHOLE.search(name))
        used |= not ignored
        direction[name] = (
            jnp.zeros_like(weights)
            if ignored
            else _normalised(direction[name], weights, normalization, _axes(name, weights, axes))
        )
    if not used:
        raise RequestError(
            "ignore: every parameter is ignored (a bias or normalisation parameter by its name); "
            "pass ignore='^$' to perturb all"
        )
    return parameters.with_leaves(params, direction)


def _axes(name: str, leaf: jax.Array, own: Mapping[str, tuple[int, ...]] | None) -> tuple[int, ...]:
    for pattern, chosen in (own or {}).items():
        if re.search(pattern, name):
            return tuple(chosen)
    return filter_axes(name, leaf)


def _normalised(draw: jax.Array, weights: jax.Array, rule: Normalization, axes: tuple[int, ...]):
    weights = weights.astype(draw.dtype)
    if rule == "weight":
        draw = draw * jnp.abs(weights)
    elif rule != "none":
        axes = axes if rule == "filter" else tuple(range(weights.ndim))
        # Only a filter of zeros has a zero draw norm in its way, and it stays zero.
        length, wanted = _lengths(draw, axes), _lengths(weights, axes)
        draw = draw * (wanted / jnp.where(length > 0, length, jnp.ones_like(length)))
    return draw.astype(weights.dtype)


def _lengths(leaf: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Norms over the axes, also where the squares of the entries are no numbers."""
    largest = jnp.max(jnp.abs(leaf), axes, keepdims=True)
    scale = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return scale * jnp.sqrt(jnp.sum((leaf / scale) ** 2, axes, keepdims=True))
