import jax.numpy as jnp
import numpy as np
import pytest
from spectra import Diagonal, quadratic, rotated

from landscape.curvature import diagonal
from landscape.errors import RequestError

MATRIX = rotated(np.r_[9.0, -4.0, np.linspace(0, 1, 18)], dtype=np.float32)


def test_entries_lie_within_their_errors():
    found = diagonal(quadratic(MATRIX, np.ones(20)), probes=200)
    errors = np.abs(np.asarray(found.values) - np.diag(MATRIX)) / np.asarray(found.standard_error)
    assert errors.max() <= 5
    assert np.sqrt((errors**2).mean()) <= 2


def test_a_diagonal_matrix_is_exact_and_multiplies():
    found = diagonal(Diagonal([3.0, -1.0, 2.0]), probes=2)
    np.testing.assert_allclose(found.values, [3, -1, 2])
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-6)
    np.testing.assert_allclose(found.product(np.ones(3, "f")), [3, -1, 2])
    np.testing.assert_allclose(found.as_scipy() @ np.ones(3, "f"), [3, -1, 2])


class Dense:
    params = jnp.ones(20)

    def __init__(self, scale):
        self.matrix = jnp.asarray(scale, jnp.float32) * MATRIX

    def product(self, vector):
        return self.matrix @ vector


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_errors_are_told_at_every_scale(scale):
    """Their squares were no numbers of float32: the errors 0, or infinite."""

    plain, found = (diagonal(Dense(factor), probes=8) for factor in (1, scale))
    np.testing.assert_allclose(found.values, scale * np.asarray(plain.values), rtol=1e-4)
    np.testing.assert_allclose(
        found.standard_error, scale * np.asarray(plain.standard_error), rtol=1e-3
    )
    assert (np.asarray(plain.standard_error) > 0).all()


def test_one_probe_is_too_few():
    with pytest.raises(RequestError, match="probes"):
        diagonal(Diagonal([1.0]), probes=1)
