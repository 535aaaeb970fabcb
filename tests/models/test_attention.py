"""Attention against Flax's module, and pooling written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from landscape.models.attention import AttentionPooling, MultiHeadDotProductAttention
from landscape.parameters import gaussian, named_leaves

X = np.random.default_rng(0).normal(size=(2, 5, 8))


def drawn(module, *inputs):
    inputs = [jnp.asarray(x, jnp.float32) for x in inputs]
    tree = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return jax.tree.map(lambda leaf: leaf.astype("float64"), gaussian(jax.random.key(1), tree))


@pytest.mark.parametrize("keys", [None, X[:, :3] + 1], ids=["self", "cross"])
def test_it_is_flaxs_attention_with_its_names(x64, keys):
    ours, flaxs = MultiHeadDotProductAttention(2), nn.MultiHeadDotProductAttention(2)
    inputs = (X,) if keys is None else (X, keys)
    params = drawn(ours, *inputs)
    assert jax.tree.structure(params) == jax.tree.structure(drawn(flaxs, *inputs))
    np.testing.assert_allclose(
        ours.apply({"params": params}, *inputs),
        flaxs.apply({"params": params}, *inputs),
        rtol=1e-10,
    )


def test_without_biases_of_queries_keys_and_values_the_output_keeps_its_own(x64):
    params = drawn(MultiHeadDotProductAttention(2, qkv_bias=False, qk_norm=True), X)
    assert [name for name in named_leaves(params) if name.endswith("bias")] == ["out/bias"]
    assert named_leaves(params)["query_ln/scale"].shape == (4,)


def test_normed_queries_and_keys_do_not_depend_on_the_length_of_either(x64):
    module = MultiHeadDotProductAttention(2, qkv_bias=False, qk_norm=True)
    params = drawn(module, X)
    longer = {**params, "query": {"kernel": 1e3 * params["query"]["kernel"]}}
    plain, scaled = (module.apply({"params": p}, X) for p in (params, longer))
    np.testing.assert_allclose(plain, scaled, rtol=1e-4)


def test_pooling_is_one_query_an_mlp_and_a_residual(x64):
    module = AttentionPooling(2, 16, "relu")
    params = drawn(module, X)
    p = jax.tree.map(np.asarray, params)
    att, out = p["MultiHeadDotProductAttention_0"], np.zeros((2, 8))
    for head in range(2):
        query = p["probe"][0, 0] @ att["query"]["kernel"][:, head] + att["query"]["bias"][head]
        key, value = (
            X @ att[name]["kernel"][:, head] + att[name]["bias"][head] for name in ("key", "value")
        )
        weights = np.exp(key @ query / 2)
        weights /= weights.sum(1, keepdims=True)
        out += np.einsum("bt,btd->bd", weights, value) @ att["out"]["kernel"][head]
    out += att["out"]["bias"]
    y = out - out.mean(-1, keepdims=True)
    y /= np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)
    y = y * p["LayerNorm_0"]["scale"] + p["LayerNorm_0"]["bias"]
    mlp = p["MlpBlock_0"]
    y = np.maximum(y @ mlp["Dense_0"]["kernel"] + mlp["Dense_0"]["bias"], 0)
    expected = out + y @ mlp["Dense_1"]["kernel"] + mlp["Dense_1"]["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, X), expected, rtol=1e-10)
