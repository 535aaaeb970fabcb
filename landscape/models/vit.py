"""Vision Transformer (Dosovitskiy et al., arXiv:2010.11929) and its follow-ups.

Parameter names and shapes are those of the checkpoints published with
google-research/vision_transformer, in its Linen numbering: `cls`, `embedding/kernel`,
`Transformer/posembed_input/pos_embedding`,
`Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel` (width, heads,
width/heads), ..., `Transformer/encoder_norm/scale`, `pre_logits/kernel`, `head/kernel`. A hybrid's
ResNet adds `conv_root`, `gn_root`, `block1`, ..., attention pooling `MAPHead_0`.
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from landscape.models.attention import AttentionPooling, MultiHeadDotProductAttention
from landscape.models.layers import (
    LayerNorm,
    MlpBlock,
    PatchEmbedding,
    classifier_head,
    drop_branch,
    layer_drop_rate,
    mean_over_space,
    pre_logits,
    rematerialised,
)
from landscape.models.resnet import trunk
from landscape.models.stems import ConvStem

CLASSIFIERS = ("token", "gap", "map")
POSITION_EMBEDDINGS = ("learned", "sincos2d")
BLOCKS = ("sequential", "parallel")
HEADS = ("classes", "masked_patches")


def sincos2d(height, width, channels):
    """Fixed position embedding of a grid, float32, shape (1, height·width, channels).

    A quarter of the channels each for sin x, cos x, sin y, cos y, at frequencies from 1 to 1/10⁴,
    both included: MoCo v3's (arXiv:2104.02057) as big_vision has it.
    """
    quarter = channels // 4
    frequencies = 10_000.0 ** -(np.arange(quarter) / (quarter - 1))
    y, x = np.mgrid[:height, :width].reshape(2, -1, 1)
    angles = (x * frequencies, y * frequencies)
    parts = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return jnp.asarray(np.concatenate(parts, axis=1)[None], jnp.float32)


class AddPositionEmbs(nn.Module):
    """Add one learned vector per token."""

    @nn.compact
    def __call__(self, x):
        shape = (1, *x.shape[1:])
        return x + self.param("pos_embedding", nn.initializers.normal(0.02), shape, jnp.float32)


class EncoderBlock(nn.Module):
    """Pre-norm transformer block.

    "sequential": x + attention(norm(x)), then x + mlp(norm(x)). "parallel": x + attention(norm(x))
    + mlp(norm(x)) with one norm, normed queries and keys, and no biases in norms, queries, keys
    and values: the block of ViT-22B (Dehghani et al., arXiv:2302.05442).
    """

    is_block: ClassVar[bool] = True

    heads: int
    mlp: int
    activation: str
    dropout: float
    drop_rate: float
    block: str

    @nn.compact
    def __call__(self, x, train=False):
        parallel = self.block == "parallel"

        def attention(y):
            y = MultiHeadDotProductAttention(
                self.heads,
                qkv_bias=not parallel,
                qk_norm=parallel,
                name="MultiHeadDotProductAttention_0",
            )(y)
            y = nn.Dropout(self.dropout)(y, deterministic=not train)
            return drop_branch(self, y, self.drop_rate, train)

        def mlp(y):
            y = MlpBlock(
                hidden=self.mlp,
                activation=self.activation,
                dropout=self.dropout,
                kernel_init=nn.initializers.xavier_uniform(),
                bias_init=nn.initializers.normal(1e-6),
                name="MlpBlock_0",
            )(y, train)
            return drop_branch(self, y, self.drop_rate, train)

        y = LayerNorm(use_bias=not parallel, name="LayerNorm_0")(x)
        if parallel:
            return x + attention(y) + mlp(y)
        x = x + attention(y)
        return x + mlp(LayerNorm(name="LayerNorm_1")(x))


class Encoder(nn.Module):
    """Position embedding, the blocks, and a last layer norm."""

    depth: int
    heads: int
    mlp: int
    activation: str
    dropout: float
    stochastic_depth: float
    block: str
    learned_positions: bool
    remat: bool

    @nn.compact
    def __call__(self, x, train=False):
        if self.learned_positions:
            x = AddPositionEmbs(name="posembed_input")(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        for layer in range(self.depth):
            x = rematerialised(EncoderBlock, self.remat)(
                heads=self.heads,
                mlp=self.mlp,
                activation=self.activation,
                dropout=self.dropout,
                drop_rate=layer_drop_rate(layer, self.depth, self.stochastic_depth),
                block=self.block,
                name=f"encoderblock_{layer}",
            )(x, train)
        return LayerNorm(use_bias=self.block != "parallel", name="encoder_norm")(x)


class VisionTransformer(nn.Module):
    """Images (B, H, W, C) to logits (B, classes), or (B, patches, classes) for masked patches.

    Attributes
    ----------
    classifier : "token" reads the class token; the others have none: "gap" reads the mean of all
        tokens after the last norm, "map" pools them by attention.
    position_embedding : "learned", one vector per token, or "sincos2d", fixed, on patches only.
    representation : width of a tanh layer in front of the head; 0 for none.
    block : "sequential" or "parallel", see `EncoderBlock`.
    resnet : stages of the ResNet in front of a hybrid; () is its root alone, None no ResNet.
    convolutions : (channels, stride) of each 3x3 convolution of a stem in front; () for none.
    dropout : rate after the position embedding, after attention and in the MLP.
    stochastic_depth : drop rate of the last block's branches, 0 at the first block.
    head : "classes", or "masked_patches": see `landscape.models.masked_patches`.
    remat : whether blocks and the units of the ResNet are rematerialised.
    """

    classes: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    classifier: str = "token"
    position_embedding: str = "learned"
    representation: int = 0
    block: str = "sequential"
    resnet: tuple[int, ...] | None = None
    convolutions: tuple[tuple[int, int], ...] = ()
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    head_init: str = "zeros"
    head: str = "classes"
    remat: bool = False

    @nn.compact
    def __call__(self, images, *, train=False, estimate=False, mask=None, corruption=None):
        x, grid = self._embedded(images, estimate, mask)
        if self.head == "masked_patches":
            x = self._corrupted(x, corruption)
        # Positions come after the corruption: a [mask] token must know where it stands.
        if self.position_embedding == "sincos2d":
            x = x + sincos2d(*grid, self.width).astype(x.dtype)
        if self.classifier == "token":
            cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width), jnp.float32)
            cls = jnp.broadcast_to(cls, (x.shape[0], 1, self.width))
            x = jnp.concatenate([cls, x], axis=1)
        x = Encoder(
            depth=self.depth,
            heads=self.heads,
            mlp=self.mlp,
            activation=self.activation,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
            block=self.block,
            learned_positions=self.position_embedding == "learned",
            remat=self.remat,
            name="Transformer",
        )(x, train)
        if self.head == "masked_patches":
            x = x[:, 1:] if self.classifier == "token" else x
        else:
            x = self._pooled(x)
        if self.representation:
            x = jnp.tanh(nn.Dense(self.representation, name="pre_logits")(x))
        return classifier_head(self.classes, self.head_init)(pre_logits(self, x))

    def _embedded(self, x, estimate, mask):
        """Images to patch tokens (B, patches, width) and their grid (rows, columns)."""
        kernel_init = nn.initializers.lecun_normal()
        if self.resnet is not None:
            x = trunk(x, self.resnet, 64, remat=self.remat)
        if self.convolutions:
            x = ConvStem(*zip(*self.convolutions, strict=True), name="stem")(x, estimate, mask)
            kernel_init = nn.initializers.normal((1 / self.width) ** 0.5)
        grid = x.shape[1] // self.patch, x.shape[2] // self.patch
        return PatchEmbedding(self.patch, self.width, kernel_init, name="embedding")(x), grid

    def _corrupted(self, x, corruption):
        """Replace patch tokens as `corruption` says; the [mask] vector is a parameter."""
        token = self.param("mask", nn.initializers.zeros, (1, 1, self.width), jnp.float32)
        if corruption is None:
            return x
        source = jnp.take_along_axis(x, corruption.source[..., None], axis=1)
        return jnp.where(corruption.masked[..., None], token, source)

    def _pooled(self, x):
        """Encoded tokens to features (B, width)."""
        if self.classifier == "token":
            return x[:, 0]
        if self.classifier == "gap":
            return mean_over_space(x)
        return AttentionPooling(
            self.heads,
            self.mlp,
            self.activation,
            qkv_bias=self.block != "parallel",
            name="MAPHead_0",
        )(x)
