"""Losses against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.training.losses import LOSSES, get_loss

LOGITS = np.array([[1.0, -2.0, 0.5], [30.0, 0.0, -30.0], [0.0, 0.0, 0.0]], np.float32)
LABELS = np.array([2, 1, 0], np.int32)


def test_softmax_cross_entropy_is_minus_the_log_probability():
    probabilities = np.exp(LOGITS.astype(float))
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = -np.log(probabilities[np.arange(3), LABELS])
    np.testing.assert_allclose(
        get_loss("softmax_cross_entropy")(LOGITS, LABELS), expected, rtol=1e-6
    )


def test_sigmoid_cross_entropy_sums_one_binary_entropy_per_class():
    signs = np.where(np.eye(3, dtype=bool)[LABELS], 1, -1)
    expected = np.log1p(np.exp(-signs * LOGITS.astype(float))).sum(1)
    np.testing.assert_allclose(
        get_loss("sigmoid_cross_entropy")(LOGITS, LABELS), expected, rtol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_huge_logits_give_finite_losses_and_derivatives(name):
    def total(logits):
        return get_loss(name)(logits, LABELS).sum()

    logits = jnp.asarray(LOGITS * 1e4)
    for value in (total(logits), jax.grad(total)(logits), jax.hessian(total)(logits)):
        assert np.isfinite(value).all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_widened_and_double_kept(name, x64):
    assert get_loss(name)(jnp.asarray(LOGITS, jnp.bfloat16), LABELS).dtype == jnp.float32
    assert get_loss(name)(jnp.asarray(LOGITS, jnp.float64), LABELS).dtype == jnp.float64


def test_unknown_loss_is_refused_with_those_there_are():
    with pytest.raises(RequestError, match="'mse' is none of softmax_cross_entropy"):
        get_loss("mse")
