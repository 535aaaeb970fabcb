"""Per-example losses of logits and integer labels, by name, and whether an answer is right.

Fitted networks are what is measured, so each loss, its gradient and its second derivative are
computed without cancellation, however far the logits are apart. Differentiating the usual formulas
loses them: in float32 the softmax loss of an example is exactly 0 from a gap of 17 on.
"""

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
        Shape (..., classes); computed in float32 or better.
    labels
        Integers, shape (...). The loss of a label that is no class is NaN.

    Returns
    -------
    Shape (...), differentiable any number of times in every order. NaN where a logit is NaN or
    infinite; minus infinity is allowed in a class that is not the label, and leaves that class out.

    Examples
    --------
    >>> softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # log 4
    Array([1.3862944], dtype=float32)
    """
    return _softmax_loss(*_wide(logits, labels))


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """One binary cross-entropy per class, summed over the classes (Beyer et al. 2020).

    Shapes and dtypes as in `softmax_cross_entropy`; NaN where a logit is not finite. The loss that
    the ViTs and MLP-Mixers of Chen et al. 2021 were trained with.

    Examples
    --------
    >>> sigmoid_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # 4 log 2
    Array([2.7725887], dtype=float32)
    """
    logits, is_label = _wide(logits, labels)
    return jnp.sum(_softplus(jnp.where(is_label, -logits, logits)), axis=-1)


def is_correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the largest logit is the label's, bool, shape (...).

    Of equal logits the first counts as the answer, as in NumPy and PyTorch. Logits with a NaN, or
    whose largest is infinite, are no answer and never correct.

    Examples
    --------
    >>> is_correct(jnp.array([[0.0, 2.0], [jnp.nan, 0.0]]), jnp.array([1, 0]))
    Array([ True, False], dtype=bool)
    """
    # The largest of logits with a NaN is NaN.
    return (jnp.argmax(logits, axis=-1) == labels) & jnp.isfinite(jnp.max(logits, axis=-1))


def _wide(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits in float32 or better, NaN where the label is no class; and where the label is."""
    logits = logits.astype(np.promote_types(logits.dtype, np.float32))
    classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    is_label = labels[..., None].astype(jnp.int32) == jnp.expand_dims(classes, range(labels.ndim))
    known = jnp.any(is_label, axis=-1, keepdims=True)
    return logits + jnp.where(known, 0.0, jnp.nan), is_label


# --- softmax: each function has the next as its derivative, and none subtracts what is nearly equal


@jax.custom_jvp
def _softmax_loss(logits: jax.Array, is_label: jax.Array) -> jax.Array:
    """``log1p(sum of exp(logit - label's logit) over the others)``, shifted by the largest."""
    others = logits - _sum(jnp.where(is_label, logits, 0.0))
    top = jnp.max(others, axis=-1, keepdims=True)
    over = jnp.where(is_label, jnp.expm1(-top), jnp.exp(others - top))
    return jnp.squeeze(top + jnp.log1p(_sum(over)), -1)


@_softmax_loss.defjvp
def _(primals, tangents):
    slope = _softmax_gradient(*primals)
    return _softmax_loss(*primals), jnp.sum(slope * tangents[0], axis=-1)


@jax.custom_jvp
def _softmax_gradient(logits: jax.Array, is_label: jax.Array) -> jax.Array:
    """The probabilities, and minus the sum of the others' at the label."""
    others = jnp.where(is_label, 0.0, _softmax(logits))
    return jnp.where(is_label, -_sum(others), others)


@_softmax_gradient.defjvp
def _(primals, tangents):
    return _softmax_gradient(*primals), _covariance(_softmax(primals[0]), tangents[0])


@jax.custom_jvp
def _softmax(logits: jax.Array) -> jax.Array:
    odds = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    return odds / _sum(odds)


@_softmax.defjvp
def _(primals, tangents):
    probabilities = _softmax(*primals)
    return probabilities, _covariance(probabilities, *tangents)


def _covariance(probabilities: jax.Array, vector: jax.Array) -> jax.Array:
    """``(diag(p) - p p') v``, the second derivative of the loss.

    ``p (1 - p)`` of a class that is nearly certain cancels. As the rows and columns sum to zero,
    that class is the reference: only differences to it and the other probabilities enter. Any
    threshold above 1/2 leaves at most one such class.
    """
    certain = (probabilities > 0.6).astype(probabilities.dtype)
    others = probabilities * (1 - certain)
    difference = vector - _sum(certain * vector)
    image = others * (difference - _sum(others * difference))
    return image - certain * _sum(image)


def _sum(values: jax.Array) -> jax.Array:
    return jnp.sum(values, axis=-1, keepdims=True)


# --- sigmoid


@jax.custom_jvp
def _softplus(x: jax.Array) -> jax.Array:
    """``log(1 + exp(x))``; NaN at infinity, where a network has diverged."""
    value = jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))
    return jnp.where(jnp.isinf(x), jnp.nan, value)


@_softplus.defjvp
def _(primals, tangents):
    return _softplus(*primals), _sigmoid(*primals) * tangents[0]


@jax.custom_jvp
def _sigmoid(x: jax.Array) -> jax.Array:
    odds = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, odds, jnp.ones_like(odds)) / (1 + odds)


@_sigmoid.defjvp
def _(primals, tangents):
    (x,) = primals
    value = _sigmoid(x)
    return value, value * _sigmoid(-x) * tangents[0]  # 1 - value would cancel


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
