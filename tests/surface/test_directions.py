import functools

import equinox
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from landscape import parameters
from landscape.errors import RequestError
from landscape.models import registry
from landscape.surface import cosine, filter_axes, is_ignored, random_direction


class Everything(nn.Module):
    """A module with every kind of linen parameter the rule distinguishes."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3))(x)
        x = nn.GroupNorm(2)(x).reshape(x.shape[0], -1, 6)
        x = x + self.param("pos_embedding", nn.initializers.normal(1.0), (1, *x.shape[1:]))
        x = nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=6)(x, x)
        return nn.Dense(4)(nn.LayerNorm()(x))


@pytest.fixture(scope="module")
def params():
    made = Everything().init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))["params"]
    # No zeros and no equal norms, so that nothing holds by accident.
    return jax.tree.map(lambda p: p + parameters.gaussian(jax.random.key(p.size), p), made)


AXES = {
    "Conv_0/kernel": (0, 1, 2),
    "Dense_0/kernel": (0,),
    "MultiHeadDotProductAttention_0/query/kernel": (0,),
    "MultiHeadDotProductAttention_0/key/kernel": (0,),
    "MultiHeadDotProductAttention_0/value/kernel": (0,),
    "MultiHeadDotProductAttention_0/out/kernel": (0, 1),
    "pos_embedding": (0, 1, 2),
}


@pytest.mark.parametrize("seed", range(3))
def test_every_filter_has_the_norm_of_its_weights(params, seed):
    direction = parameters.named_leaves(random_direction(params, seed))
    weights = parameters.named_leaves(params)
    for name, axes in AXES.items():
        found = np.sqrt(np.sum(np.square(direction[name]), axis=axes))
        expected = np.sqrt(np.sum(np.square(weights[name]), axis=axes))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert filter_axes(name, weights[name]) == axes


def test_biases_and_normalisation_parameters_stay_zero_whatever_their_rank(params):
    direction = parameters.named_leaves(random_direction(params, 0))
    assert direction["MultiHeadDotProductAttention_0/query/bias"].ndim == 2
    for name, leaf in direction.items():
        assert (name in AXES) == bool(jnp.any(leaf != 0)), name


def test_filters_of_flax_kernels_are_those_of_pytorch_tensors():
    rng = np.random.default_rng(0)
    hwio, draw = rng.normal(size=(2, 3, 3, 4, 5)).astype("f")
    direction = random_direction({"conv": {"kernel": jnp.asarray(hwio)}}, 0)["conv"]["kernel"]
    draw = parameters.gaussian(jax.random.key(0), {"x": jnp.asarray(hwio)})["x"]
    oihw, torch_draw = (np.transpose(a, (3, 2, 0, 1)) for a in (hwio, np.asarray(draw)))
    for output in range(5):  # Li et al.: for d, w in zip(direction, weights): d *= |w| / |d|
        scale = np.linalg.norm(oihw[output]) / np.linalg.norm(torch_draw[output])
        expected = np.transpose(torch_draw[output] * scale, (1, 2, 0))
        np.testing.assert_allclose(direction[..., output], expected, rtol=1e-5)


@pytest.mark.parametrize("normalization", ["filter", "layer"])
def test_a_direction_is_as_long_as_the_weights_it_moves(params, normalization):
    direction = random_direction(params, 1, normalization=normalization)
    moved = {k: v for k, v in parameters.named_leaves(params).items() if k in AXES}
    assert float(parameters.norm(direction)) == pytest.approx(float(parameters.norm(moved)), 1e-5)


def test_layer_weight_and_no_normalisation(params):
    weights = parameters.named_leaves(params)
    layer = parameters.named_leaves(random_direction(params, 1, normalization="layer"))
    for name in AXES:
        np.testing.assert_allclose(
            np.linalg.norm(layer[name]), np.linalg.norm(weights[name]), rtol=1e-5
        )
    plain = parameters.named_leaves(random_direction(params, 1, normalization="none"))
    by_weight = parameters.named_leaves(random_direction(params, 1, normalization="weight"))
    name = "Dense_0/kernel"
    np.testing.assert_allclose(by_weight[name], plain[name] * np.abs(weights[name]), rtol=1e-6)


def test_equinox_weights_count_filters_along_the_first_axis():
    key = jax.random.key(0)
    model = equinox.nn.Sequential([equinox.nn.Linear(3, 4, key=key), equinox.nn.LayerNorm(4)])
    params = equinox.filter(model, equinox.is_inexact_array)
    direction = parameters.named_leaves(random_direction(params, 0))
    weights = parameters.named_leaves(params)
    np.testing.assert_allclose(
        np.linalg.norm(direction["layers/0/weight"], axis=1),
        np.linalg.norm(weights["layers/0/weight"], axis=1),
        rtol=1e-5,
    )
    assert not jnp.any(direction["layers/1/weight"])


def test_one_dimensional_parameters_without_a_telling_name_are_moved():
    direction = random_direction({"w": jnp.array([3.0, 4.0])}, 0)
    assert float(parameters.norm(direction)) == pytest.approx(5)


def test_leaves_can_be_ignored_by_pattern_and_axes_chosen(params):
    direction = parameters.named_leaves(random_direction(params, 0, ignore="pos_embedding|bias"))
    assert not jnp.any(direction["pos_embedding"])
    assert jnp.any(direction["LayerNorm_0/scale"] != 0)
    rows = random_direction(params, 0, axes={"Dense_0/kernel": (1,)})["Dense_0"]["kernel"]
    np.testing.assert_allclose(
        np.linalg.norm(rows, axis=1), np.linalg.norm(params["Dense_0"]["kernel"], axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_filters_whose_squares_are_no_numbers_have_the_norm_of_their_weights(scale):
    weights = {"kernel": jnp.asarray(scale * np.random.default_rng(0).normal(size=(5, 3)), "f")}
    found = random_direction(weights, 0)["kernel"]
    for column in range(3):
        wanted = np.linalg.norm(np.asarray(weights["kernel"], float)[:, column])
        length = np.linalg.norm(np.asarray(found, float)[:, column])
        assert length == pytest.approx(wanted, rel=1e-5, abs=0)


def test_a_filter_of_zeros_stays_zero_and_finite():
    direction = random_direction({"kernel": jnp.zeros((3, 2)).at[:, 1].set(1.0)}, 0)["kernel"]
    assert jnp.all(direction[:, 0] == 0)
    assert jnp.linalg.norm(direction[:, 1]) == pytest.approx(np.sqrt(3))


def test_seeds_decide_and_directions_of_different_seeds_are_nearly_orthogonal():
    params = {"kernel": jnp.ones((100, 100))}
    a, b, c = (random_direction(params, seed) for seed in (0, 0, 1))
    assert (a["kernel"] == b["kernel"]).all()
    assert cosine(a, a) == pytest.approx(1)
    assert abs(cosine(a, c)) < 0.05


def test_nothing_to_move_and_unknown_rules_are_refused():
    with pytest.raises(RequestError, match="every parameter is ignored"):
        random_direction({"bias": jnp.ones(3)}, 0)
    with pytest.raises(RequestError, match="'filters' is none of"):
        random_direction({"kernel": jnp.ones((3, 2))}, 0, normalization="filters")


def of_the_registry(name):
    return registry.build(name, head_init="lecun").init(jax.random.key(0))


def of_nnx():
    layers = nnx.Sequential(
        nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)),
        nnx.BatchNorm(4, rngs=nnx.Rngs(0)),
        nnx.MultiHeadAttention(2, 4, rngs=nnx.Rngs(1), decode=False),
    )
    return nnx.state(layers, nnx.Param)


def of_haiku():
    mlp = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([16, 3])(x)))
    return mlp.init(jax.random.key(0), jnp.ones((1, 5)))


def of_equinox():
    mlp = equinox.nn.MLP(4, 3, 8, 2, key=jax.random.key(0))
    return equinox.filter(mlp, equinox.is_inexact_array)


NETWORKS = {
    **{
        name: functools.partial(of_the_registry, name)
        for name in ("ViT-Mini/2", "Mixer-Mini/2", "ResNet-Mini", "CIFAR-ResNet-20")
    },
    "NNX": of_nnx,
    "Haiku": of_haiku,
    "Equinox": of_equinox,
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", range(2))
def test_in_every_network_every_filter_has_the_norm_of_its_weights(network, seed):
    params = NETWORKS[network]()
    weights = parameters.named_leaves(params)
    direction = parameters.named_leaves(random_direction(params, seed))
    moved = 0.0
    for name, weight in weights.items():
        if is_ignored(name, weight):
            assert not np.any(direction[name])
            continue
        axes = filter_axes(name, weight)
        norms = [np.sqrt(np.sum(np.square(a, dtype=np.float64), axes)) for a in
                 (direction[name], weight)]  # fmt: skip
        np.testing.assert_allclose(*norms, rtol=1e-5, err_msg=name)
        moved += np.sum(norms[1] ** 2)
        # A neuron has one bias, so there are as many filters as biases.
        for end, bias in (("kernel", "bias"), ("weight", "bias"), ("w", "b")):
            sibling = weights.get(name.removesuffix(end) + bias) if name.endswith(end) else None
            if sibling is not None:
                assert np.size(norms[1]) == np.size(sibling), name
    length = float(parameters.norm(parameters.with_leaves(params, direction)))
    assert length == pytest.approx(np.sqrt(moved), rel=1e-5)


def test_position_embeddings_and_class_tokens_move_only_if_they_shall():
    params = registry.build("ViT-Mini/2").init(jax.random.key(0))
    params = {**params, "cls": jnp.ones_like(params["cls"])}
    moved, kept = (
        parameters.named_leaves(random_direction(params, 0, embeddings=move))
        for move in (True, False)
    )
    for name in ("cls", "Transformer/posembed_input/pos_embedding"):
        assert jnp.any(moved[name])
        assert not jnp.any(kept[name])
    assert jnp.any(kept["embedding/kernel"])


def test_the_rows_of_an_embedding_table_are_its_filters():
    table = {"embed": {"embedding": jnp.arange(1.0, 7.0).reshape(3, 2)}}
    found = random_direction(table, 0)["embed"]["embedding"]
    expected = jnp.linalg.norm(table["embed"]["embedding"], axis=1)
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=1), expected, rtol=1e-5)


def test_parameters_and_seeds_may_be_of_numpy():
    rng = np.random.default_rng(0)
    host = {"kernel": rng.normal(size=(3, 4)).astype("f4")}
    device = jax.tree.map(jnp.asarray, host)
    expected = random_direction(device, 3)["kernel"]
    for params, seed in ((host, 3), (device, np.int64(3)), (host, jax.random.key(3))):
        np.testing.assert_array_equal(random_direction(params, seed)["kernel"], expected)
    with pytest.raises(RequestError, match="leaf 'kernel' is int64, not a floating array"):
        random_direction({"kernel": np.ones((3, 4), int)}, 3)
    with pytest.raises(RequestError, match=r"ignore: '\(' is no regular expression"):
        random_direction(host, 3, ignore="(")
