"""Evaluation against plain numpy."""

import jax
import numpy as np
import pytest
from tiny_network import NAME, build

from landscape.data import load
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
    assert found["accuracy_standard_error"] == pytest.approx(
        np.sqrt(accuracy * (1 - accuracy) / 359)
    )


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
