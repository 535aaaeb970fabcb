"""The Vision Transformer: names, initial values, and the forward pass written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from landscape.models.registry import build
from landscape.models.vit import VisionTransformer

TINY = {"classes": 3, "patch": 2, "width": 8, "depth": 2, "heads": 2, "mlp": 16}


def vit_b16_keys():
    """Key -> shape of vision_transformer's ViT-B_16.npz in Linen numbering."""
    width, heads, mlp = 768, 12, 3072
    keys = {
        "cls": (1, 1, width),
        "embedding/kernel": (16, 16, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, 197, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, 1000),
        "head/bias": (1000,),
    }
    for layer in range(12):
        block = f"Transformer/encoderblock_{layer}"
        for norm in ("LayerNorm_0", "LayerNorm_1"):
            keys |= {f"{block}/{norm}/{leaf}": (width,) for leaf in ("scale", "bias")}
        attention = f"{block}/MultiHeadDotProductAttention_0"
        for name in ("query", "key", "value"):
            keys[f"{attention}/{name}/kernel"] = (width, heads, width // heads)
            keys[f"{attention}/{name}/bias"] = (heads, width // heads)
        keys[f"{attention}/out/kernel"] = (heads, width // heads, width)
        keys[f"{attention}/out/bias"] = (width,)
        keys[f"{block}/MlpBlock_0/Dense_0/kernel"] = (width, mlp)
        keys[f"{block}/MlpBlock_0/Dense_0/bias"] = (mlp,)
        keys[f"{block}/MlpBlock_0/Dense_1/kernel"] = (mlp, width)
        keys[f"{block}/MlpBlock_0/Dense_1/bias"] = (width,)
    return keys


def test_names_and_shapes_are_those_of_the_published_checkpoint():
    tree = flatten_dict(build("ViT-B/16").abstract(), sep="/")
    assert {name: leaf.shape for name, leaf in tree.items()} == vit_b16_keys()
    assert {leaf.dtype for leaf in tree.values()} == {jnp.dtype("float32")}
    assert len(tree) == 200


def abstract(module, images):
    """Shapes of a module's parameters."""
    images = jnp.zeros(images.shape, jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images)["params"]


def random_like(tree, seed, scale=0.3):
    """Fill a tree with draws around 0, so that no initial zero hides a mistake."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape)), tree)


def numpy_vit(params, images, patch, classifier):
    """Follow the equations of arXiv:2010.11929 one image at a time."""

    def norm(x, p):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    params = jax.tree.map(np.asarray, params)
    logits = []
    for image in images:
        height, width, _ = image.shape
        x = [
            np.tensordot(image[i : i + patch, j : j + patch], params["embedding"]["kernel"], 3)
            for i in range(0, height, patch)
            for j in range(0, width, patch)
        ]
        x = np.stack(x) + params["embedding"]["bias"]
        if classifier == "token":
            x = np.concatenate([params["cls"][0], x])
        x = x + params["Transformer"]["posembed_input"]["pos_embedding"][0]
        for layer in range(2):
            block = params["Transformer"][f"encoderblock_{layer}"]
            att, y = block["MultiHeadDotProductAttention_0"], norm(x, block["LayerNorm_0"])
            for h in range(2):
                q, k, v = (
                    y @ att[n]["kernel"][:, h] + att[n]["bias"][h]
                    for n in ("query", "key", "value")
                )
                weights = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
                weights /= weights.sum(-1, keepdims=True)
                x = x + weights @ v @ att["out"]["kernel"][h]
            x = x + att["out"]["bias"]
            mlp, y = block["MlpBlock_0"], norm(x, block["LayerNorm_1"])
            y = gelu(y @ mlp["Dense_0"]["kernel"] + mlp["Dense_0"]["bias"])
            x = x + y @ mlp["Dense_1"]["kernel"] + mlp["Dense_1"]["bias"]
        x = norm(x, params["Transformer"]["encoder_norm"])
        x = x[0] if classifier == "token" else x.mean(0)
        logits.append(x @ params["head"]["kernel"] + params["head"]["bias"])
    return np.stack(logits)


@pytest.mark.parametrize("classifier", ["token", "gap"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_forward_pass_is_the_papers(x64, classifier, seed):
    module = VisionTransformer(**TINY, classifier=classifier)
    images = np.random.default_rng(seed).normal(size=(3, 4, 6, 2))
    params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(images.shape, jnp.float32))[
        "params"
    ]
    params = random_like(params, seed)
    logits = jax.jit(module.apply)({"params": params}, images)
    np.testing.assert_allclose(logits, numpy_vit(params, images, 2, classifier), rtol=1e-10)


def test_initial_values_follow_vision_transformer():
    module = VisionTransformer(10, 16, width=192, depth=1, heads=3, mlp=768)
    images = jnp.zeros((1, 224, 224, 3))
    variables = jax.jit(module.init)(jax.random.key(0), images)
    params = flatten_dict(variables["params"], sep="/")
    block = "Transformer/encoderblock_0"
    query = params[f"{block}/MultiHeadDotProductAttention_0/query/kernel"]
    out = params[f"{block}/MultiHeadDotProductAttention_0/out/kernel"]
    for kernel in (query, out):  # Xavier over (192, 192), whatever the split into heads
        assert 0.98 < np.abs(kernel).max() / np.sqrt(6 / (192 + 192)) <= 1
    dense = params[f"{block}/MlpBlock_0/Dense_0/kernel"]
    assert 0.98 < np.abs(dense).max() / np.sqrt(6 / (192 + 768)) <= 1
    bias = params[f"{block}/MlpBlock_0/Dense_0/bias"]
    assert np.std(bias) == pytest.approx(1e-6, rel=0.1)
    positions = params["Transformer/posembed_input/pos_embedding"]
    assert np.std(positions) == pytest.approx(0.02, rel=0.02)
    embedding = params["embedding/kernel"]
    assert np.std(embedding) == pytest.approx(np.sqrt(1 / (16 * 16 * 3)), rel=0.02)
    for zero in ("cls", "head/kernel", "head/bias", "embedding/bias"):
        assert not np.any(params[zero])


def test_dropout_acts_after_the_position_embedding_the_attention_and_in_the_mlp():
    calls = []
    module = VisionTransformer(**TINY, dropout=0.5)
    images = jnp.ones((2, 4, 4, 1))

    def watch(next_function, args, kwargs, context):
        if isinstance(context.module, nn.Dropout) and not kwargs["deterministic"]:
            calls.append("/".join(context.module.scope.path[:-1]))
        return next_function(*args, **kwargs)

    def trained():
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        return module.init(keys, images, train=True)

    with nn.intercept_methods(watch):
        jax.eval_shape(trained)
    expected = ["Transformer"]
    for layer in range(2):
        block = f"Transformer/encoderblock_{layer}"
        expected += [block, f"{block}/MlpBlock_0", f"{block}/MlpBlock_0"]
    assert calls == expected
