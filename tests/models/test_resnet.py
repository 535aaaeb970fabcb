"""ResNet V1 with GroupNorm: names, norms, and what its initialisation implies."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax import lax

from landscape.models.registry import build
from landscape.models.resnet import GroupNorm, ResNet, StdConv, max_pool, standardise


def resnet50_keys():
    """Key -> shape of big_vision's ResNet-50."""
    keys = {"conv_root/kernel": (7, 7, 3, 64), "head/kernel": (2048, 1000), "head/bias": (1000,)}
    norms = {"gn_root": 64}
    channels = 64
    for stage, units in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for unit in range(units):
            name = f"block{stage + 1}/unit{unit + 1}"
            keys[f"{name}/conv1/kernel"] = (1, 1, channels, width)
            keys[f"{name}/conv2/kernel"] = (3, 3, width, width)
            keys[f"{name}/conv3/kernel"] = (1, 1, width, 4 * width)
            norms |= {f"{name}/gn1": width, f"{name}/gn2": width, f"{name}/gn3": 4 * width}
            if unit == 0:
                keys[f"{name}/conv_proj/kernel"] = (1, 1, channels, 4 * width)
                norms[f"{name}/gn_proj"] = 4 * width
            channels = 4 * width
    for name, size in norms.items():
        keys[f"{name}/scale"] = keys[f"{name}/bias"] = (size,)
    return keys


def test_names_and_shapes_are_those_of_big_vision():
    tree = flatten_dict(build("ResNet-50").abstract(), sep="/")
    assert {name: leaf.shape for name, leaf in tree.items()} == resnet50_keys()
    assert len(tree) == 161


def test_weight_standardisation_is_exact_on_a_kernel_of_two_values():
    kernel = jnp.asarray([[1.0, 0.0], [3.0, 8.0]]).reshape(2, 1, 1, 2)
    expected = np.asarray([[-1 / (1 + 1e-5), -4 / (4 + 1e-5)], [1 / (1 + 1e-5), 4 / (4 + 1e-5)]])
    np.testing.assert_allclose(standardise(kernel).reshape(2, 2), expected, rtol=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_standardised_kernels_do_not_feel_scale_nor_shift(x64, seed):
    kernel = jax.random.normal(jax.random.key(seed), (3, 3, 4, 5))
    moved = standardise(7 * kernel + jnp.arange(5.0)[None, None, None])
    np.testing.assert_allclose(moved, standardise(kernel), rtol=2e-5)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("side", [8, 7])
def test_the_convolution_is_flaxs_with_a_standardised_kernel(size, stride, side):
    x = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    module = StdConv(4, size, stride)
    params = module.init(jax.random.key(1), x)["params"]
    theirs = nn.Conv(4, (size, size), (stride, stride), use_bias=False)
    expected = theirs.apply({"params": {"kernel": standardise(params["kernel"])}}, x)
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, atol=2e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_kernels_are_standardised_in_float32_and_rounded_once(size):
    shape = (size, size, 6, 4)
    # A mean that bfloat16 would keep two digits of
    kernel = 3.0 + 0.01 * jax.random.normal(jax.random.key(0), shape, jnp.float32)
    centre = jnp.zeros((1, size, size, 6), jnp.bfloat16)
    middle = (size - 1) // 2
    for channel in range(6):
        x = centre.at[0, middle, middle, channel].set(1)
        found = StdConv(4, size).apply({"params": {"kernel": kernel}}, x)[0, middle, middle]
        assert found.dtype == jnp.bfloat16
        expected = standardise(kernel)[middle, middle, channel].astype(jnp.bfloat16)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["ResNet-Mini", "R26+ViT-S/32"])
def test_a_bfloat16_pass_standardises_float32_kernels(name):
    shape = {} if name == "ResNet-Mini" else {"resnet": (1,), "depth": 1}
    model = build(name, image_shape=(8, 8, 1), shape=shape, dtype="bfloat16")
    text = str(jax.make_jaxpr(model.apply)(model.abstract(), jnp.ones((1, 8, 8, 1))))
    roots = [line for line in text.splitlines() if re.search(r"\bsqrt ", line)]
    assert len(roots) >= 5  # one for every kernel: the root's and a unit's four
    assert all("f32" in line for line in roots)


@pytest.mark.parametrize(("channels", "groups"), [(12, 4), (8, 8), (64, 32), (6, 4), (5, 1)])
def test_the_group_norm_is_flaxs(channels, groups):
    rng = np.random.default_rng(channels)
    x = jnp.asarray(rng.normal(1, 3, size=(2, 3, 4, channels)), jnp.float32)
    params = {k: jnp.asarray(rng.normal(size=channels), jnp.float32) for k in ("scale", "bias")}
    theirs = nn.GroupNorm(num_groups=math.gcd(channels, groups), use_fast_variance=False)
    expected = theirs.apply({"params": params}, x)
    np.testing.assert_allclose(
        GroupNorm(groups).apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5
    )


def test_depth_does_not_show_at_initialisation():
    """Residual branches start at zero and draws are keyed by name, so features are the same.

    This is why Table 1 of arXiv:2106.01548 has one condition number for ResNet-50 and -152.
    """
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    logits = []
    for units in ((1,), (3,)):
        module = ResNet(5, units, width=4, stem="small", groups=4, head_init="lecun")
        logits.append(jax.jit(module.init_with_output)(jax.random.key(0), images)[0])
    assert np.std(logits[0]) > 0.1
    np.testing.assert_allclose(*logits, rtol=1e-5)


def test_the_imagenet_stem_divides_the_resolution_by_four():
    module = ResNet(5, (1, 1), width=4, groups=4)

    def outputs():
        images = jnp.ones((1, 32, 32, 3))
        return module.init_with_output(
            jax.random.key(0), images, mutable=["intermediates", "params"]
        )

    _, state = jax.eval_shape(outputs)
    outputs = flatten_dict(state["intermediates"], sep="/")
    assert outputs["block1/unit1/activation"][0].shape == (1, 8, 8, 16)
    assert outputs["block2/unit1/activation"][0].shape == (1, 4, 4, 32)


def xla_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (8, 1), (2, 3)])
def test_max_pooling_is_that_of_xla(shape):
    x = jax.random.normal(jax.random.key(0), (2, *shape, 3))
    np.testing.assert_array_equal(max_pool(x), xla_pool(x))


@pytest.mark.parametrize("seed", [0, 1])
def test_max_pooling_differentiates_forward_over_reverse(x64, seed):
    x, v = jax.random.normal(jax.random.key(seed), (2, 1, 6, 7, 2))

    def product(pooling):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(pooling(x * x))))
        return jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])(x, v)

    expected = product(xla_pool)
    assert np.any(expected)
    np.testing.assert_allclose(product(max_pool), expected, rtol=1e-12)


def test_the_stride_sits_on_the_3x3():
    module = ResNet(5, (1, 1), width=4, stem="small", groups=4)
    jaxpr = jax.make_jaxpr(module.init)(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    convolutions = [
        (equation.invars[1].aval.shape[:2], equation.params["window_strides"])
        for equation in jaxpr.jaxpr.eqns
        if equation.primitive is lax.conv_general_dilated_p
    ]
    assert convolutions == [((3, 3), (1, 1)), ((3, 3), (1, 1)), ((3, 3), (2, 2))]
