"""A loss that is no mean over examples is refused at every scale, and rounding is not mistaken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Objective, RequestError
from landscape.objective.consistency import check_repeatable, rounding_noise

SCALES = (1e-12, 1e-6, 1.0, 1e6)


def _data(seed: int, examples: int = 24) -> list:
    x = np.random.default_rng(seed).normal(size=(examples, 3)).astype("f4")
    return [x[: examples // 2], x[examples // 2 :]]


@pytest.mark.parametrize("scale", SCALES)
def test_statistics_of_the_batch_are_refused_however_small_the_loss(scale):
    def loss(w, x):
        normalised = x - jnp.mean(x, axis=0, keepdims=True)
        return jnp.float32(scale) * jnp.sum(normalised**2 * w, axis=1)

    with pytest.raises(RequestError, match="BatchNorm in training mode"):
        Objective(loss, jnp.ones((1, 3)), _data(0)).loss()


@pytest.mark.parametrize("scale", SCALES)
def test_dropout_under_a_fixed_key_is_refused_however_small_the_loss(scale):
    def loss(w, x):
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, x.shape).astype(x.dtype)
        return jnp.float32(scale) * jnp.sum(kept * x**2 * w, axis=1)

    with pytest.raises(RequestError, match="place in the batch"):
        Objective(loss, jnp.ones((1, 3)), _data(1)).loss()


def _fitted(decay, normalised, w, batch):
    """Logistic loss of a fitted network, weight decay inside."""
    z = batch["x"] @ w
    z = (z - jnp.mean(z)) / jnp.sqrt(jnp.var(z) + 1e-5) if normalised else z
    return jax.nn.softplus(-12 * batch["y"] * z) + decay / 2 * jnp.sum(w**2)


def _separable(seed: int) -> list:
    generator = np.random.default_rng(seed)
    y = np.where(np.arange(32) % 2, 1, -1).astype("f4")
    x = generator.normal(size=(32, 4)).astype("f4")
    x[:, 0] = y * (1 + 0.1 * np.abs(x[:, 0]))
    return [{"x": x[i : i + 8], "y": y[i : i + 8]} for i in range(0, 32, 8)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("decay", [1e-2, 2.0])
def test_weight_decay_inside_the_loss_hides_no_statistics_of_the_batch(decay, seed):
    loss = functools.partial(_fitted, decay, True)
    with pytest.raises(RequestError, match="BatchNorm in training mode"):
        Objective(loss, jnp.array([1.0, 0.05, 0.05, 0.0]), _separable(seed)).loss()


@pytest.mark.parametrize("place", [5, 20, 31])
def test_a_misfit_anywhere_hides_no_statistics_of_the_batch(place):
    """One wrong label set the scale for all, and only the first half was compared."""
    batch = jax.tree.map(lambda *leaves: np.concatenate(leaves), *_separable(0))
    batch["y"][place] *= -1
    loss = functools.partial(_fitted, 0.0, True)
    with pytest.raises(RequestError, match="BatchNorm in training mode"):
        Objective(loss, jnp.array([1.0, 0.05, 0.05, 0.0]), [batch]).loss()


@pytest.mark.parametrize("first", [0, 1, 24])
def test_the_largest_batch_is_looked_at_wherever_it_stands(first):
    def loss(w, x):
        return jnp.sum((x - jnp.mean(x, axis=0, keepdims=True)) ** 2 * w, axis=1)

    x = np.concatenate(_data(0))
    parts = [part for part in (x[:first], x[first:]) if len(part)]
    with pytest.raises(RequestError, match="BatchNorm in training mode"):
        Objective(loss, jnp.ones((1, 3)), parts).loss()


@pytest.mark.parametrize("count", [2, 7, 16])
def test_equal_fitted_examples_are_no_statistics_of_the_batch(count):
    def loss(w, x):
        return (jnp.tanh(x @ w) @ jnp.full(8, 0.3) - 1.2345678) ** 2

    w = jax.random.normal(jax.random.key(0), (3, 8))
    x = np.repeat(np.random.default_rng(0).normal(size=(1, 3)).astype("f4"), count, axis=0)
    assert np.isfinite(Objective(loss, w, [x]).loss())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("decay", [1e-2, 2.0, 1e3])
def test_weight_decay_inside_the_loss_is_no_statistics_of_the_batch(decay, seed):
    loss = functools.partial(_fitted, decay, False)
    assert Objective(loss, jnp.array([1.0, 0.05, 0.05, 0.0]), _separable(seed)).loss() > 0


def test_a_callback_that_float64_refuses_leaves_the_check_to_float32():
    def loss(w, x):
        out = jax.ShapeDtypeStruct(x.shape[:1], x.dtype)
        return jax.pure_callback(lambda x: np.float32(1e-9) * x[:, 0], out, x) + w**2

    assert Objective(loss, jnp.float32(1), _data(2)).loss() == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-9, 1.0])
def test_passes_that_differ_by_a_hundredth_are_refused_however_small_the_loss(size):
    values = iter([size, 1.01 * size])
    with pytest.raises(RequestError, match="two passes"):
        check_repeatable(lambda: next(values), 1e-5 * size)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gap", [1.0, 12.0, 16.0])
def test_a_fitted_loss_that_cancels_is_rounding_not_company(seed, gap):
    """log sum exp(z) - z_y is off by the rounding of z, however small it is itself."""

    def loss(w, x):
        logits = x @ w
        return jax.nn.logsumexp(logits, axis=1) - jnp.max(logits, axis=1)

    w = gap * jax.random.normal(jax.random.key(seed), (3, 10))
    objective = Objective(loss, w, _data(seed, 256))
    assert np.isfinite(objective.loss())


def test_the_noise_is_what_an_epsilon_of_the_parameters_does():
    assert rounding_noise(2.0, 2.0, [2.5, 1.0, np.nan], 4, 1e-7) == 32 * 1.0 / 4
    assert rounding_noise(np.inf, np.inf, [np.inf, np.inf], 4, 1e-7) == 0


def test_a_loss_that_changes_by_itself_is_not_taken_for_rounding():
    assert rounding_noise(2.0, 2.5, [2.5, 1.0], 4, 1e-7) == 64e-7
