"""The interface of a built model, over all three families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.models.mixer import MlpMixer
from landscape.models.registry import build
from landscape.models.resnet import ResNet
from landscape.models.vit import VisionTransformer

MINI = ["ViT-Mini/2", "Mixer-Mini/2", "ResNet-Mini"]
IMAGES = jax.random.normal(jax.random.key(9), (3, 8, 8, 1))
SMALLEST = {
    "vit": VisionTransformer(3, 2, width=8, depth=1, heads=2, mlp=8),
    "vit_erf": VisionTransformer(3, 2, width=8, depth=1, heads=2, mlp=8, activation="gelu_erf"),
    "mixer": MlpMixer(3, 2, width=8, depth=1, token_mlp=4, channel_mlp=8),
    "resnet": ResNet(3, (1, 1), width=4, stem="small", groups=2),
    "resnet_imagenet": ResNet(3, (1,), width=4, groups=2),
}


@pytest.mark.parametrize("name", MINI)
def test_init_gives_a_plain_float32_tree_of_the_abstract_shapes(name):
    model = build(name)
    params = model.init(jax.random.key(0))
    abstract = model.abstract()
    assert type(params) is dict
    assert jax.tree.structure(params) == jax.tree.structure(abstract)
    for leaf, shape in zip(jax.tree.leaves(params), jax.tree.leaves(abstract), strict=True):
        assert (leaf.shape, leaf.dtype) == (shape.shape, jnp.float32)


@pytest.mark.parametrize("name", MINI)
def test_a_zero_head_gives_zero_logits_and_a_lecun_head_does_not(name):
    for head_init, zero in (("zeros", True), ("lecun", False)):
        model = build(name, head_init=head_init)
        logits = model.apply(model.init(jax.random.key(0)), IMAGES)
        assert logits.shape == (3, 10)
        assert (not np.any(logits)) is zero


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("ViT-Mini/2", {"dropout": 0.3}),
        ("ViT-Mini/2", {"stochastic_depth": 0.9}),
        ("Mixer-Mini/2", {"dropout": 0.3}),
        ("Mixer-Mini/2", {"stochastic_depth": 0.9}),
    ],
)
def test_equal_keys_give_equal_masks_and_no_key_gives_none(name, rates):
    model = build(name, head_init="lecun", **rates)
    plain = build(name, head_init="lecun")
    params = model.init(jax.random.key(0))
    first, again, other = (model.apply(params, IMAGES, key=jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    np.testing.assert_array_equal(model.apply(params, IMAGES), plain.apply(params, IMAGES))
    assert np.any(first != model.apply(params, IMAGES))


def test_a_key_changes_nothing_where_nothing_is_random():
    model = build("ResNet-Mini", head_init="lecun")
    params = model.init(jax.random.key(0))
    trained = model.apply(params, IMAGES, key=jax.random.key(1))
    np.testing.assert_array_equal(trained, model.apply(params, IMAGES))


@pytest.mark.parametrize("name", MINI)
def test_float64_parameters_give_float64_logits(x64, name):
    model = build(name, head_init="lecun")
    single = model.init(jax.random.key(0))
    double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), single)
    logits = model.apply(double, IMAGES)
    assert logits.dtype == jnp.float64
    assert model.apply(single, IMAGES).dtype == jnp.float32
    np.testing.assert_allclose(logits, model.apply(single, IMAGES), atol=1e-4)


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_hessian_products_are_symmetric_and_agree_with_differences_of_gradients(x64, name):
    module = SMALLEST[name]
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(4, 8, 8, 1)), jnp.asarray([0, 1, 2, 0])
    tree = module.init(jax.random.key(0), images)["params"]
    params, u, v = (
        jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape)), tree)
        for _ in range(3)
    )

    def loss(params):
        logits = jax.nn.log_softmax(module.apply({"params": params}, images))
        return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=1))

    gradient = jax.jit(jax.grad(loss))
    product = jax.jit(lambda v: jax.jvp(jax.grad(loss), (params,), (v,))[1])

    def dot(a, b):
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))

    hu, hv = product(u), product(v)
    assert abs(dot(u, hv)) > 1e-3
    np.testing.assert_allclose(dot(u, hv), dot(v, hu), rtol=1e-9)

    step = 1e-6
    plus, minus = (
        gradient(jax.tree.map(lambda p, d, s=sign: p + s * step * d, params, v)) for sign in (1, -1)
    )
    difference = jax.tree.map(lambda a, b: (a - b) / (2 * step), plus, minus)
    np.testing.assert_allclose(dot(difference, u), dot(hv, u), rtol=1e-4)


def mini_activation_shapes(name):
    if name == "ViT-Mini/2":
        return {f"encoderblock_{i}/MlpBlock_0": (3, 17, 64) for i in range(4)}
    if name == "Mixer-Mini/2":
        shapes = {}
        for i in range(4):
            shapes[f"MixerBlock_{i}/token_mixing"] = (3, 32, 32)
            shapes[f"MixerBlock_{i}/channel_mixing"] = (3, 16, 128)
        return shapes
    return {
        "block1/unit1": (3, 8, 8, 32),
        "block2/unit1": (3, 4, 4, 64),
        "block2/unit2": (3, 4, 4, 64),
        "block3/unit1": (3, 2, 2, 128),
    }


@pytest.mark.parametrize("name", MINI)
def test_activations_come_named_in_network_order_also_through_jit(name):
    model = build(name)
    params = model.init(jax.random.key(0))
    expected = mini_activation_shapes(name)
    for function in (model.activations, jax.jit(model.activations)):
        values = function(params, IMAGES)
        assert [(k, v.shape) for k, v in values.items()] == list(expected.items())


@pytest.mark.parametrize("name", MINI)
def test_relu_activations_are_never_negative_and_sometimes_zero(name):
    model = build(name, activation="relu")
    for values in model.activations(model.init(jax.random.key(0)), IMAGES).values():
        assert np.min(values) == 0
        assert 0.1 < np.mean(np.asarray(values) > 0) < 0.9


def test_attention_weights_of_a_query_sum_to_one():
    model = build("ViT-Mini/2")
    weights = model.attention(model.init(jax.random.key(0)), IMAGES)
    assert list(weights) == [f"encoderblock_{i}" for i in range(4)]
    for value in weights.values():
        assert value.shape == (3, 2, 17, 17)
        np.testing.assert_allclose(value.sum(-1), 1, rtol=1e-5)


def test_a_model_without_attention_says_so():
    model = build("Mixer-Mini/2")
    with pytest.raises(RequestError, match="Mixer-Mini/2"):
        model.attention(model.init(jax.random.key(0)), IMAGES)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 8, 8), np.float32), "found \\(2, 8, 8\\)"),
        (np.zeros((2, 8, 8, 3), np.float32), "found \\(2, 8, 8, 3\\)"),
        (np.zeros((2, 8, 8, 1), np.uint8), "dtype uint8"),
    ],
)
def test_images_that_cannot_be_meant_are_refused(images, found):
    model = build("ResNet-Mini")
    with pytest.raises(RequestError, match=found):
        model.apply(model.abstract(), images)


def test_equal_models_share_one_compilation():
    traces = []

    def logits(model, params, images):
        traces.append(model.name)
        return model.apply(params, images)

    compiled = jax.jit(logits, static_argnums=0)
    params = build("Mixer-Mini/2").init(jax.random.key(0))
    for name in ("Mixer-Mini/2", "mixer_mini2"):
        compiled(build(name), params, IMAGES)
    assert traces == ["Mixer-Mini/2"]
