"""Schedules at known steps, chains against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from landscape.errors import RequestError
from landscape.training.optimizers import kernels, optimizer, schedule

PARAMS = {
    "cls": jnp.ones(2),
    "a": {"kernel": jnp.full(2, 2.0), "bias": jnp.ones(2)},
    "norm": {"scale": jnp.ones(2)},
}
ZERO = {
    "cls": jnp.zeros(2),
    "a": {k: jnp.zeros(2) for k in PARAMS["a"]},
    "norm": {"scale": jnp.zeros(2)},
}


@pytest.mark.parametrize(("decay", "middle"), [("cosine", 0.5), ("linear", 0.5)])
def test_schedule_rises_from_zero_and_falls_to_zero(decay, middle):
    rate = schedule(0.4, 110, 10, decay)
    assert float(rate(0)) == 0
    assert float(rate(5)) == pytest.approx(0.2)
    assert float(rate(10)) == pytest.approx(0.4)
    assert float(rate(60)) == pytest.approx(0.4 * middle)
    assert float(rate(110)) == pytest.approx(0, abs=1e-8)


def test_cosine_and_linear_differ_a_quarter_of_the_way():
    assert float(schedule(1.0, 100, 0, "cosine")(25)) == pytest.approx(0.5 + np.sqrt(0.125))
    assert float(schedule(1.0, 100, 0, "linear")(25)) == pytest.approx(0.75)


def test_without_warmup_the_first_step_has_the_peak():
    assert float(schedule(0.4, 10, 0, "cosine")(0)) == pytest.approx(0.4)


@pytest.mark.parametrize("warmup", [10, 11, -1])
def test_warmup_that_does_not_end_is_refused(warmup):
    with pytest.raises(RequestError, match=f"warmup_steps: {warmup} of 10 steps"):
        schedule(0.4, 10, warmup, "cosine")


def test_unknown_names_are_refused():
    with pytest.raises(RequestError, match="decay: 'step'"):
        schedule(0.4, 10, 0, "step")
    with pytest.raises(RequestError, match="optimizer: 'lion'"):
        optimizer("lion", lambda _: 0.1, weight_decay=0.0, clip=None)


def test_only_kernels_count_as_kernels():
    found = kernels(PARAMS)
    assert found == {
        "cls": False,
        "a": {"kernel": True, "bias": False},
        "norm": {"scale": False},
    }


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_subtracts_rate_times_decay_times_kernel(name):
    chain = optimizer(name, lambda _: 0.01, weight_decay=0.3, clip=1.0)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = chain.update(zero, chain.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["a"]["kernel"], -0.01 * 0.3 * 2.0, rtol=1e-6)
    for leaf in (updates["cls"], updates["a"]["bias"], updates["norm"]["scale"]):
        np.testing.assert_array_equal(leaf, 0)


def test_three_steps_of_sgd_follow_the_formula():
    chain = optimizer("sgd", lambda step: 0.1 * (step + 1), weight_decay=0.5, clip=2.0)
    params, state = {"kernel": jnp.array([3.0, 4.0])}, chain.init({"kernel": jnp.zeros(2)})
    w, momentum = np.array([3.0, 4.0]), np.zeros(2)
    for step in range(3):
        updates, state = chain.update(params, state, params)  # the gradient of ½ w²
        params = optax.apply_updates(params, updates)
        momentum = 0.9 * momentum + w * min(1, 2.0 / np.linalg.norm(w))
        w = w - 0.1 * (step + 1) * (momentum + 0.5 * w)
    np.testing.assert_allclose(params["kernel"], w, rtol=1e-5)


def test_three_steps_of_adamw_follow_the_formula():
    chain = optimizer("adamw", lambda _: 0.1, weight_decay=0.5, clip=None)
    params, state = {"kernel": jnp.array([3.0, -4.0])}, chain.init({"kernel": jnp.zeros(2)})
    w, first, second = np.array([3.0, -4.0]), 0, 0
    for step in range(1, 4):
        updates, state = chain.update(params, state, params)
        params = optax.apply_updates(params, updates)
        first, second = 0.9 * first + 0.1 * w, 0.999 * second + 0.001 * w**2
        moved = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        w = w - 0.1 * (moved + 0.5 * w)
    np.testing.assert_allclose(params["kernel"], w, rtol=1e-5)
