"""Patch embedding, activations and stochastic depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import erf

from landscape.models.layers import ACTIVATIONS, PatchEmbedding, drop_branch, layer_drop_rate


@pytest.mark.parametrize(("shape", "patch"), [((8, 8, 1), 2), ((12, 6, 3), 3), ((4, 4, 3), 4)])
def test_patch_embedding_is_the_strided_convolution(shape, patch):
    images = jax.random.normal(jax.random.key(0), (2, *shape))
    embedding = PatchEmbedding(patch, 5)
    params = embedding.init(jax.random.key(1), images)["params"]
    params["bias"] = jnp.arange(5.0)
    convolution = nn.Conv(5, (patch, patch), strides=(patch, patch), padding="VALID")
    expected = convolution.apply({"params": params}, images).reshape(2, -1, 5)
    tokens = embedding.apply({"params": params}, images)
    np.testing.assert_allclose(tokens, expected, rtol=1e-5, atol=1e-5)


def test_activations_are_what_their_names_say(x64):
    x = np.linspace(-4, 4, 17)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(ACTIVATIONS["gelu_tanh"](x), tanh, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        ACTIVATIONS["gelu_erf"](x), 0.5 * x * (1 + erf(x / np.sqrt(2))), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_array_equal(ACTIVATIONS["relu"](x), np.maximum(x, 0))


class Dropped(nn.Module):
    """Nothing but a droppable branch."""

    rate: float

    @nn.compact
    def __call__(self, x, *, train):
        return drop_branch(self, x, self.rate, train=train)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_branch_is_dropped_for_whole_examples_and_not_rescaled(seed):
    x = jnp.ones((4000, 2, 3))
    y = Dropped(0.3).apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})
    kept = np.asarray(y[:, 0, 0])
    assert set(np.unique(kept)) == {0.0, 1.0}
    np.testing.assert_array_equal(y, np.broadcast_to(kept[:, None, None], x.shape))
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.3 * 0.7 / 4000)


def test_a_branch_is_never_dropped_outside_training():
    x = jnp.ones((10, 2, 3))
    np.testing.assert_array_equal(Dropped(0.9).apply({}, x, train=False), x)


def test_drop_rates_grow_linearly_from_zero():
    np.testing.assert_allclose([layer_drop_rate(i, 5, 0.2) for i in range(5)], np.arange(5) * 0.05)
    assert layer_drop_rate(0, 1, 0.2) == 0
