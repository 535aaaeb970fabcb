"""ResNets with BatchNorm (He et al., arXiv:1512.03385): torchvision's for ImageNet, and CIFAR's.

Parameter names and shapes follow torchvision and akamaster/pytorch_resnet_cifar10 with Flax's
spelling: ``layer2/0/conv1/kernel`` is their ``layer2.0.conv1.weight``. Running statistics are a
tree of their own, the model's state.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from landscape.models.layers import (
    ACTIVATIONS,
    HEAD_INITS,
    BatchNorm,
    convolution,
    max_pool,
    mean_over_space,
    pre_logits,
    rematerialised,
)

SHORTCUTS = ("pad", "projection", "none")
STYLES = ("torchvision", "cifar")
_SHORTCUT_NAMES = {"torchvision": "downsample", "cifar": "shortcut"}
_KERNEL_INITS = {  # He et al.'s normal distribution, as each of the two has it
    "torchvision": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    "cifar": nn.initializers.he_normal(),
}


class Projection(nn.Module):
    """A shortcut by a convolution of one pixel: option B of He et al."""

    channels: int
    stride: int
    style: str

    @nn.compact
    def __call__(self, x, estimate=False, mask=None):
        kernel_init = _KERNEL_INITS[self.style]
        x = convolution(self.channels, self.stride, "0", size=1, kernel_init=kernel_init)(x)
        return BatchNorm(name="1")(x, estimate, mask)


class Unit(nn.Module):
    """Convolutions around a shortcut; the output is sown as "activation".

    Two of 3x3, or with `bottleneck` 1x1, 3x3 and 1x1, the last with four times the channels. The
    stride is on the first 3x3, as in torchvision ("v1.5").
    """

    is_block: ClassVar[bool] = True

    channels: int
    stride: int
    bottleneck: bool
    shortcut: str
    style: str
    activation: str

    @nn.compact
    def __call__(self, x, estimate=False, mask=None):
        act = ACTIVATIONS[self.activation]
        layers = [(self.channels, 3, self.stride), (self.channels, 3, 1)]
        if self.bottleneck:
            layers = [(self.channels, 1, 1), layers[0], (4 * self.channels, 1, 1)]
        y = x
        for number, (channels, size, stride) in enumerate(layers, 1):
            y = convolution(
                channels, stride, f"conv{number}", size=size, kernel_init=_KERNEL_INITS[self.style]
            )(y)
            y = BatchNorm(name=f"bn{number}")(y, estimate, mask)
            if number < len(layers):
                y = act(y)
        if self.shortcut != "none":
            y = y + self._shortcut(x, y.shape[-1], estimate, mask)
        y = act(y)
        self.sow("intermediates", "activation", y)
        return y

    def _shortcut(self, x, channels, estimate, mask):
        more = channels - x.shape[-1]
        if not more and self.stride == 1:
            return x
        if self.shortcut == "projection":
            name = _SHORTCUT_NAMES[self.style]
            return Projection(channels, self.stride, self.style, name=name)(x, estimate, mask)
        x = x[:, :: self.stride, :: self.stride]  # option A: no parameters
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))


class Stage(nn.Module):
    """Units of one width; the first one may halve the resolution."""

    units: int
    channels: int
    stride: int
    bottleneck: bool
    shortcut: str
    style: str
    activation: str
    remat: bool

    @nn.compact
    def __call__(self, x, estimate=False, mask=None):
        for unit in range(self.units):
            x = rematerialised(Unit, self.remat)(
                self.channels,
                self.stride if unit == 0 else 1,
                self.bottleneck,
                self.shortcut,
                self.style,
                self.activation,
                name=str(unit),
            )(x, estimate, mask)
        return x


class BatchNormResNet(nn.Module):
    """Images (B, H, W, C) to logits (B, classes).

    Attributes
    ----------
    units : residual units per stage; every stage but the first doubles the channels and halves
        the resolution.
    width : channels of the first convolution and the first stage.
    bottleneck : three convolutions a unit instead of two.
    shortcut : one of `SHORTCUTS`: zero-padded channels (option A), a convolution where shapes
        change (option B), or no shortcuts at all.
    style : "torchvision" has a 7x7 convolution of stride 2 and a max pool in front, "cifar" a 3x3
        one; each has its names, and its initial kernels: He et al.'s by outputs or by inputs.
    remat : whether units are rematerialised.
    """

    classes: int
    units: tuple[int, ...]
    width: int
    bottleneck: bool = False
    shortcut: str = "projection"
    style: str = "torchvision"
    activation: str = "relu"
    head_init: str = "zeros"
    remat: bool = False

    @nn.compact
    def __call__(self, images, *, estimate=False, mask=None):
        cifar = self.style == "cifar"
        size, stride = (3, 1) if cifar else (7, 2)
        kernel_init = _KERNEL_INITS[self.style]
        x = convolution(self.width, stride, "conv1", size=size, kernel_init=kernel_init)(images)
        x = ACTIVATIONS[self.activation](BatchNorm(name="bn1")(x, estimate, mask))
        if not cifar:
            x = max_pool(x, before=1)
        for stage, units in enumerate(self.units):
            x = Stage(
                units,
                self.width * 2**stage,
                1 if stage == 0 else 2,
                self.bottleneck,
                self.shortcut,
                self.style,
                self.activation,
                self.remat,
                name=f"layer{stage + 1}",
            )(x, estimate, mask)
        head = nn.Dense(
            self.classes,
            kernel_init=HEAD_INITS[self.head_init],
            name="linear" if cifar else "fc",
        )
        return head(pre_logits(self, mean_over_space(x)))
