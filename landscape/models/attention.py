"""Multi-head attention with the names and shapes of Flax's module, and pooling by it."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from landscape.models.layers import LayerNorm, MlpBlock
from landscape.parameters import wide


class MultiHeadDotProductAttention(nn.Module):
    """Softmax attention (Vaswani et al., arXiv:1706.03762), without dropout on its weights.

    A plain einsum and softmax, never a fused kernel: those have no second derivative. The weights
    (B, heads, queries, keys) are sown as "attention_weights".

    Attributes
    ----------
    qkv_bias : whether queries, keys and values have a bias; the output always has one. Flax's
        module can only leave out all four.
    qk_norm : a layer norm without bias on each head's queries and keys, as in ViT-22B.
    """

    heads: int
    qkv_bias: bool = True
    qk_norm: bool = False

    @nn.compact
    def __call__(self, queries, keys=None):
        """Map queries (B, Q, D), attending to keys (B, K, D) or to themselves, to (B, Q, D)."""
        keys = queries if keys is None else keys
        width = queries.shape[-1]
        dense = partial(
            nn.DenseGeneral,
            (self.heads, width // self.heads),
            kernel_init=nn.initializers.xavier_uniform(),
            use_bias=self.qkv_bias,
        )
        query = dense(name="query")(queries)
        key, value = dense(name="key")(keys), dense(name="value")(keys)
        if self.qk_norm:
            query = LayerNorm(use_bias=False, name="query_ln")(query)
            key = LayerNorm(use_bias=False, name="key_ln")(key)
        query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        weights = jax.nn.softmax(scores.astype(wide(scores.dtype)), axis=-1)
        self.sow("intermediates", "attention_weights", weights)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)
        return nn.DenseGeneral(
            width, axis=(-2, -1), kernel_init=nn.initializers.xavier_uniform(), name="out"
        )(mixed)


class AttentionPooling(nn.Module):
    """Tokens (B, T, D) to (B, D): one learned query attends to them, then an MLP ("MAP head").

    Zhai et al., *Scaling Vision Transformers* (arXiv:2106.04560); names as in big_vision.
    """

    heads: int
    mlp: int
    activation: str
    qkv_bias: bool = True

    @nn.compact
    def __call__(self, x):
        shape = (1, 1, x.shape[-1])
        probe = self.param("probe", nn.initializers.xavier_uniform(), shape, jnp.float32)
        probe = jnp.broadcast_to(probe, (x.shape[0], *shape[1:]))
        x = MultiHeadDotProductAttention(
            self.heads, self.qkv_bias, name="MultiHeadDotProductAttention_0"
        )(probe, x)
        y = LayerNorm(use_bias=self.qkv_bias, name="LayerNorm_0")(x)
        y = MlpBlock(
            hidden=self.mlp,
            activation=self.activation,
            kernel_init=nn.initializers.xavier_uniform(),
            bias_init=nn.initializers.normal(1e-6),
            name="MlpBlock_0",
        )(y)
        return (x + y)[:, 0]
