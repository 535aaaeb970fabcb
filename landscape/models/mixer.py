"""MLP-Mixer (Tolstikhin et al., arXiv:2105.01601).

Parameter names and shapes are those of the published checkpoints: `stem/kernel`,
`MixerBlock_0/token_mixing/Dense_0/kernel` (tokens, token MLP),
`MixerBlock_0/channel_mixing/Dense_0/kernel` (width, channel MLP), ..., `pre_head_layer_norm/scale`,
`head/kernel`.
"""

from typing import ClassVar

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
    pre_logits,
    rematerialised,
)


class MixerBlock(nn.Module):
    """An MLP across tokens, then an MLP across channels, each on a normed residual branch."""

    is_block: ClassVar[bool] = True

    token_mlp: int
    channel_mlp: int
    activation: str
    dropout: float
    drop_rate: float

    @nn.compact
    def __call__(self, x, train=False):
        def mlp(hidden, name):
            return MlpBlock(
                hidden=hidden, activation=self.activation, dropout=self.dropout, name=name
            )

        y = jnp.swapaxes(LayerNorm(name="LayerNorm_0")(x), 1, 2)
        y = jnp.swapaxes(mlp(self.token_mlp, "token_mixing")(y, train), 1, 2)
        x = x + drop_branch(self, y, self.drop_rate, train)
        y = LayerNorm(name="LayerNorm_1")(x)
        y = mlp(self.channel_mlp, "channel_mixing")(y, train)
        return x + drop_branch(self, y, self.drop_rate, train)


class MlpMixer(nn.Module):
    """Images (B, H, W, C) to logits (B, classes).

    `stochastic_depth` is the drop rate of the last block's branches, 0 at the first block;
    `dropout` acts in the MLPs. With `remat` the blocks are rematerialised.
    """

    classes: int
    patch: int
    width: int
    depth: int
    token_mlp: int
    channel_mlp: int
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    head_init: str = "zeros"
    remat: bool = False

    @nn.compact
    def __call__(self, images, *, train=False):
        x = PatchEmbedding(self.patch, self.width, name="stem")(images)
        for layer in range(self.depth):
            x = rematerialised(MixerBlock, self.remat)(
                token_mlp=self.token_mlp,
                channel_mlp=self.channel_mlp,
                activation=self.activation,
                dropout=self.dropout,
                drop_rate=layer_drop_rate(layer, self.depth, self.stochastic_depth),
                name=f"MixerBlock_{layer}",
            )(x, train)
        x = LayerNorm(name="pre_head_layer_norm")(x)
        return classifier_head(self.classes, self.head_init)(pre_logits(self, mean_over_space(x)))
