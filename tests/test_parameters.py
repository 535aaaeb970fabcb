import itertools
import re

import equinox
import flax.linen
import flax.nnx
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import parameters
from landscape.errors import RequestError
from landscape.models import registry

TREE = {"b": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}, "a": jnp.full(4, 2.0)}


def test_names_follow_the_leaves():
    assert parameters.leaf_names(TREE) == ["a", "b/bias", "b/kernel"]
    assert parameters.leaf_names([jnp.ones(1), (jnp.ones(1), jnp.ones(1))]) == ["0", "1/0", "1/1"]
    assert parameters.named_leaves(TREE)["b/kernel"].shape == (2, 3)


def test_names_of_linen_nnx_equinox_and_haiku_parameters():
    key, x = jax.random.key(0), jnp.ones((1, 2))
    linen = flax.linen.Dense(3).init(key, x)["params"]
    assert parameters.leaf_names(linen) == ["bias", "kernel"]
    nnx = flax.nnx.split(flax.nnx.Linear(2, 3, rngs=flax.nnx.Rngs(0)), flax.nnx.Param)[1]
    assert sorted(parameters.leaf_names(nnx)) == ["bias", "kernel"]
    eqx = equinox.filter(equinox.nn.MLP(2, 3, 4, 1, key=key), equinox.is_inexact_array)
    assert "layers/0/weight" in parameters.leaf_names(eqx)
    network = haiku.transform(lambda x: haiku.nets.MLP([3])(x))
    assert "mlp/~/linear_0/w" in parameters.leaf_names(network.init(key, x))


def test_replacing_leaves_keeps_the_others():
    replaced = parameters.with_leaves(TREE, {"b/bias": jnp.ones(3)})
    assert replaced["b"]["bias"].tolist() == [1, 1, 1]
    assert replaced["b"]["kernel"] is TREE["b"]["kernel"]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dots_and_norms_are_exact_and_wide(dtype):
    tree = jax.tree.map(lambda x: x.astype(dtype), TREE)
    assert parameters.dot(tree, tree) == 6 + 16
    assert parameters.dot(tree, tree).dtype == jnp.float32
    assert parameters.norm({"x": jnp.asarray([3.0, 4.0], dtype)}) == 5


def test_dots_are_double_in_double_precision(x64):
    tree = {"x": jnp.asarray([1e8, 1.0], jnp.float64)}
    assert float(parameters.dot(tree, tree)) == 1e16 + 1


def test_gaussian_trees_depend_on_the_key_only():
    a, b = (parameters.gaussian(jax.random.key(3), TREE) for _ in range(2))
    assert all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))
    c = parameters.gaussian(jax.random.key(4), TREE)
    assert not jnp.allclose(a["a"], c["a"])
    sample = parameters.gaussian(jax.random.key(0), {"x": jnp.zeros(100_000)})["x"]
    assert abs(float(sample.mean())) < 0.02
    assert abs(float(sample.std()) - 1) < 0.02


def test_content_hashes_see_names_shapes_and_values():
    original = parameters.content_hash(TREE)
    assert original == parameters.content_hash(jax.tree.map(np.asarray, TREE))
    assert original != parameters.content_hash({**TREE, "a": jnp.full(4, 2.5)})
    assert original != parameters.content_hash({"b": TREE["b"], "c": TREE["a"]})
    assert original != parameters.content_hash({**TREE, "a": jnp.full((2, 2), 2.0)})


def test_leaves_that_are_not_floating_are_named():
    with pytest.raises(RequestError, match=r"leaf 'count' is int32"):
        parameters.check_floating({"count": jnp.ones(2, jnp.int32)})
    with pytest.raises(RequestError, match="no leaves"):
        parameters.check_floating({})
    with pytest.raises(RequestError, match="'x' is str"):
        parameters.check_floating({"x": "text"})


def test_values_that_are_not_finite_are_counted_and_named():
    tree = {"fine": jnp.ones(2), "broken": jnp.array([1.0, jnp.nan, jnp.inf])}
    with pytest.raises(RequestError, match=r"2 non-finite values in 'broken' \(1 of 2 arrays"):
        parameters.check_finite(tree)


def _vit(depth):
    block = {
        "LayerNorm_0": {"scale": jnp.ones(2)},
        "MultiHeadDotProductAttention_0": {"query": {"kernel": jnp.ones((2, 1, 2))}},
        "LayerNorm_1": {"scale": jnp.ones(2)},
        "MlpBlock_0": {"Dense_0": {"kernel": jnp.ones((2, 4))}},
    }
    return {
        "cls": jnp.ones((1, 1, 2)),
        "embedding": {"kernel": jnp.ones((2, 2, 1, 2))},
        "Transformer": {
            "posembed_input": {"pos_embedding": jnp.ones((1, 5, 2))},
            "encoder_norm": {"scale": jnp.ones(2)},
            **{f"encoderblock_{i}": block for i in range(depth)},
        },
        "head": {"kernel": jnp.ones((2, 3))},
    }


