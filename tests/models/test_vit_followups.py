"""Plain ViT, ViT-22B's block, hybrids and convolutional stems."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.models.registry import build
from landscape.models.vit import EncoderBlock, sincos2d
from landscape.parameters import gaussian, leaf_names, named_leaves, scaled

SMALL = {"width": 16, "depth": 2, "heads": 2, "mlp": 32}


def small(name, size=32, **options):
    """A small member of the family, its parameters far from their initial values, and its state."""
    model = build(name, image_shape=(size, size, 3), classes=5, shape=SMALL, **options)
    params = scaled(gaussian(jax.random.key(0), model.abstract()), 0.3)
    return model, params, model.init_state()


def images(size=32, count=2):
    return jax.random.normal(jax.random.key(3), (count, size, size, 3), jnp.float32)


def test_sincos_positions_are_moco_v3s():
    table = np.asarray(sincos2d(2, 3, 8))[0]
    assert table.shape == (6, 8)
    y, x = 1, 2  # the last of the grid
    frequencies = np.array([1, 1e-4])
    expected = np.concatenate(
        [np.sin(x * frequencies), np.cos(x * frequencies),
         np.sin(y * frequencies), np.cos(y * frequencies)]
    )  # fmt: skip
    np.testing.assert_allclose(table[-1], expected, rtol=1e-6)
    np.testing.assert_allclose(table[0], [0, 0, 1, 1, 0, 0, 1, 1], atol=1e-7)


def test_a_plain_vit_has_fixed_positions_the_mean_and_a_tanh_layer():
    model, params, _ = small("PlainViT-S/16", representation=7)
    assert not {"cls", "posembed_input"} & set("/".join(leaf_names(params)).split("/"))
    values = jax.jit(model.intermediates)(params, images())
    assert values.pre_logits.shape == (2, 7)
    assert np.abs(values.pre_logits).max() <= 1
    expected = values.pre_logits @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(values.logits, expected, rtol=1e-5)
    # Positions matter although they are not parameters.
    swapped = images()[:, ::-1]
    assert np.abs(jax.jit(model.apply)(params, swapped) - values.logits).max() > 1e-3


def test_the_parallel_block_adds_both_branches_of_one_norm(x64):
    block = EncoderBlock(2, 32, "gelu_tanh", 0.0, 0.0, "parallel")
    x = np.random.default_rng(0).normal(size=(2, 5, 16))
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros(x.shape, jnp.float32))
    params = gaussian(jax.random.key(0), shapes["params"])
    params = jax.tree.map(lambda leaf: leaf.astype("float64"), params)

    def without(branch):
        silent = {**params[branch]}
        for layer in ("out", "Dense_1"):
            if layer in silent:
                silent[layer] = jax.tree.map(jnp.zeros_like, silent[layer])
        return block.apply({"params": {**params, branch: silent}}, x) - x

    both = block.apply({"params": params}, x) - x
    one, other = without("MlpBlock_0"), without("MultiHeadDotProductAttention_0")
    np.testing.assert_allclose(both, one + other, rtol=1e-9, atol=1e-12)
    assert "LayerNorm_1" not in params
    biases = [name for name in named_leaves(params) if name.endswith("bias")]
    assert biases == [
        "MlpBlock_0/Dense_0/bias",
        "MlpBlock_0/Dense_1/bias",
        "MultiHeadDotProductAttention_0/out/bias",
    ]


def test_a_vit_22b_has_biases_in_dense_layers_only():
    model = build("ViT22B-S/16")
    for name in leaf_names(model.abstract()):
        if name.endswith("bias"):
            assert any(part in name for part in ("Dense", "out/", "embedding/", "head/"))


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [("R+ViT-Ti/16", 64, 5), ("R26+ViT-S/32", 64, 5), ("R50+ViT-B/16", 32, 5)],
)
def test_a_hybrid_sees_the_pixels_of_a_resnets_maps(name, size, tokens):
    model, params, _ = small(name, size)
    assert model.tokens == tokens
    values = jax.jit(model.intermediates)(params, images(size))
    assert values.logits.shape == (2, 5)
    units = [key for key in values.activations if "unit" in key]
    assert len(units) == {"R+ViT-Ti/16": 0, "R26+ViT-S/32": 8, "R50+ViT-B/16": 16}[name]
    assert list(values.attention) == ["encoderblock_0", "encoderblock_1"]


def test_names_of_a_hybrid_are_the_published_ones():
    tree = named_leaves(build("R50+ViT-B/16").abstract())
    assert tree["conv_root/kernel"].shape == (7, 7, 3, 64)
    assert tree["block3/unit9/conv3/kernel"].shape == (1, 1, 256, 1024)
    assert tree["embedding/kernel"].shape == (1, 1, 1024, 768)
    assert not any(name.startswith("block4") for name in tree)


def test_a_convolutional_stem_has_statistics_and_one_block_less():
    model, params, state = small("ViT_C-1GF")
    assert model.tokens == 5
    assert set(state["stem"]) == {"bn0", "bn1", "bn2", "bn3"}
    assert params["stem"]["conv3"]["kernel"].shape == (3, 3, 96, 192)
    assert params["embedding"]["kernel"].shape == (1, 1, 192, 16)
    found = jax.jit(model.batch_state)(params, images())
    logits = jax.jit(model.apply)(params, images(), state=found)
    assert np.all(np.isfinite(logits))
    assert build("ViT_P-1GF").module.depth == build("ViT_C-1GF").module.depth + 1 == 12


def test_attention_pooling_reports_its_weights_last():
    model, params, _ = small("ViT22B-S/16")
    attention = jax.jit(model.attention)(params, images())
    assert list(attention) == ["encoderblock_0", "encoderblock_1", "MAPHead_0"]
    assert attention["MAPHead_0"].shape == (2, 2, 1, 4)


TINY = {"R26+ViT-S/32": {"resnet": (1,)}, "ViT_C-1GF": {"convolutions": ((4, 2), (8, 2))}}


def tiny(name, **options):
    """A network of four tokens and one block."""
    shape = {**SMALL, "depth": 1, **TINY[name]}
    return build(name, image_shape=(8, 8, 3), classes=5, shape=shape, **options)


@pytest.mark.parametrize("name", TINY)
def test_a_bfloat16_pass_is_close_to_that_in_float32(name):
    model, half = tiny(name), tiny(name, dtype="bfloat16")
    params, state = scaled(gaussian(jax.random.key(0), model.abstract()), 0.3), model.init_state()
    passes = jax.jit(lambda *given: [m.apply(*given, state=state) for m in (model, half)])
    full, found = passes(params, images(8))
    assert found.dtype == jnp.float32
    error = np.abs(found - full).max() / np.abs(full).max()
    assert 1e-4 < error < 0.05
    gradient = jax.grad(lambda params: jnp.sum(half.apply(params, images(8), state=state)))
    assert {g.dtype for g in jax.tree.leaves(jax.eval_shape(gradient, params))} == {full.dtype}


@pytest.mark.parametrize("name", TINY)
def test_rematerialised_blocks_keep_less_and_give_the_same_loss(name):
    state = tiny(name).init_state()
    params = scaled(gaussian(jax.random.key(0), tiny(name).abstract()), 0.3)

    def loss(params, remat):
        return jnp.sum(tiny(name, remat=remat).apply(params, images(8), state=state) ** 2)

    losses = [partial(loss, remat=remat) for remat in (False, True)]
    np.testing.assert_allclose(*(jax.jit(each)(params) for each in losses), rtol=1e-5)
    backward = [jax.eval_shape(lambda p, f=each: jax.vjp(f, p)[1], params) for each in losses]
    kept = [sum(leaf.size for leaf in jax.tree.leaves(each)) for each in backward]
    assert kept[1] < 0.8 * kept[0]


def test_hybrids_have_the_dropout_of_their_configurations():
    rates = {
        name: build(name).module.dropout
        for name in ("R+ViT-Ti/16", "R26+ViT-S/32", "R26+ViT-B/32", "R50+ViT-B/16", "R50+ViT-L/32")
    }
    assert list(rates.values()) == [0, 0, 0, 0.1, 0.1]
