import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.ntk import empirical, empirical_ntk


def mlp(params, x):
    return jnp.tanh(x @ params["a"] + params["b"][None]) @ params["c"]


def made(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    params = {"a": rng.normal(size=(4, 6)), "b": rng.normal(size=6), "c": rng.normal(size=(6, 3))}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), params), rng.normal(size=(9, 4)).astype(
        dtype
    )


def reference(params, x):
    """J J' from the full Jacobian."""
    jacobian = jax.jacrev(mlp)(params, x)
    rows = [np.asarray(j, np.float64).reshape(len(x), 3, -1) for j in jax.tree.leaves(jacobian)]
    rows = np.concatenate(rows, axis=2).reshape(len(x), -1)
    return rows @ rows.T


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_is_the_gram_matrix_of_the_jacobian(seed):
    params, x = made(seed)
    np.testing.assert_allclose(empirical_ntk(mlp, params, x), reference(params, x), rtol=1e-5)


def test_double_precision_goes_through(x64):
    params, x = made(dtype=np.float64)
    found = empirical_ntk(mlp, params, x)
    np.testing.assert_allclose(found, reference(params, x), rtol=1e-12)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("budget", [1, 4 * 48 * 2, 4 * 48 * 3 * 2, 2**29])
def test_any_memory_budget_gives_the_same_kernel(monkeypatch, budget):
    params, x = made()
    monkeypatch.setattr(empirical, "_BUDGET", budget)
    np.testing.assert_allclose(empirical_ntk(mlp, params, x), reference(params, x), rtol=1e-5)


def test_a_linear_model_has_the_kernel_of_its_inputs():
    x = np.array([[1.0, 2.0], [3.0, -1.0]], "f")
    found = empirical_ntk(lambda w, x: x @ w, jnp.zeros((2, 5)), x)
    np.testing.assert_allclose(found, 5 * x @ x.T)


def test_an_untouched_leaf_contributes_nothing():
    params, x = made()
    zero_head = {**params, "c": jnp.zeros((6, 3))}
    hidden = np.tanh(x @ np.asarray(params["a"]) + np.asarray(params["b"]))
    np.testing.assert_allclose(empirical_ntk(mlp, zero_head, x), 3 * hidden @ hidden.T, rtol=1e-5)


def test_outputs_must_be_a_matrix_and_finite():
    params, x = made()
    with pytest.raises(RequestError, match=r"outputs have shape \(9,\)"):
        empirical_ntk(lambda p, x: mlp(p, x)[:, 0], params, x)
    with pytest.raises(RequestError, match="not finite"):
        empirical_ntk(lambda p, x: mlp(p, x) / 0.0, params, x)
