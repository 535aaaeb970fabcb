"""Parts shared by the model families: activations, patch embedding, MLP, stochastic depth."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

ACTIVATIONS = {
    "gelu_tanh": partial(nn.gelu, approximate=True),
    "gelu_erf": partial(nn.gelu, approximate=False),
    "relu": nn.relu,
}

HEAD_INITS = {
    "zeros": nn.initializers.zeros,
    "lecun": nn.initializers.lecun_normal(),
}


class LayerNorm(nn.Module):
    """Mean 0 and variance 1 over the last axis, then scale and bias; epsilon 1e-6.

    Unlike flax's default it takes the variance of the centred values: E[x²] - E[x]² loses digits
    that second derivatives need. It stays in the dtype of `x`, also in float64.
    """

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return x * along_last(scale, x) + along_last(bias, x)


class PatchEmbedding(nn.Module):
    """Cut an image into square patches and map each linearly to a token.

    The same numbers as a convolution whose stride is its kernel size, as a reshape and one
    matrix product: products differentiate cheaply, and in any loop. The kernel keeps the
    convolution's shape (patch, patch, channels, width), the layout of the published checkpoints.
    """

    patch: int
    width: int

    @nn.compact
    def __call__(self, images):
        """Map images (B, H, W, C) to tokens (B, H·W/patch², width), row by row."""
        batch, height, width, channels = images.shape
        p = self.patch
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (p, p, channels, self.width), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        x = images.reshape(batch, height // p, p, width // p, p, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, p * p * channels)
        x = x @ kernel.reshape(-1, self.width)
        return x + along_last(bias, x)


class MlpBlock(nn.Module):
    """Dense, activation, Dense, with dropout after each Dense; the width is kept.

    The values after the activation are sown into "intermediates" as "activation": these are the
    neurons whose active fraction Chen et al. (arXiv:2106.01548) count.
    """

    hidden: int
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x, *, train=False):
        """Map (..., width) to (..., width)."""
        dense = partial(nn.Dense, kernel_init=self.kernel_init, bias_init=self.bias_init)
        y = ACTIVATIONS[self.activation](dense(self.hidden, name="Dense_0")(x))
        self.sow("intermediates", "activation", y)
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        y = dense(x.shape[-1], name="Dense_1")(y)
        return nn.Dropout(self.dropout)(y, deterministic=not train)


def layer_drop_rate(layer, depth, rate):
    """Probability of dropping layer 0..depth-1: linear from 0 at the first to `rate` at the last.

    Huang et al., *Deep Networks with Stochastic Depth* (arXiv:1603.09382).
    """
    return rate * layer / max(depth - 1, 1)


def drop_branch(module, branch, rate, *, train):
    """Zero a residual branch (B, ...) for whole examples with probability `rate` in training.

    The kept ones are not rescaled, as in the MLP-Mixer reference code.
    """
    if not train or rate == 0:
        return branch
    shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
    keep = jax.random.bernoulli(module.make_rng("dropout"), 1 - rate, shape)
    return branch * keep.astype(branch.dtype)


def classifier_head(classes, head_init):
    """Return the last linear layer, called "head"; `head_init` is a key of HEAD_INITS."""
    return nn.Dense(classes, kernel_init=HEAD_INITS[head_init], name="head")


def along_last(vector, x):
    """Shape a vector (D,) to act on the last axis of `x`."""
    return vector.reshape((1,) * (x.ndim - 1) + (-1,))


def mean_over_space(x):
    """Mean of (B, ..., D) over all axes but the first and the last."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
