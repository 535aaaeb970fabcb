"""The interface of a built model, over all three families."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from landscape.errors import RequestError
from landscape.models.mixer import MlpMixer
from landscape.models.model import _is_block
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


@functools.cache
def initial(name):
    """Initial parameters of a Mini model with a non-zero head."""
    return build(name, head_init="lecun").init(jax.random.key(0))


@pytest.mark.parametrize("name", MINI)
def test_init_gives_a_plain_float32_tree_of_the_abstract_shapes(name):
    params, abstract = initial(name), build(name).abstract()
    assert type(params) is dict
    assert jax.tree.structure(params) == jax.tree.structure(abstract)
    for leaf, shape in zip(jax.tree.leaves(params), jax.tree.leaves(abstract), strict=True):
        assert (leaf.shape, leaf.dtype) == (shape.shape, jnp.float32)


def test_parameters_are_float32_also_in_double_precision(x64):
    for name in MINI:
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(build(name).abstract())}
        assert dtypes == {jnp.dtype("float32")}


def test_the_head_starts_at_zero_unless_asked_otherwise():
    model = build("Mixer-Mini/2")
    zero, lecun = model.init(jax.random.key(0)), initial("Mixer-Mini/2")
    assert not np.any(zero["head"]["kernel"])
    assert np.std(lecun["head"]["kernel"]) == pytest.approx(48**-0.5, rel=0.1)
    np.testing.assert_array_equal(zero["stem"]["kernel"], lecun["stem"]["kernel"])
    assert not np.any(jax.jit(model.apply)(zero, IMAGES))


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("ViT-Mini/2", {"dropout": 0.3, "stochastic_depth": 0.5}),
        ("Mixer-Mini/2", {"dropout": 0.3}),
        ("Mixer-Mini/2", {"stochastic_depth": 0.9}),
    ],
)
def test_equal_keys_give_equal_masks_and_no_key_gives_none(name, rates):
    model, params = build(name, **rates), initial(name)
    train = jax.jit(lambda params, images, key: model.apply(params, images, key=key))
    first, again, other = (train(params, IMAGES, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    without_key = jax.jit(model.apply)(params, IMAGES)
    np.testing.assert_array_equal(without_key, jax.jit(build(name).apply)(params, IMAGES))
    assert np.any(first != without_key)


@pytest.mark.parametrize("name", MINI)
def test_a_key_changes_nothing_where_nothing_is_random(name):
    model, key = build(name, dropout=0, stochastic_depth=0), jax.random.key(1)
    with_key = jax.make_jaxpr(lambda params: model.apply(params, IMAGES, key=key))
    without = jax.make_jaxpr(lambda params: model.apply(params, IMAGES))
    assert str(with_key(model.abstract())) == str(without(model.abstract()))


@pytest.mark.parametrize("name", MINI)
def test_float64_parameters_give_float64_logits(x64, name):
    model, single = build(name), initial(name)
    double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), single)
    logits, rounded = (jax.jit(model.apply)(params, IMAGES) for params in (double, single))
    assert (logits.dtype, rounded.dtype) == (jnp.float64, jnp.float32)
    assert np.std(logits) > 0.01
    np.testing.assert_allclose(logits, rounded, atol=1e-4)


def abstract(module, images):
    """Shapes of a module's parameters."""
    images = jnp.zeros(images.shape, jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images)["params"]


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_hessian_products_are_symmetric_and_agree_with_differences_of_gradients(x64, name):
    module = SMALLEST[name]
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(4, 8, 8, 1)), jnp.asarray([0, 1, 2, 0])
    tree = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(images.shape, jnp.float32))[
        "params"
    ]
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


