"""The same networks in PyTorch and in JAX, with the same weights.

The submodules of the PyTorch networks carry the names of the JAX parameters, so that
``Transformer.encoder_norm.weight`` is ``Transformer/encoder_norm/scale`` and only shapes need
converting. The PyTorch networks are written as fast as plain PyTorch allows:
patches by reshaping, attention without a fused kernel, since those have no second derivative.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch import nn
from torch.nn import functional

from landscape import parameters
from landscape.models.mixer import MlpMixer
from landscape.models.vit import VisionTransformer

CLASSES = 10
SIDE = 32  # pixels


@dataclass(frozen=True)
class Pair:
    """One network twice.

    Attributes
    ----------
    params, apply
        JAX: the parameter tree, and ``apply(params, images (B, H, W, C)) -> logits``.
    module
        PyTorch, in evaluation mode: images (B, C, H, W) to logits.
    """

    name: str
    params: Any
    apply: Callable[[Any, jax.Array], jax.Array]
    module: nn.Module

    def tensors(self, tree: Any, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
        """A tree like ``params`` as tensors in the order of ``module.parameters()``."""
        leaves = parameters.named_leaves(tree)
        return [
            _to_torch(np.asarray(leaves[_leaf_name(name, leaves)]), tensor.shape).to(dtype)
            for name, tensor in self.module.named_parameters()
        ]

    def flat(self, tree: Any) -> np.ndarray:
        """A tree like ``params`` as one float64 vector, in PyTorch's order."""
        return flat(self.tensors(tree, torch.float64))

    def tree(self, tensors: list[torch.Tensor]) -> Any:
        """The inverse of `tensors`, in the dtype of ``params``."""
        leaves = parameters.named_leaves(self.params)
        names = [_leaf_name(name, leaves) for name, _ in self.module.named_parameters()]
        return parameters.with_leaves(
            self.params,
            {
                name: jnp.asarray(_to_jax(tensor, leaves[name].shape), leaves[name].dtype)
                for name, tensor in zip(names, tensors, strict=True)
            },
        )


def flat(tensors: list[torch.Tensor]) -> np.ndarray:
    """Tensors as one float64 vector."""
    return torch.cat([tensor.detach().double().reshape(-1) for tensor in tensors]).numpy()


def _leaf_name(name: str, leaves: dict[str, Any]) -> str:
    path = name.replace(".", "/")
    if path in leaves:
        return path
    module = path.removesuffix("/weight")
    return next(n for n in (f"{module}/kernel", f"{module}/scale") if n in leaves)


def _to_torch(leaf: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    if len(shape) == 4:  # a convolution
        leaf = leaf.transpose(3, 2, 0, 1)
    elif len(shape) == 2:  # a linear layer, (out, in); its leaf may have several axes for either
        leaf = leaf.reshape(shape[::-1]).T
    return torch.from_numpy(np.array(leaf, order="C")).reshape(shape)


def _to_jax(tensor: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    array = tensor.detach().numpy()
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return (array.T if array.ndim == 2 else array).reshape(shape)


# --- ViT and MLP-Mixer ----------------------------------------------------------------------------


class PlainLayerNorm(nn.LayerNorm):
    """Layer norm from elementary operations; see agreement.py for what it is needed for."""

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        x = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps)
        return x * self.weight + self.bias


def with_plain_layer_norm(module: nn.Module) -> nn.Module:
    """A copy of a network, in which every layer norm is a `PlainLayerNorm`."""
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.__class__ = PlainLayerNorm
    return module


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.Dense_0 = nn.Linear(width, hidden)
        self.Dense_1 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.Dense_1(functional.gelu(self.Dense_0(x), approximate="tanh"))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        query, key, value = (
            layer(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)
        x = (torch.softmax(weights, -1) @ value).transpose(1, 2)
        return self.out(x.reshape(batch, tokens, width))


class EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.LayerNorm_0 = nn.LayerNorm(width, eps=1e-6)
        self.MultiHeadDotProductAttention_0 = Attention(width, heads)
        self.LayerNorm_1 = nn.LayerNorm(width, eps=1e-6)
        self.MlpBlock_0 = Mlp(width, hidden)

    def forward(self, x):
        x = x + self.MultiHeadDotProductAttention_0(self.LayerNorm_0(x))
        return x + self.MlpBlock_0(self.LayerNorm_1(x))


class PositionEmbedding(nn.Module):
    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, width))

    def forward(self, x):
        return x + self.pos_embedding


