"""MLP-Mixer: names, and the forward pass written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from landscape.models.mixer import MlpMixer
from landscape.models.registry import build


def mixer_b16_keys():
    """Key -> shape of the published Mixer-B_16.npz."""
    width, tokens, token_mlp, channel_mlp = 768, 196, 384, 3072
    keys = {
        "stem/kernel": (16, 16, 3, width),
        "stem/bias": (width,),
        "pre_head_layer_norm/scale": (width,),
        "pre_head_layer_norm/bias": (width,),
        "head/kernel": (width, 1000),
        "head/bias": (1000,),
    }
    for layer in range(12):
        block = f"MixerBlock_{layer}"
        for norm in ("LayerNorm_0", "LayerNorm_1"):
            keys |= {f"{block}/{norm}/{leaf}": (width,) for leaf in ("scale", "bias")}
        for mlp, outer, inner in (
            ("token_mixing", tokens, token_mlp),
            ("channel_mixing", width, channel_mlp),
        ):
            keys[f"{block}/{mlp}/Dense_0/kernel"] = (outer, inner)
            keys[f"{block}/{mlp}/Dense_0/bias"] = (inner,)
            keys[f"{block}/{mlp}/Dense_1/kernel"] = (inner, outer)
            keys[f"{block}/{mlp}/Dense_1/bias"] = (outer,)
    return keys


def test_names_and_shapes_are_those_of_the_published_checkpoint():
    tree = flatten_dict(build("Mixer-B/16").abstract(), sep="/")
    assert {name: leaf.shape for name, leaf in tree.items()} == mixer_b16_keys()
    assert len(tree) == 150


def abstract(module, images):
    """Shapes of a module's parameters."""
    images = jnp.zeros(images.shape, jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images)["params"]


def numpy_mixer(params, images, patch, depth):
    """Follow the equations of arXiv:2105.01601 one image at a time."""

    def norm(x, p):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

    def mlp(x, p):
        x = x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
        x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        return x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]

    params = jax.tree.map(np.asarray, params)
    logits = []
    for image in images:
        height, width, _ = image.shape
        x = [
            np.tensordot(image[i : i + patch, j : j + patch], params["stem"]["kernel"], 3)
            for i in range(0, height, patch)
            for j in range(0, width, patch)
        ]
        x = np.stack(x) + params["stem"]["bias"]
        for layer in range(depth):
            block = params[f"MixerBlock_{layer}"]
            x = x + mlp(norm(x, block["LayerNorm_0"]).T, block["token_mixing"]).T
            x = x + mlp(norm(x, block["LayerNorm_1"]), block["channel_mixing"])
        x = norm(x, params["pre_head_layer_norm"]).mean(0)
        logits.append(x @ params["head"]["kernel"] + params["head"]["bias"])
    return np.stack(logits)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_forward_pass_is_the_papers(x64, seed):
    module = MlpMixer(classes=3, patch=2, width=8, depth=2, token_mlp=5, channel_mlp=16)
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(3, 4, 6, 2))
    params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(images.shape, jnp.float32))[
        "params"
    ]
    params = jax.tree.map(lambda p: jnp.asarray(0.3 * rng.normal(size=p.shape)), params)
    logits = jax.jit(module.apply)({"params": params}, images)
    np.testing.assert_allclose(logits, numpy_mixer(params, images, 2, 2), rtol=1e-10)


def test_stochastic_depth_drops_whole_examples_of_late_blocks_only():
    """At a rate near 1 the first block stays and the last one is the identity."""
    options = {"classes": 3, "patch": 2, "width": 8, "token_mlp": 4, "channel_mlp": 8}
    module = MlpMixer(depth=2, stochastic_depth=1 - 1e-7, head_init="lecun", **options)
    one_block = MlpMixer(depth=1, head_init="lecun", **options)
    images = jax.random.normal(jax.random.key(1), (5, 4, 4, 1))

    @jax.jit
    def logits():
        params = module.init(jax.random.key(0), images)["params"]
        shared = {name: leaf for name, leaf in params.items() if name != "MixerBlock_1"}
        keys = {"dropout": jax.random.key(2)}
        trained = module.apply({"params": params}, images, train=True, rngs=keys)
        whole = module.apply({"params": params}, images)
        return trained, one_block.apply({"params": shared}, images), whole

    trained, first_block, whole = logits()
    np.testing.assert_allclose(trained, first_block, atol=1e-6)
    assert not np.allclose(trained, whole, atol=1e-3)