def test_components_cover_a_vision_transformer_in_network_order():
    found = parameters.blocks(_vit(11), "components")
    assert list(found)[:5] == [
        "embedding", "class_token", "positions", "encoderblock_0/attention", "encoderblock_0/mlp",
    ]  # fmt: skip
    assert list(found)[-3:] == ["encoderblock_10/attention", "encoderblock_10/mlp", "head"]
    assert sorted(itertools.chain(*found.values())) == sorted(parameters.leaf_names(_vit(11)))
    assert found["encoderblock_3/mlp"] == [
        "Transformer/encoderblock_3/LayerNorm_1/scale",
        "Transformer/encoderblock_3/MlpBlock_0/Dense_0/kernel",
    ]


def test_the_embedding_is_the_first_linear_layer_alone():
    found = parameters.blocks(_vit(2), "paper")
    assert found["embedding"] == ["embedding/kernel"]
    assert found["input_layers"] == [
        "embedding/kernel", "cls", "Transformer/posembed_input/pos_embedding",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "embedding", "stem"),
    [("ResNet-Mini", ["conv_root/kernel"], 2), ("Mixer-Mini/2", ["stem/bias", "stem/kernel"], 0),
     ("CIFAR-ResNet-20", ["conv1/kernel"], 2),
     ("ViT_C-1GF", ["embedding/bias", "embedding/kernel"], 12),
     ("R+ViT-Ti/16", ["embedding/bias", "embedding/kernel"], 3)],
)  # fmt: skip
def test_every_family_has_an_embedding_and_components_are_a_partition(name, embedding, stem):
    tree = registry.build(name).abstract()
    found = parameters.blocks(tree)
    assert found["embedding"] == embedding
    assert len(found.get("stem", ())) == stem
    assert sorted(itertools.chain(*found.values())) == sorted(parameters.leaf_names(tree))
    assert next(iter(found)) == "embedding"
    assert list(found)[-1] == "head"


def test_the_partition_of_the_paper_adds_blocks_1_6_and_12():
    found = parameters.blocks(_vit(12), "paper")
    whole = [name for name in found if re.fullmatch(r"encoderblock_\d+", name)]
    assert whole == ["encoderblock_0", "encoderblock_5", "encoderblock_11"]
    assert len(found["encoderblock_5"]) == 4


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("ViT-Mini/2", ("attention", "mlp")), ("Mixer-Mini/2", ("token_mlp", "channel_mlp"))],
)
def test_joint_blocks_are_the_unions_of_the_layers_blocks(name, kinds):
    found = parameters.blocks(registry.build(name).abstract(), "paper")
    for kind in kinds:
        layers = [label for label in found if label.endswith(f"/{kind}")]
        assert len(layers) == 3
        assert found[kind] == [leaf for label in layers for leaf in found[label]]
    order = [list(found).index(label) for label in ("embedding", *kinds, layers[0], "head")]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["ViT-Mini/2", "Mixer-Mini/2", "ResNet-Mini", "CIFAR-ResNet-20"])
def test_the_blocks_of_table_3_are_those_of_the_paper_without_the_single_layers(name):
    tree = registry.build(name).abstract()
    table, paper = (parameters.blocks(tree, scheme) for scheme in ("table3", "paper"))
    assert table.items() <= paper.items()
    assert len(table) == (5 if "ResNet" in name else 7)
    assert not {"class_token", "input_layers", "encoderblock_0/mlp"} & table.keys()


def test_a_joint_block_does_not_take_the_name_of_somebodys_layer():
    one = {"weight": jnp.ones(2)}
    tree = {"mlp": one, "layers": [{"mlp": one}, {"mlp": one}]}
    found = parameters.blocks(tree, "paper")
    assert found["mlp"] == ["mlp/weight"]
    assert found["all mlp"] == ["layers/0/mlp/weight", "layers/1/mlp/weight"]
    assert found["layers/1"] == ["layers/1/mlp/weight"]


def test_blocks_by_pattern_layer_and_tensor():
    assert parameters.blocks(TREE, {"kernels": "kernel$"}) == {"kernels": ["b/kernel"]}
    assert parameters.blocks(TREE, "layers") == {"a": ["a"], "b": ["b/bias", "b/kernel"]}
    assert len(parameters.blocks(TREE, "tensors")) == 3
    with pytest.raises(RequestError, match="matches no parameter"):
        parameters.blocks(TREE, {"none": "nothing"})
    with pytest.raises(RequestError, match="is none of"):
        parameters.blocks(TREE, "atoms")


def test_an_epsilon_moves_every_entry_zeros_included():
    tree = {"a": jnp.array([0.0, 3.0, -4.0]), "b": jnp.array([1.0, 256.0], jnp.bfloat16)}
    key = jax.random.key(0)
    up, down = (parameters.moved_by_epsilon(key, tree, sign) for sign in (1, -1))
    for name in tree:
        assert up[name].dtype == tree[name].dtype
        moved = np.asarray(up[name], float) - np.asarray(tree[name], float)
        assert (np.abs(moved) > 0).all()
        np.testing.assert_array_equal(
            np.asarray(down[name], float) < np.asarray(tree[name], float), moved > 0
        )
    assert not np.asarray(parameters.moved_by_epsilon(key, jnp.zeros(3))).any()