@pytest.mark.parametrize(("name", "remat"), [("ViT-Mini/2", True), ("Mixer-Mini/2", False)])
def test_the_head_sees_the_normed_output_of_the_last_block(name, remat):
    model, params = build(name, head_init="lecun", remat=remat), initial(name)
    outputs, found = jax.jit(lambda params: (
        model.block_outputs(params, IMAGES), model.intermediates(params, IMAGES)
    ))(params)  # fmt: skip
    assert len(outputs) == 3
    last = np.asarray(list(outputs.values())[-1])
    normed = (last - last.mean(-1, keepdims=True)) / last.std(-1, keepdims=True)
    features = normed[:, 0] if name.startswith("ViT") else normed.mean(1)
    np.testing.assert_allclose(found.pre_logits, features, atol=1e-4)


def test_modules_say_themselves_whether_they_are_blocks():
    class Own(nn.Module):
        is_block: ClassVar[bool] = True

    assert _is_block(Own(), "__call__")
    assert not _is_block(Own(), "setup")
    assert not _is_block(nn.Dense(3), "__call__")


def test_the_outputs_of_residual_units_are_their_activations():
    model, params = build("ResNet-Mini"), initial("ResNet-Mini")
    outputs, activations = jax.jit(lambda params: (
        model.block_outputs(params, IMAGES), model.activations(params, IMAGES)
    ))(params)  # fmt: skip
    assert list(outputs) == list(activations) == ["block1/unit1", "block2/unit1", "block3/unit1"]
    for name, values in outputs.items():
        np.testing.assert_array_equal(values, activations[name])


def mini_activation_shapes(name):
    if name == "ViT-Mini/2":
        return {f"encoderblock_{i}/MlpBlock_0": (3, 17, 96) for i in range(3)}
    if name == "Mixer-Mini/2":
        shapes = {}
        for i in range(3):
            shapes[f"MixerBlock_{i}/token_mixing"] = (3, 48, 32)
            shapes[f"MixerBlock_{i}/channel_mixing"] = (3, 16, 96)
        return shapes
    return {
        "block1/unit1": (3, 8, 8, 32),
        "block2/unit1": (3, 4, 4, 64),
        "block3/unit1": (3, 2, 2, 128),
    }


@pytest.mark.parametrize("name", MINI)
def test_activations_come_named_in_network_order_also_through_jit(name):
    model, params = build(name), initial(name)
    expected = mini_activation_shapes(name)
    compiled = jax.jit(model.activations)(params, IMAGES)
    plain = None

    def keep(params):
        nonlocal plain
        plain = model.activations(params, IMAGES)

    jax.eval_shape(keep, params)  # as outside of jit, without the time
    for values in (compiled, plain):
        assert [(k, v.shape) for k, v in values.items()] == list(expected.items())


@pytest.mark.parametrize("name", MINI)
def test_relu_activations_are_never_negative_and_sometimes_zero(name):
    model = build(name, activation="relu")
    for values in jax.jit(model.activations)(initial(name), IMAGES).values():
        assert np.min(values) == 0
        assert 0.1 < np.mean(np.asarray(values) > 0) < 0.9


def test_attention_weights_of_a_query_sum_to_one():
    model = build("ViT-Mini/2")
    weights = jax.jit(model.attention)(initial("ViT-Mini/2"), IMAGES)
    assert list(weights) == [f"encoderblock_{i}" for i in range(3)]
    for value in weights.values():
        assert value.shape == (3, 3, 17, 17)
        np.testing.assert_allclose(value.sum(-1), 1, rtol=1e-5)


def test_a_model_without_attention_says_so():
    model = build("Mixer-Mini/2")
    with pytest.raises(RequestError, match="Mixer-Mini/2"):
        model.attention(initial("Mixer-Mini/2"), IMAGES)


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
    params = initial("Mixer-Mini/2")
    for name in ("Mixer-Mini/2", "mixer_mini2"):
        compiled(build(name), params, IMAGES)
    assert traces == ["Mixer-Mini/2"]


@pytest.mark.parametrize("name", MINI)
def test_intermediates_come_with_the_logits_of_the_plain_pass(name):
    model, params = build(name), initial(name)
    values = jax.jit(model.intermediates)(params, IMAGES)
    np.testing.assert_array_equal(values.logits, jax.jit(model.apply)(params, IMAGES))
    head = params["head"]
    expected = values.pre_logits @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(values.logits, expected, rtol=1e-5, atol=1e-6)
    assert bool(values.attention) == (name == "ViT-Mini/2")


