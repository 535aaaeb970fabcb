"""The ResNets of He et al. for CIFAR (arXiv:1512.03385, Section 4.2), with BatchNorm.

Parameter names and shapes follow akamaster/pytorch_resnet_cifar10 with Flax's spelling:
``layer2/0/conv1/kernel`` is its ``layer2.0.conv1.weight``. Running statistics are a tree of their
own, the model's state.
"""

import flax.linen as nn
import jax.numpy as jnp

from landscape.models.layers import ACTIVATIONS, HEAD_INITS, along_last, mean_over_space
from landscape.parameters import wide

SHORTCUTS = ("pad", "projection", "none")


class BatchNorm(nn.Module):
    """Normalise (B, h, w, C) by running statistics; with ``train`` by the batch's, which it keeps.

    What it keeps is the batch's own mean and unbiased variance, not blended with anything.
    ``mask`` (B,) leaves padded examples out of them. Computes in float32 or better.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x, *, train=False, mask=None):
        given = x.dtype
        x = x.astype(wide(given))
        channels = x.shape[-1]
        kept_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, x.dtype)
        kept_var = self.variable("batch_stats", "var", jnp.ones, channels, x.dtype)
        scale = self.param("scale", nn.initializers.ones, (channels,)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(x.dtype)
        if train:
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


def _convolution(channels, stride, name, size=3):
    # As PyTorch pads: "SAME" would shift the windows of a strided convolution by a pixel.
    padding = (size // 2, size // 2)
    return nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding=(padding, padding),
        use_bias=False,
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )


class Projection(nn.Module):
    """A shortcut by a convolution of one pixel: option B of He et al."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x, **mode):
        return BatchNorm(name="1")(_convolution(self.channels, self.stride, "0", 1)(x), **mode)


class Unit(nn.Module):
    """Two 3x3 convolutions around a shortcut; the output is sown as "activation"."""

    channels: int
    stride: int
    shortcut: str
    activation: str

    @nn.compact
    def __call__(self, x, **mode):
        act = ACTIVATIONS[self.activation]
        y = act(BatchNorm(name="bn1")(_convolution(self.channels, self.stride, "conv1")(x), **mode))
        y = BatchNorm(name="bn2")(_convolution(self.channels, 1, "conv2")(y), **mode)
        if self.shortcut != "none":
            y = y + self._shortcut(x, mode)
        y = act(y)
        self.sow("intermediates", "activation", y)
        return y

    def _shortcut(self, x, mode):
        more = self.channels - x.shape[-1]
        if not more and self.stride == 1:
            return x
        if self.shortcut == "projection":
            return Projection(self.channels, self.stride, name="shortcut")(x, **mode)
        x = x[:, :: self.stride, :: self.stride]  # option A: no parameters
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))


class Stage(nn.Module):
    """Units of one width; the first one may halve the resolution."""

    units: int
    channels: int
    stride: int
    shortcut: str
    activation: str

    @nn.compact
    def __call__(self, x, **mode):
        for unit in range(self.units):
            x = Unit(
                self.channels,
                self.stride if unit == 0 else 1,
                self.shortcut,
                self.activation,
                name=str(unit),
            )(x, **mode)
        return x


class CifarResNet(nn.Module):
    """Images (B, H, W, C) to logits (B, classes); 6·units + 2 layers.

    Attributes
    ----------
    units : residual units in each of the three stages of 16, 32 and 64 channels.
    shortcut : one of `SHORTCUTS`: zero-padded channels (option A), a convolution where shapes
        change (option B), or no shortcuts at all.
    """

    classes: int
    units: int
    shortcut: str = "pad"
    activation: str = "relu"
    head_init: str = "zeros"

    @nn.compact
    def __call__(self, images, *, train=False, mask=None):
        mode = {"train": train, "mask": mask}
        x = BatchNorm(name="bn1")(_convolution(16, 1, "conv1")(images), **mode)
        x = ACTIVATIONS[self.activation](x)
        for stage, (channels, stride) in enumerate(((16, 1), (32, 2), (64, 2)), 1):
            x = Stage(
                self.units, channels, stride, self.shortcut, self.activation, name=f"layer{stage}"
            )(x, **mode)
        head = nn.Dense(self.classes, kernel_init=HEAD_INITS[self.head_init], name="linear")
        return head(mean_over_space(x))
