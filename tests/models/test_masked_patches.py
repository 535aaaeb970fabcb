"""Masked-patch prediction: which patches, which colours, and what the network is told."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.models.masked_patches import (
    Corruption,
    draw_corruption,
    masked_patch_loss,
    mean_colours,
)
from landscape.models.registry import build
from landscape.parameters import gaussian, scaled

SIZES = {"width": 16, "depth": 1, "heads": 2, "mlp": 32}


def drawn(name="ViT-S/16", shape=SIZES, **options):
    """A small network that predicts masked patches, and random parameters."""
    model = build(name, image_shape=(32, 32, 3), head="masked_patches", shape=shape, **options)
    return model, scaled(gaussian(jax.random.key(0), model.abstract()), 0.5)


@pytest.fixture(scope="module")
def network():
    return drawn()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_half_of_the_patches_are_chosen_and_eight_in_ten_of_these_masked(seed):
    corruption = draw_corruption(jax.random.key(seed), 400, 49)
    assert np.all(corruption.chosen.sum(1) == 24)
    count = 400 * 24
    moved = np.asarray(corruption.source) != np.arange(49)
    for found, rate in ((corruption.masked, 0.8), (moved, 0.1 * 48 / 49)):
        assert np.all(~np.asarray(found) | np.asarray(corruption.chosen))
        deviation = np.sqrt(rate * (1 - rate) / count)
        assert abs(np.sum(found) / count - rate) < 4 * deviation
    assert not np.any(moved & np.asarray(corruption.masked))


def test_mean_colours_have_three_bits_a_channel():
    images = np.zeros((1, 4, 8, 3), np.uint8)
    images[0, :, 4:] = (255, 32, 95)
    images[0, :2, 4:, 1] += 31  # the mean of 63 and 32 is 47.5: still the second level
    assert mean_colours(images, 4).tolist() == [[0, 7 * 64 + 1 * 8 + 2]]


def test_every_patch_gets_512_logits(network):
    model, params = network
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3), jnp.float32)
    assert jax.jit(model.apply)(params, images).shape == (2, 4, 512)


def test_a_masked_patch_cannot_be_seen_and_a_replaced_one_is_seen_elsewhere(network):
    model, params = network
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 3), jnp.float32)
    other = images.at[:, :16, :16].add(1.0)  # the first patch
    own = jnp.arange(4, dtype=jnp.int32)[None]
    first = jnp.array([[True, False, False, False]])
    apply = jax.jit(model.apply)

    def changed(corruption):
        a, b = (apply(params, x, corruption=corruption) for x in (images, other))
        return np.abs(a - b).max()

    assert changed(Corruption(first, first, own)) == 0
    assert changed(Corruption(first, ~first & first, own)) > 1e-3
    moved = jnp.array([[1, 1, 2, 3]], jnp.int32)
    assert changed(Corruption(first, ~first & first, moved)) == 0


@pytest.mark.parametrize("positions", ["learned", "sincos2d"])
def test_a_masked_patch_knows_where_it_stands(positions):
    model, params = drawn(position_embedding=positions, classifier="gap")
    images = jnp.ones((1, 32, 32, 3))
    everywhere = jnp.ones((1, 4), bool)
    corruption = Corruption(everywhere, everywhere, jnp.arange(4, dtype=jnp.int32)[None])
    logits = np.asarray(jax.jit(model.apply)(params, images, corruption=corruption)[0])
    for i in range(4):
        for j in range(i):
            assert np.abs(logits[i] - logits[j]).max() > 1e-2


def test_the_loss_is_the_cross_entropy_over_the_chosen_patches(network):
    model, params = network
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    inputs = jnp.asarray(images, jnp.float32) / 127.5 - 1
    corruption = draw_corruption(jax.random.key(5), 3, 4)
    found = jax.jit(partial(masked_patch_loss, model))(params, images, inputs, corruption)
    logits = np.asarray(jax.jit(model.apply)(params, inputs, corruption=corruption), np.float64)
    colours = np.asarray(mean_colours(images, 16))
    for i in range(3):
        chosen = np.flatnonzero(corruption.chosen[i])
        losses = [np.log(np.exp(logits[i, j]).sum()) - logits[i, j, colours[i, j]] for j in chosen]
        np.testing.assert_allclose(found[i], np.mean(losses), rtol=1e-5)


def test_dropout_and_running_statistics_reach_the_loss():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    inputs = jnp.asarray(images, jnp.float32) / 127.5 - 1
    corruption = draw_corruption(jax.random.key(5), 2, 4)
    model, params = drawn(dropout=0.5)
    loss = jax.jit(partial(masked_patch_loss, model))
    losses = [
        loss(params, images, inputs, corruption, key=jax.random.key(seed)) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert np.any(losses[0] != losses[2])

    stem = {**SIZES, "convolutions": ((4, 4), (8, 4))}
    model, params = drawn("ViT_C-1GF", stem)
    loss, state = jax.jit(partial(masked_patch_loss, model)), model.init_state()
    losses = [
        loss(params, images, inputs, corruption, state=kept)
        for kept in (state, jax.tree.map(lambda x: x + 1.0, state))
    ]
    assert np.all(np.isfinite(losses))
    assert np.any(losses[0] != losses[1])


@pytest.mark.parametrize("name", ["ViT-Mini/2", "Mixer-Mini/2"])
def test_a_classifier_takes_no_corruption(name):
    model = build(name)
    corruption = draw_corruption(jax.random.key(0), 1, 16)
    with pytest.raises(RequestError, match=f"corruption: {name} predicts no patches"):
        model.apply(model.abstract(), jnp.ones((1, 8, 8, 1)), corruption=corruption)
