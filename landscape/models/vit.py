"""Vision Transformer (Dosovitskiy et al., arXiv:2010.11929).

Parameter names and shapes are those of the checkpoints published with
google-research/vision_transformer, in its Linen numbering: `cls`, `embedding/kernel`,
`Transformer/posembed_input/pos_embedding`,
`Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel` (width, heads,
width/heads), ..., `Transformer/encoder_norm/scale`, `head/kernel`.
"""

import jax.numpy as jnp
from flax import linen as nn

from landscape.models.layers import (
    LayerNorm,
    MlpBlock,
    PatchEmbedding,
    classifier_head,
    drop_branch,
    layer_drop_rate,
    mean_over_space,
)


class AddPositionEmbs(nn.Module):
    """Add one learned vector per token."""

    @nn.compact
    def __call__(self, x):
        shape = (1, *x.shape[1:])
        return x + self.param("pos_embedding", nn.initializers.normal(0.02), shape, jnp.float32)


class EncoderBlock(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    The attention is a plain einsum and softmax, never a fused kernel: those have no second
    derivative. Its weights (B, heads, queries, keys) are sown as "attention_weights".
    """

    heads: int
    mlp: int
    activation: str
    dropout: float
    drop_rate: float

    @nn.compact
    def __call__(self, x, *, train=False):
        y = LayerNorm(name="LayerNorm_0")(x)
        y = nn.MultiHeadDotProductAttention(
            num_heads=self.heads,
            kernel_init=nn.initializers.xavier_uniform(),
            deterministic=True,  # no dropout on the attention weights, as in the published runs
            name="MultiHeadDotProductAttention_0",
        )(y, sow_weights=True)
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        x = x + drop_branch(self, y, self.drop_rate, train=train)

        y = LayerNorm(name="LayerNorm_1")(x)
        y = MlpBlock(
            hidden=self.mlp,
            activation=self.activation,
            dropout=self.dropout,
            kernel_init=nn.initializers.xavier_uniform(),
            bias_init=nn.initializers.normal(1e-6),
            name="MlpBlock_0",
        )(y, train=train)
        return x + drop_branch(self, y, self.drop_rate, train=train)


class Encoder(nn.Module):
    """Position embedding, the blocks, and a last layer norm."""

    depth: int
    heads: int
    mlp: int
    activation: str
    dropout: float
    stochastic_depth: float

    @nn.compact
    def __call__(self, x, *, train=False):
        x = AddPositionEmbs(name="posembed_input")(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        for layer in range(self.depth):
            x = EncoderBlock(
                heads=self.heads,
                mlp=self.mlp,
                activation=self.activation,
                dropout=self.dropout,
                drop_rate=layer_drop_rate(layer, self.depth, self.stochastic_depth),
                name=f"encoderblock_{layer}",
            )(x, train=train)
        return LayerNorm(name="encoder_norm")(x)


class VisionTransformer(nn.Module):
    """Images (B, H, W, C) to logits (B, classes).

    Attributes
    ----------
    classifier : "token" reads the class token; "gap" has no class token and reads the mean of
        all tokens after the last norm.
    dropout : rate after the position embedding, after attention and in the MLP.
    stochastic_depth : drop rate of the last block's branches, 0 at the first block.
    """

    classes: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    classifier: str = "token"
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    head_init: str = "zeros"

    @nn.compact
    def __call__(self, images, *, train=False):
        x = PatchEmbedding(self.patch, self.width, name="embedding")(images)
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
            name="Transformer",
        )(x, train=train)
        x = x[:, 0] if self.classifier == "token" else mean_over_space(x)
        return classifier_head(self.classes, self.head_init)(x)
