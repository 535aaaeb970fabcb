import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import dense

from landscape import devices
from landscape.curvature import fisher
from landscape.errors import RequestError
from landscape.objective import Composite, Objective


def softmax_regression(sample=True, **options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(22, 3)).astype(np.float32)
    labels = rng.integers(0, 4, 22).astype(np.int32)

    def criterion(logits, batch):
        picked = jnp.take_along_axis(logits, batch["y"][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    def draw(key, logits, example):
        return {**example, "y": jax.random.categorical(key, logits).astype(jnp.int32)}

    loss = Composite(lambda w, batch: batch["x"] @ w, criterion, draw if sample else None)
    data = [{"x": x[i : i + 8], "y": labels[i : i + 8]} for i in range(0, 22, 8)]
    w = jnp.asarray(rng.normal(size=(3, 4)).astype(np.float32))
    return Objective(loss, w, data, **options)


def test_the_fisher_matrix_of_softmax_is_the_gauss_newton_matrix_on_average():
    objective = softmax_regression()
    exact = dense(objective.with_curvature("gauss_newton"))
    drawn = np.stack([dense(fisher(objective, seed=seed)) for seed in range(60)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(60)
    assert (np.abs(drawn.mean(axis=0) - exact) <= 5 * error + 1e-6).all()


def test_more_samples_come_closer():
    objective = softmax_regression()
    exact = dense(objective.with_curvature("gauss_newton"))
    few, many = (np.linalg.norm(dense(fisher(objective, samples=s)) - exact) for s in (1, 40))
    assert many < few / 3
    assert fisher(objective, samples=3).examples == 66


def test_draws_depend_on_the_seed_and_not_on_batches_or_devices():
    objective = softmax_regression()
    first = dense(fisher(objective))
    meshed = softmax_regression(mesh=devices.data_mesh(4))
    np.testing.assert_allclose(dense(fisher(meshed)), first, atol=1e-5)
    one_batch = {name: np.concatenate([b[name] for b in objective.batches]) for name in ("x", "y")}
    np.testing.assert_allclose(dense(fisher(objective.with_batches([one_batch]))), first, atol=1e-5)
    assert np.abs(dense(fisher(objective, seed=1)) - first).max() > 1e-3


def test_losses_without_a_distribution_are_refused():
    with pytest.raises(RequestError, match="sample"):
        fisher(softmax_regression(sample=False))
    with pytest.raises(RequestError, match="block"):
        fisher(softmax_regression().block(["params"]))
    with pytest.raises(RequestError, match="samples"):
        fisher(softmax_regression(), samples=0)
