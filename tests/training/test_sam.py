"""SAM against cases known by hand, and against a plain loop, on one and on eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from landscape.devices import data_mesh, place, replicated
from landscape.errors import RequestError
from landscape.training.optimizers import kernels, optimizer
from landscape.training.sam import perturbation, sam_gradient

KEY = jax.random.key(7)


def product_loss(params, batch, key):
    """½ (a b - y)², the smallest loss with a sharp and a flat minimum."""
    return 0.5 * (params["a"] * params["b"] - batch["y"]) ** 2


def network_loss(params, batch, key, rate=0.3):
    """Two layers with dropout, so that randomness matters."""
    hidden = jnp.tanh(batch["x"] @ params["in"]["kernel"] + params["in"]["bias"][None])
    kept = jax.random.bernoulli(key, 1 - rate, hidden.shape)
    outputs = jnp.where(kept, hidden, 0.0) @ params["out"]["kernel"]
    return jnp.sum((outputs - batch["y"]) ** 2, axis=-1)


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 5)
    params = {
        "in": {
            "kernel": jax.random.normal(keys[0], (3, 5)),
            "bias": 0.1 * jax.random.normal(keys[1], (5,)),
        },
        "out": {"kernel": jax.random.normal(keys[2], (5, 2))},
    }
    x, y = (
        np.asarray(jax.random.normal(k, (16, n))) for k, n in zip(keys[3:], (3, 2), strict=True)
    )
    return params, {"x": x, "y": y}


def reference(loss, params, batch, key, step, rho, size):
    """SAM in numpy around jax.grad, one group after the other."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    flat = np.asarray(flat, np.float64)
    total, losses = 0.0, []
    groups = len(batch["y"]) // size
    for index in range(groups):
        rows = jax.tree.map(lambda v, i=index: v[i * size : (i + 1) * size], batch)
        group_key = jax.random.fold_in(jax.random.fold_in(key, step), index)

        def mean(p, rows=rows, group_key=group_key):
            return loss(p, rows, group_key).mean()

        derivative = jax.jit(lambda w, mean=mean: jax.grad(lambda v: mean(unravel(v)))(w))
        first = np.asarray(derivative(jnp.asarray(flat, jnp.float32)), np.float64)
        moved = flat + rho * first / np.linalg.norm(first)
        total = total + np.asarray(derivative(jnp.asarray(moved, jnp.float32))) / groups
        losses.append(float(mean(params)))
    return np.mean(losses), total


