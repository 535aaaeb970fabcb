"""Per-example losses of logits and integer labels, by name. Means are taken by the caller."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from landscape.errors import RequestError

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """``-log softmax(logits)[label]``.

    Parameters
    ----------
    logits
        Shape (B, classes); computed in float32 or better.
    labels
        Integers, shape (B,).

    Returns
    -------
    Shape (B,).

    Examples
    --------
    >>> softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # log 4
    Array([1.3862944], dtype=float32)
    """
    log_probabilities = jax.nn.log_softmax(_wide(logits), axis=-1)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """One binary cross-entropy per class, summed over the classes (Beyer et al. 2020).

    Shapes and dtypes as in `softmax_cross_entropy`. The loss that the ViTs and MLP-Mixers of Chen
    et al. 2021 were trained with.

    Examples
    --------
    >>> sigmoid_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # 4 log 2
    Array([2.7725887], dtype=float32)
    """
    logits = _wide(logits)
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return jnp.sum(jax.nn.softplus(logits) - is_label * logits, axis=-1)


def _wide(logits: jax.Array) -> jax.Array:
    return logits.astype(np.promote_types(logits.dtype, np.float32))


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
}


def get_loss(name: str) -> Loss:
    """The loss of that name.

    Raises
    ------
    RequestError
        For an unknown name.
    """
    if name not in LOSSES:
        raise RequestError(f"loss: {name!r} is none of {', '.join(LOSSES)}")
    return LOSSES[name]
