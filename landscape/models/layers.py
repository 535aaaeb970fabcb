"""Parts shared by the model families: activations, norms, patch embedding, MLP, dropping branches.

Parameters are float32. A layer computes in the dtype of its input; norms and softmax take their
moments in float32 or better.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from landscape.parameters import wide

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
    that second derivatives need. It returns the dtype of `x`, also in float64.
    """

    use_bias: bool = True

    @nn.compact
    def __call__(self, x):
        given, width = x.dtype, x.shape[-1]
        x = x.astype(wide(given))
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        scale = self.param("scale", nn.initializers.ones, (width,), jnp.float32)
        x = x * along_last(scale.astype(x.dtype), x)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
            x = x + along_last(bias.astype(x.dtype), x)
        return x.astype(given)


class BatchNorm(nn.Module):
    """Normalise (B, h, w, C) by running statistics, or by the batch's own, which it then keeps.

    With ``estimate`` it keeps the batch's own mean and unbiased variance, not blended with
    anything. ``mask`` (B,) leaves padded examples out of them.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x, estimate=False, mask=None):
        given = x.dtype
        x = x.astype(wide(given))
        channels = x.shape[-1]
        kept_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, x.dtype)
        kept_var = self.variable("batch_stats", "var", jnp.ones, channels, x.dtype)
        scale = self.param("scale", nn.initializers.ones, (channels,)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(x.dtype)
        if estimate:
            mean, var, count = _statistics(x, mask)
            kept_mean.value, kept_var.value = mean, var * (count / (count - 1))
        else:
            mean, var = kept_mean.value.astype(x.dtype), kept_var.value.astype(x.dtype)
        factor = scale / jnp.sqrt(var + self.epsilon)
        y = (x - along_last(mean, x)) * along_last(factor, x) + along_last(bias, x)
        return y.astype(given)


def _statistics(x, mask):
    """Mean (C,) and biased variance (C,) of (B, h, w, C), and the number of values of each."""
    counted = jnp.ones(x.shape[0], bool) if mask is None else mask.astype(bool)
    counted = counted[:, None, None, None]
    count = jnp.sum(counted).astype(x.dtype) * (x.shape[1] * x.shape[2])
    mean = jnp.sum(x, (0, 1, 2), where=counted) / count
    squares = (x - along_last(mean, x)) ** 2
    return mean, jnp.sum(squares, (0, 1, 2), where=counted) / count, count


def convolution(channels, stride, name, *, size=3, kernel_init):
    """A square convolution without bias, padded as PyTorch pads it.

    "SAME" would shift the windows of a strided convolution by a pixel.
    """
    padding = (size // 2, size // 2)
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding=(padding, padding),
        use_bias=False,
        kernel_init=kernel_init,
        name=name,
    )


def max_pool(x, before=None):
    """Maximum of 3x3 windows at stride 2 of images (B, H, W, C), to (B, ⌈H/2⌉, ⌈W/2⌉, C).

    `before` is the padding in front of each axis: PyTorch's is 1, and "SAME" (None) pads behind
    first. One axis after the other, as maxima of shifted views. XLA's window reduction gives the
    same numbers, but JAX packs its tangents into half words on GPUs, which costs float64 its
    digits.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        out = -(-size // 2)
        missing = max(2 * (out - 1) + 3 - size, 0)
        first = missing // 2 if before is None else before
        padding = [(0, 0)] * 4
        padding[axis] = (first, max(missing - first, 0))
        padded = jnp.pad(x, padding, constant_values=-jnp.inf)
        windows = (
            lax.slice_in_dim(padded, start, start + 2 * out - 1, 2, axis) for start in range(3)
        )
        x = reduce(jnp.maximum, windows)
    return x


class PatchEmbedding(nn.Module):
    """Cut an image into square patches and map each linearly to a token.

    The same numbers as a convolution whose stride is its kernel size, as a reshape and one
    matrix product: products differentiate cheaply, and in any loop. The kernel keeps the
    convolution's shape (patch, patch, channels, width), the layout of the published checkpoints.
    """

    patch: int
    width: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, images):
        """Map images (B, H, W, C) to tokens (B, H·W/patch², width), row by row."""
        batch, height, width, channels = images.shape
        p = self.patch
        kernel = self.param("kernel", self.kernel_init, (p, p, channels, self.width), jnp.float32)
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
    def __call__(self, x, train=False):
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


def drop_branch(module, branch, rate, train):
    """Zero a residual branch (B, ...) for whole examples with probability `rate` in training.

    The kept ones are not rescaled, as in the MLP-Mixer reference code.
    """
    if not train or rate == 0:
        return branch
    shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
    keep = jax.random.bernoulli(module.make_rng("dropout"), 1 - rate, shape)
    return branch * keep.astype(branch.dtype)


def rematerialised(block, remat, flags=(2,)):
    """Return the module class, forgetting its inner values until a derivative needs them.

    Costs a second forward pass of each block and keeps only what passes between blocks. `flags`
    are the places of arguments such as `train` in the block's call, `self` being 0.
    """
    return nn.remat(block, static_argnums=flags) if remat else block


def pre_logits(module, x):
    """Sow the features (B, D) that the head sees as "head_input" and return them."""
    module.sow("intermediates", "head_input", x)
    return x


def classifier_head(classes, head_init):
    """Return the last linear layer, called "head"; `head_init` is a key of HEAD_INITS."""
    return nn.Dense(classes, kernel_init=HEAD_INITS[head_init], name="head")


def along_last(vector, x):
    """Shape a vector (D,) to act on the last axis of `x`."""
    return vector.reshape((1,) * (x.ndim - 1) + (-1,))


def mean_over_space(x):
    """Mean of (B, ..., D) over all axes but the first and the last."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
