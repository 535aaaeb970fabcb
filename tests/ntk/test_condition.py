import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.ntk import condition_number, kernel_eigenvalues, summarise


def linear(w, x):
    return x @ w


def test_kappa_of_orthogonal_inputs_is_the_ratio_of_their_squared_lengths():
    x = np.diag([1.0, 10.0, 1000.0]).astype("f")
    found = condition_number(linear, jnp.zeros((3, 2)), [x])
    assert found.kappa == pytest.approx(1e6, rel=1e-5)
    assert found.resolved
    np.testing.assert_allclose(found.eigenvalues[0], [2e6, 200, 2], rtol=1e-5)


def test_condition_numbers_beyond_float32_gram_matrices_are_resolved():
    x = np.diag([1.0, 1e5]).astype("f")
    found = condition_number(linear, jnp.zeros((2, 1)), [x])
    assert found.kappa == pytest.approx(1e10, rel=1e-4)
    assert found.resolved


def test_a_singular_kernel_is_not_passed_off_as_resolved():
    x = np.array([[1.0, 2.0], [1.0, 2.0]], "f")
    found = condition_number(linear, jnp.zeros((2, 1)), [x])
    assert not found.resolved
    assert found.kappa > 1e10


def test_mean_and_standard_error_are_over_batches():
    batches = [np.diag([1.0, s]).astype("f") for s in (2.0, 4.0)]
    called = []
    found = condition_number(linear, jnp.zeros((2, 1)), batches, progress=lambda: called.append(1))
    assert found.per_batch.tolist() == [4, 16]
    assert found.kappa == 10
    assert found.standard_error == pytest.approx(6)
    assert len(called) == 2
    assert np.isnan(condition_number(linear, jnp.zeros((2, 1)), batches[:1]).standard_error)


def test_batches_must_exist_and_be_equal_in_size():
    with pytest.raises(RequestError, match="none"):
        summarise([])
    with pytest.raises(RequestError, match="ragged"):
        summarise([np.ones(3), np.ones(2)])


def test_eigenvalues_descend():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    values = kernel_eigenvalues(linear, jnp.zeros((4, 1)), x)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values[:4], np.linalg.svd(x)[1] ** 2, rtol=1e-4)
