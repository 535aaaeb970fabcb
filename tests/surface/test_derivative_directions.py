import jax.numpy as jnp
import numpy as np
import pytest
from spectra import quadratic, rotated

from landscape import parameters
from landscape.errors import RequestError
from landscape.surface import (
    compute_surface,
    coordinates,
    eigenvector_directions,
    gradient_direction,
    sam_direction,
)

SPECTRUM = [-2.0, 0.5, 1.0, 6.0]


@pytest.mark.parametrize("seed", range(3))
def test_along_an_eigenvector_the_curvature_is_the_eigenvalue(x64, seed):
    made = quadratic(rotated(SPECTRUM), np.zeros(4))
    vectors, values, residuals = eigenvector_directions(made, 2, tolerance=1e-8, seed=seed)
    assert values == pytest.approx([6.0, 1.0], rel=1e-6)
    assert max(residuals) < 1e-6
    x = coordinates(-1, 1, 5)
    for vector, value in zip(vectors, values, strict=True):
        assert float(parameters.norm(vector)) == pytest.approx(1)
        line = compute_surface(made, [vector], x)
        np.testing.assert_allclose(line.loss, value / 2 * x**2, atol=1e-7)


def test_the_gradient_direction_has_unit_length_and_the_steepest_slope(x64):
    matrix, w = rotated(SPECTRUM), np.array([1.0, -0.5, 0.3, 0.2])
    found = gradient_direction(quadratic(matrix, w))
    np.testing.assert_allclose(found, matrix @ w / np.linalg.norm(matrix @ w), rtol=1e-10)


def test_the_sam_direction_is_the_gradient_at_the_worst_neighbour(x64):
    matrix, w, rho = rotated(SPECTRUM), np.array([1.0, -0.5, 0.3, 0.2]), 0.3
    up = matrix @ w / np.linalg.norm(matrix @ w)
    expected = matrix @ (w + rho * up)
    found = sam_direction(quadratic(matrix, w), rho)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=1e-10)


def test_directions_that_do_not_exist_are_refused():
    flat = quadratic(np.asarray(rotated(SPECTRUM), "f"), np.zeros(4, "f"))
    with pytest.raises(RequestError, match="has norm 0"):
        gradient_direction(flat)
    with pytest.raises(RequestError, match="rho: 0 is no distance"):
        sam_direction(flat, 0.0)
    assert jnp.shape(flat.params) == (4,)
