"""Evaluation against plain numpy."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_network import NAME, build

from landscape.data import load
from landscape.data.splits import Split
from landscape.devices import data_mesh, place, replicated
from landscape.training.evaluate import evaluate


@pytest.fixture(scope="module")
def trained():
    data = load("digits")
    model = build(NAME, classes=10, image_shape=(8, 8, 1))
    return model, model.init(jax.random.key(0)), data.test


def expected(model, params, split):
    logits = np.asarray(model.apply(params, split.images.astype(np.float32) / 127.5 - 1), float)
    logits -= logits.max(1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    right = (logits.argmax(1) == split.labels).mean()
    return -logits[np.arange(len(split)), split.labels].mean(), right


@pytest.mark.parametrize("batch_size", [100, 359, 1000])
def test_means_are_over_examples_whatever_the_batch_size(trained, batch_size):
    model, params, split = trained
    found = evaluate(model.apply, params, split, "minus_one_to_one", batch_size)
    loss, accuracy = expected(model, params, split)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == accuracy
    assert found["examples"] == 359


def counted(right, of):
    """Evaluation of answers of which so many are right."""
    pixels = np.repeat(np.array([255, 0], np.uint8), (right, of - right))
    split = Split(pixels.reshape(of, 1, 1, 1), np.ones(of, np.int32), "test")

    def apply(params, inputs):
        logit = params * inputs[:, 0, 0] / 2
        return jnp.concatenate([-logit, logit], axis=-1)

    return evaluate(apply, jnp.ones(()), split, "minus_one_to_one", 8)


@pytest.mark.parametrize("right", [0, 7, 29, 30])
def test_the_interval_of_an_accuracy_is_wilsons_also_where_all_are_right(right):
    """It was 30/30 plus or minus 0.0."""
    found, z, share = counted(right, 30), 1.959964, right / 30
    centre = (share + z**2 / 60) / (1 + z**2 / 30)
    reach = z / (1 + z**2 / 30) * np.sqrt(share * (1 - share) / 30 + z**2 / 3600)
    assert found["accuracy"] == share
    assert found["accuracy_lower"] == pytest.approx(centre - reach, abs=1e-6)
    assert found["accuracy_upper"] == pytest.approx(centre + reach, abs=1e-6)
    assert found["accuracy_upper"] - found["accuracy_lower"] > 0.1


def test_the_loss_has_the_standard_error_of_a_mean():
    found = counted(10, 30)
    losses = np.log1p(np.exp(np.repeat([-1.0, 1.0], (10, 20))))
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert found["loss_standard_error"] == pytest.approx(losses.std(ddof=1) / 30**0.5, rel=1e-6)


def test_logits_that_are_no_numbers_are_wrong_whatever_the_label(trained):
    """They scored as class 0: an accuracy of 0.6 for a network that answers nothing."""
    split = trained[2]

    def apply(params, inputs):
        return jnp.full((len(inputs), 10), jnp.nan)

    found = evaluate(apply, jnp.ones(()), split)
    assert found["accuracy"] == 0
    assert np.isnan(found["loss"])


def test_eight_devices_agree_with_one(trained):
    model, params, split = trained
    mesh = data_mesh(8)
    shared = place(jax.device_get(params), replicated(mesh))
    spread = evaluate(model.apply, shared, split, batch_size=100, mesh=mesh)
    assert spread == pytest.approx(evaluate(model.apply, params, split), rel=1e-5)


def test_evaluating_again_does_not_compile_again(trained):
    model, params, split = trained
    calls = []

    def apply(params, images):
        calls.append(1)
        return model.apply(params, images)

    for _ in range(2):
        evaluate(apply, params, split, batch_size=100)
    assert len(calls) == 1


def test_a_network_is_not_kept_once_it_was_evaluated():
    class Network:
        def apply(self, params, images):
            return images.reshape(len(images), -1)[:, :3] * params

    network = Network()
    images = np.zeros((4, 2, 2, 1), np.uint8)
    evaluate(network.apply, jnp.ones(()), Split(images, np.arange(4, dtype=np.int32) % 3, "test"))
    there = weakref.ref(network)
    del network
    gc.collect()
    assert there() is None
