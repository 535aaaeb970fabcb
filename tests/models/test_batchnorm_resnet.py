from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.models import registry
from landscape.models.batchnorm_resnet import SHORTCUTS, BatchNormResNet
from landscape.models.layers import BatchNorm
from landscape.models.model import Model
from landscape.parameters import blocks, gaussian, leaf_names, scaled


@cache
def built(shortcut="pad"):
    """A network of 8 layers: model, random parameters, initial state."""
    module = BatchNormResNet(10, (1, 1, 1), 16, shortcut=shortcut, style="cifar")
    model = Model("CIFAR-ResNet-8", "batchnorm_resnet", module, (16, 16, 3), 10, "")
    params = scaled(gaussian(jax.random.key(0), model.abstract()), 0.2)
    return model, params, model.init_state()


def images(count=4, seed=1):
    return jax.random.normal(jax.random.key(seed), (count, 16, 16, 3), jnp.float32)


@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)]
)
def test_the_counts_are_those_of_the_published_files(depth, count):
    assert registry.build(f"CIFAR-ResNet-{depth}").parameter_count() == count


def test_parameters_and_statistics_have_the_published_names():
    model = registry.build("CIFAR-ResNet-20-projection")
    names, state = leaf_names(model.abstract()), leaf_names(model.abstract_state())
    assert {"conv1/kernel", "layer3/2/conv2/kernel", "layer2/0/shortcut/1/scale"} <= set(names)
    assert {"bn1/mean", "layer1/0/bn2/var", "layer3/0/shortcut/1/mean"} <= set(state)
    assert model.abstract()["layer2"]["0"]["shortcut"]["0"]["kernel"].shape == (1, 1, 16, 32)


def test_torchvisions_names_and_tensors_are_the_published_ones():
    model = registry.build("ResNet-50-BatchNorm")
    names, state = leaf_names(model.abstract()), leaf_names(model.abstract_state())
    assert {"conv1/kernel", "layer4/2/bn3/bias", "layer2/0/downsample/0/kernel", "fc/bias"} <= set(
        names
    )
    # torchvision's file counts the batches of every norm as well.
    norms = len(state) // 2
    assert (len(names) + len(state) + norms, norms) == (320, 53)
    assert model.abstract()["layer1"]["0"]["downsample"]["0"]["kernel"].shape == (1, 1, 64, 256)


@pytest.mark.parametrize(
    ("style", "deviation", "projected"),
    [("torchvision", (2 / (9 * 64)) ** 0.5, (2 / 64) ** 0.5),
     ("cifar", (2 / (9 * 32)) ** 0.5, (2 / 32) ** 0.5)],
)  # fmt: skip
def test_initial_kernels_are_scaled_by_outputs_or_inputs(style, deviation, projected):
    module = BatchNormResNet(10, (1, 1), 32, style=style)
    params = jax.jit(module.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))["params"]
    unit = params["layer2"]["0"]
    assert np.std(unit["conv1"]["kernel"]) == pytest.approx(deviation, rel=0.03)
    shortcut = unit["downsample" if style == "torchvision" else "shortcut"]
    assert np.std(shortcut["0"]["kernel"]) == pytest.approx(projected, rel=0.1)
    by = 49 * 32 if style == "torchvision" else 9 * 3
    assert np.std(params["conv1"]["kernel"]) == pytest.approx((2 / by) ** 0.5, rel=0.1)


def test_running_statistics_are_used_as_they_are():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    layer = BatchNorm()
    state = {"mean": jnp.arange(4.0), "var": jnp.arange(1.0, 5.0)}
    params = {"scale": jnp.full(4, 2.0), "bias": jnp.full(4, 0.5)}
    found = layer.apply({"params": params, "batch_stats": state}, x)
    expected = 2 * (np.asarray(x) - np.arange(4)) / np.sqrt(np.arange(1, 5) + 1e-5) + 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_statistics_of_a_batch_are_its_mean_and_unbiased_variance():
    model, params, _ = built()
    x = images()
    found = jax.jit(model.batch_state)(params, x)["bn1"]
    first = jax.lax.conv_general_dilated(
        x, params["conv1"]["kernel"], (1, 1), ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    first = np.asarray(first, np.float64).reshape(-1, 16)
    np.testing.assert_allclose(found["mean"], first.mean(0), atol=1e-5)
    np.testing.assert_allclose(found["var"], first.var(0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_logits_have_the_dtype_of_the_parameters(x64, dtype):
    model, params, state = built()
    single = jax.jit(model.apply)(params, images(), state=state)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    logits = jax.jit(model.apply)(params, images(), state=state)
    assert logits.dtype == dtype
    assert jnp.abs(logits.astype("float32") - single).max() < 0.05 * jnp.abs(single).max()


def test_padded_examples_do_not_count():
    model, params, _ = built()
    x = images(3)
    padded = jnp.concatenate([x, 100 * images(2, seed=2)])
    found = jax.jit(model.batch_state)(params, padded, jnp.array([True] * 3 + [False] * 2))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found, jax.jit(model.batch_state)(params, x),
    )  # fmt: skip


def test_with_the_statistics_of_the_batch_every_layer_is_normalised_by_it():
    model, params, _ = built()
    x = images(64)
    state = jax.jit(model.batch_state)(params, x)
    found = jax.jit(model.apply)(params, x, state=state)
    variables = {"params": params, "batch_stats": model.init_state()}
    trained, _ = jax.jit(partial(model.module.apply, estimate=True, mutable=["batch_stats"]))(
        variables, x
    )
    # n / (n - 1) is all that differs: 1.001 in the last layers, of 64 x 4 x 4 values
    np.testing.assert_allclose(found, trained, atol=2e-3 * np.abs(trained).max())


def test_shortcuts_pass_the_input_on():
    x = images()
    values = {}
    for kind in SHORTCUTS:
        model, params, state = built(kind)
        silent = jax.tree_util.tree_map_with_path(
            lambda path, leaf: 0 * leaf if "bn2" in jax.tree_util.keystr(path) else leaf, params
        )
        values[kind] = jax.jit(model.activations)(silent, x, state=state)["layer3/0"]
    assert np.abs(values["pad"]).max() > 0.1
    assert np.abs(values["projection"]).max() > 0.1
    assert not np.any(values["none"])
    # Option A: a quarter of the channels from below, in the middle of zeros.
    assert not np.any(values["pad"][..., :24])
    assert np.any(values["pad"][..., 24:40])


def test_a_network_with_statistics_does_not_run_without_them():
    model, params, state = built()
    with pytest.raises(RequestError, match="needs its running statistics"):
        model.apply(params, images())
    for kept in (state, None):
        with pytest.raises(RequestError, match="key: CIFAR-ResNet-8 has BatchNorm and cannot"):
            model.apply(params, images(), state=kept, key=jax.random.key(0))
    other = registry.build("ResNet-Mini")
    assert not other.has_state
    with pytest.raises(RequestError, match="model: ResNet-Mini has no BatchNorm"):
        other.batch_state(other.abstract(), images())


def test_every_unit_is_a_block():
    model = registry.build("CIFAR-ResNet-20")
    assert {"layer1/0", "layer3/2", "head"} <= set(blocks(model.abstract()))