@pytest.mark.parametrize("name", [*MINI, "CIFAR-ResNet-20"])
def test_a_bfloat16_pass_leaves_parameters_and_logits_in_float32(name):
    options = {"image_shape": IMAGES.shape[1:], "classes": 10}
    model, params = build(name, **options), initial_of(name, options)
    half, state = build(name, dtype="bfloat16", **options), model.init_state()
    passes = {"full": model.apply, "half": half.apply}
    logits = {k: jax.jit(apply)(params, IMAGES, state=state) for k, apply in passes.items()}
    assert logits["half"].dtype == jnp.float32
    error = np.abs(logits["half"] - logits["full"]).max() / np.abs(logits["full"]).max()
    assert 1e-4 < error < 0.05

    def loss(params):
        return jnp.sum(half.apply(params, IMAGES, state=state) ** 2)

    gradient = jax.eval_shape(jax.grad(loss), params)
    assert {g.dtype for g in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


@functools.cache
def _initial_of(name, image_shape):
    return build(name, image_shape=image_shape, classes=10, head_init="lecun").init(
        jax.random.key(0)
    )


def initial_of(name, options):
    return _initial_of(name, options["image_shape"])


def test_a_bfloat16_pass_multiplies_in_bfloat16():
    model = build("ViT-Mini/2", dtype="bfloat16")
    text = str(jax.make_jaxpr(model.apply)(model.abstract(), IMAGES))
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products
    assert all(":bf16" in line for line in products)


SHALLOW = {
    "ViT-Mini/2": {"depth": 1},
    "Mixer-Mini/2": {"depth": 1},
    "ResNet-Mini": {"units": (1,)},
    "CIFAR-ResNet-20": {"units": (1,)},
}
DEEP = {
    "ViT-Mini/2": {"depth": 6},
    "Mixer-Mini/2": {"depth": 6},
    "ResNet-Mini": {"units": (4, 1, 1)},
    "CIFAR-ResNet-20": {"units": (4, 1, 1)},
}


def rematerialised(name, shape):
    """Losses without and with rematerialised blocks, and parameters."""
    options = {"classes": 3, "image_shape": (8, 8, 1), "shape": shape}
    params = build(name, head_init="lecun", **options).init(jax.random.key(1))

    def loss(model):
        state = model.init_state()
        return lambda params: jnp.mean(model.apply(params, IMAGES, state=state) ** 2)

    return params, [loss(build(name, remat=remat, **options)) for remat in (False, True)]


@pytest.mark.parametrize("name", SHALLOW)
def test_rematerialised_blocks_give_the_same_products(name):
    params, losses = rematerialised(name, SHALLOW[name])
    products = [
        jax.jit(lambda params, loss=loss: jax.jvp(jax.grad(loss), (params,), (params,))[1])(params)
        for loss in losses
    ]
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(products[0]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * scale), products[1], products[0]
    )


@pytest.mark.parametrize("name", DEEP)
def test_rematerialised_blocks_keep_less_for_the_backward_pass(name):
    params, losses = rematerialised(name, DEEP[name])
    # By shapes: on a CPU XLA computes nothing twice.
    backward = [
        jax.eval_shape(lambda params, loss=loss: jax.vjp(loss, params)[1], params)
        for loss in losses
    ]
    kept = [sum(leaf.size for leaf in jax.tree.leaves(each)) for each in backward]
    assert kept[1] < 0.6 * kept[0]


def test_dropout_draws_the_same_masks_with_rematerialised_blocks():
    masks = [
        jax.jit(build("ViT-Mini/2", dropout=0.3, stochastic_depth=0.3, remat=remat).apply)(
            initial("ViT-Mini/2"), IMAGES, key=jax.random.key(4)
        )
        for remat in (False, True)
    ]
    np.testing.assert_array_equal(*masks)