class Encoder(nn.Module):
    def __init__(self, tokens: int, width: int, depth: int, heads: int, hidden: int):
        super().__init__()
        self.posembed_input = PositionEmbedding(tokens, width)
        self.depth = depth
        for layer in range(depth):
            self.add_module(f"encoderblock_{layer}", EncoderBlock(width, heads, hidden))
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        x = self.posembed_input(x)
        for layer in range(self.depth):
            x = getattr(self, f"encoderblock_{layer}")(x)
        return self.encoder_norm(x)


class Patches(nn.Linear):
    """Patch embedding as a reshape and a linear layer; pixels ordered as (row, column, channel)."""

    def __init__(self, patch: int, width: int):
        super().__init__(patch * patch * 3, width)
        self.patch = patch

    def forward(self, images):
        batch, channels, height, width = images.shape
        p = self.patch
        x = images.reshape(batch, channels, height // p, p, width // p, p)
        return super().forward(x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, p * p * channels))


class TorchVit(nn.Module):
    def __init__(self, patch: int, width: int, depth: int, heads: int, hidden: int):
        super().__init__()
        self.embedding = Patches(patch, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.Transformer = Encoder((SIDE // patch) ** 2 + 1, width, depth, heads, hidden)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images):
        x = self.embedding(images)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        return self.head(self.Transformer(x)[:, 0])


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int, token_mlp: int, channel_mlp: int):
        super().__init__()
        self.LayerNorm_0 = nn.LayerNorm(width, eps=1e-6)
        self.token_mixing = Mlp(tokens, token_mlp)
        self.LayerNorm_1 = nn.LayerNorm(width, eps=1e-6)
        self.channel_mixing = Mlp(width, channel_mlp)

    def forward(self, x):
        x = x + self.token_mixing(self.LayerNorm_0(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mixing(self.LayerNorm_1(x))


class TorchMixer(nn.Module):
    def __init__(self, patch: int, width: int, depth: int, token_mlp: int, channel_mlp: int):
        super().__init__()
        self.stem = Patches(patch, width)
        self.depth = depth
        for layer in range(depth):
            block = MixerBlock((SIDE // patch) ** 2, width, token_mlp, channel_mlp)
            self.add_module(f"MixerBlock_{layer}", block)
        self.pre_head_layer_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images):
        x = self.stem(images)
        for layer in range(self.depth):
            x = getattr(self, f"MixerBlock_{layer}")(x)
        return self.head(self.pre_head_layer_norm(x).mean(1))


def vit(width: int = 192, depth: int = 6, patch: int = 4) -> Pair:
    """A ViT of width 64 per head with random weights."""
    heads, hidden = max(width // 64, 1), 4 * width
    network = VisionTransformer(
        classes=CLASSES, patch=patch, width=width, depth=depth, heads=heads, mlp=hidden,
        head_init="lecun",
    )  # fmt: skip
    return _from_flax(f"ViT {width}x{depth}", network, TorchVit(patch, width, depth, heads, hidden))


def mixer(width: int = 192, depth: int = 6, patch: int = 4) -> Pair:
    """An MLP-Mixer with random weights."""
    shape = {"patch": patch, "width": width, "depth": depth, "token_mlp": width // 2}
    network = MlpMixer(classes=CLASSES, channel_mlp=4 * width, head_init="lecun", **shape)
    return _from_flax(f"Mixer {width}x{depth}", network, TorchMixer(channel_mlp=4 * width, **shape))


def _from_flax(name: str, network: Any, module: nn.Module) -> Pair:
    images = jnp.zeros((1, SIDE, SIDE, 3))
    params = _random(jax.eval_shape(network.init, jax.random.key(0), images)["params"])
    pair = Pair(name, params, lambda p, x: network.apply({"params": p}, x), module.eval())
    with torch.no_grad():
        for parameter, tensor in zip(module.parameters(), pair.tensors(params), strict=True):
            parameter.copy_(tensor)
    return pair


def _random(shapes: Any) -> Any:
    """Weights of variance 1/fan-in, no bias zero and no scale one, lest they hide a mistake."""
    leaves = parameters.named_leaves(parameters.gaussian(jax.random.key(0), shapes))
    for name, leaf in leaves.items():
        module, _, kind = name.rpartition("/")
        if kind == "kernel":
            leaves[name] = leaf * (leaves[f"{module}/bias"].size / leaf.size) ** 0.5
        else:
            leaves[name] = 0.1 * leaf + (kind == "scale")
    return parameters.with_leaves(shapes, leaves)


# --- ResNet-32 of akamaster/pytorch_resnet_cifar10 ------------------------------------------------

STAGES = ((16, 1), (32, 2), (64, 2))  # channels and stride of the first unit
UNITS = 5


class TorchUnit(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.padding = stride, (channels - channels_in) // 2

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(y + x)


class TorchResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        previous = 16
        for stage, (channels, stride) in enumerate(STAGES, 1):
            units = [TorchUnit(previous, channels, stride)]
            units += [TorchUnit(channels, channels, 1) for _ in range(UNITS - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*units))
            previous = channels
        self.linear = nn.Linear(previous, CLASSES)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet32(checkpoint: Path | None = None) -> Pair:
    """The CIFAR ResNet-32 with option-A shortcuts, BatchNorm with its running statistics.

    Parameters
    ----------
    checkpoint
        A ``.th`` file of akamaster/pytorch_resnet_cifar10; random weights without one.
    """
    torch.manual_seed(0)
    module = TorchResNet().eval()
    if checkpoint is not None:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
        module.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    params = {}
    for name, tensor in module.named_parameters():
        path = name.replace(".", "/")
        if path.endswith("/weight"):
            path = path.removesuffix("weight") + ("scale" if tensor.ndim == 1 else "kernel")
        params[path] = jnp.asarray(_to_jax(tensor, tensor.shape[::-1]))
    moments = {
        name.replace(".", "/"): (
            layer.running_mean.double().numpy(),
            torch.rsqrt(layer.running_var.double() + layer.eps).numpy(),
        )
        for name, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d)
    }
    kind = "random" if checkpoint is None else "trained"
    return Pair(f"ResNet-32 ({kind})", params, partial(_resnet, moments), module)


def _resnet(moments: dict, params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    def convolution(x, name, stride=1):
        kernel = params[f"{name}/kernel"]
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), [(1, 1), (1, 1)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def norm(x, name):
        mean, inverse_deviation = (moment.astype(x.dtype) for moment in moments[name])
        return (x - mean) * (inverse_deviation * params[f"{name}/scale"]) + params[f"{name}/bias"]

    x = jax.nn.relu(norm(convolution(x, "conv1"), "bn1"))
    for stage, (channels, first_stride) in enumerate(STAGES, 1):
        for unit in range(UNITS):
            name, stride = f"layer{stage}/{unit}", first_stride if unit == 0 else 1
            y = convolution(x, f"{name}/conv1", stride)
            y = jax.nn.relu(norm(y, f"{name}/bn1"))
            y = norm(convolution(y, f"{name}/conv2"), f"{name}/bn2")
            if stride != 1:
                padding = (channels - x.shape[-1]) // 2
                x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (padding, padding)))
            x = jax.nn.relu(y + x)
    return x.mean((1, 2)) @ params["linear/kernel"] + params["linear/bias"]