def flat(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


def test_gradient_of_a_product_is_the_one_worked_out_by_hand():
    params = {"a": jnp.float32(2.0), "b": jnp.float32(1.0)}
    gradient_of = sam_gradient(product_loss, rho=0.5)
    loss, gradient = gradient_of(params, {"y": np.array([1.0], np.float32)}, KEY, 0)
    # residual 1, g = (b, a) = (1, 2), epsilon = 0.5 (1, 2)/sqrt(5)
    a, b = 2 + 0.5 / np.sqrt(5), 1 + 1 / np.sqrt(5)
    assert loss == pytest.approx(0.5)
    assert gradient["a"] == pytest.approx((a * b - 1) * b, rel=1e-6)
    assert gradient["b"] == pytest.approx((a * b - 1) * a, rel=1e-6)


def test_gradient_of_a_quadratic_is_the_hessian_times_the_perturbed_point():
    eigenvalues = np.array([4.0, 1.0, 0.25], np.float32)
    w = np.array([1.0, -2.0, 4.0], np.float32)

    def loss(params, batch, key):
        return 0.5 * jnp.sum(eigenvalues * params**2) * jnp.ones(len(batch))

    _, gradient = sam_gradient(loss, rho=0.1)(jnp.asarray(w), np.zeros(4), KEY, 3)
    g = eigenvalues * w
    np.testing.assert_allclose(gradient, eigenvalues * (w + 0.1 * g / np.linalg.norm(g)), rtol=1e-6)


def test_perturbation_has_length_rho_over_all_parameters_together(problem):
    epsilon = perturbation(problem[0], 0.05)
    assert np.linalg.norm(flat(epsilon)) == pytest.approx(0.05, rel=1e-5)


def test_zero_gradient_gives_zero_perturbation_and_no_nan():
    zero = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
    assert not flat(perturbation(zero, 0.1)).any()

    def constant(params, batch, key):
        return jnp.sum(0.0 * params["a"]) + jnp.ones(len(batch))

    _, gradient = sam_gradient(constant, rho=0.1)(zero, np.zeros(2), KEY, 0)
    assert not flat(gradient).any()


@pytest.mark.parametrize("size", [4, 16])
def test_groups_agree_with_a_plain_loop(problem, size):
    params, batch = problem
    loss, gradient = sam_gradient(network_loss, rho=0.1, group=size)(params, batch, KEY, 5)
    expected_loss, expected = reference(network_loss, params, batch, KEY, 5, 0.1, size)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    np.testing.assert_allclose(flat(gradient), expected, rtol=2e-4, atol=2e-5)


def test_group_size_changes_the_gradient(problem):
    params, batch = problem

    def without_dropout(params, batch, key):
        return network_loss(params, batch, key, rate=0.0)

    small, whole = (
        flat(sam_gradient(without_dropout, rho=0.5, group=m)(params, batch, KEY, 0)[1])
        for m in (4, None)
    )
    assert np.linalg.norm(small - whole) > 1e-3 * np.linalg.norm(whole)


@pytest.mark.parametrize("size", [1, 2, 8, 16, None])
def test_eight_devices_agree_with_one(problem, size):
    params, batch = problem
    mesh = data_mesh(8)
    loss, gradient = sam_gradient(network_loss, rho=0.1, group=size)(params, batch, KEY, 2)
    shared = place(jax.device_get(params), replicated(mesh))
    spread = sam_gradient(network_loss, rho=0.1, group=size, mesh=mesh)
    loss8, gradient8 = spread(shared, batch, KEY, 2)
    assert float(loss8) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(flat(gradient8), flat(gradient), rtol=1e-4, atol=1e-5)
    assert all(g.sharding.is_fully_replicated for g in jax.tree.leaves(gradient8))


def test_group_that_cannot_be_shared_is_refused(problem):
    params, batch = problem
    spread = sam_gradient(network_loss, rho=0.1, group=4, mesh=data_mesh(8))
    with pytest.raises(RequestError, match="4 groups of 4 examples cannot be shared by 8 devices"):
        spread(params, batch, KEY, 0)
    with pytest.raises(RequestError, match="group: 5 does not divide the batch of 16"):
        sam_gradient(network_loss, rho=0.1, group=5)(params, batch, KEY, 0)


def test_rho_zero_is_the_plain_gradient_in_one_pass(problem):
    params, batch = problem
    calls = []

    def counted(params, batch, key):
        calls.append(1)
        return network_loss(params, batch, key)

    _, gradient = sam_gradient(counted, rho=0.0, group=4)(params, batch, KEY, 1)
    assert len(calls) == 1
    key = jax.random.fold_in(jax.random.fold_in(KEY, 1), 0)
    plain = jax.grad(lambda p: network_loss(p, batch, key).mean())(params)
    np.testing.assert_allclose(flat(gradient), flat(plain), rtol=1e-5, atol=1e-6)


def test_dropout_masks_are_equal_in_both_passes_and_differ_between_steps_and_groups():
    """The loss is linear in the mask, so its gradient is the mask, wherever it is taken."""

    def loss(params, batch, key):
        mask = jax.random.bernoulli(key, 0.5, params.shape)
        return jnp.sum(jnp.where(mask, params, 0.0)) * jnp.ones(len(batch))

    w, rows = jnp.ones(64), np.zeros(2)

    def mask(step, rho, group=None):
        return np.asarray(sam_gradient(loss, rho=rho, group=group)(w, rows, KEY, step)[1])

    assert set(mask(0, 0.3)) == {0.0, 1.0}
    np.testing.assert_array_equal(mask(0, 0.3), mask(0, 0.0))
    assert (mask(0, 0.3) != mask(1, 0.3)).any()
    assert set(mask(0, 0.3, group=1)) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_clip_and_weight_decay_do_not_touch_epsilon(problem, name):
    """A training step equals one whose SAM gradient is written out, followed by a plain chain."""
    params, batch = problem
    clip, decay, rate = 0.5, 0.3, 0.01
    chain = optimizer(name, lambda _: rate, weight_decay=decay, clip=clip)
    _, gradient = sam_gradient(network_loss, rho=0.2)(params, batch, KEY, 0)
    updates, _ = chain.update(gradient, chain.init(params), params)
    stepped = flat(optax.apply_updates(params, updates))

    _, g = reference(network_loss, params, batch, KEY, 0, 0.2, 16)
    assert np.linalg.norm(g) > clip
    g = g * clip / np.linalg.norm(g)
    moved = g / (np.abs(g) + 1e-8) if name == "adamw" else g  # the first step of either
    decayed = flat(jax.tree.map(lambda w, yes: w if yes else 0 * w, params, kernels(params)))
    np.testing.assert_allclose(
        stepped, flat(params) - rate * (moved + decay * decayed), rtol=1e-4, atol=1e-6
    )


def test_double_precision_is_kept(x64):
    params = {"a": jnp.float64(2.0), "b": jnp.float64(1.0)}
    batch = {"y": np.array([1.0, 1.0])}
    for group in (None, 1):
        loss, gradient = sam_gradient(product_loss, rho=0.5, group=group)(params, batch, KEY, 0)
        a, b = 2 + 0.5 / np.sqrt(5), 1 + 1 / np.sqrt(5)
        assert loss.dtype == gradient["a"].dtype == jnp.float64
        assert float(gradient["a"]) == pytest.approx((a * b - 1) * b, rel=1e-14)


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_rho_that_is_no_radius_is_refused(rho):
    with pytest.raises(RequestError, match="rho"):
        sam_gradient(product_loss, rho=rho)
