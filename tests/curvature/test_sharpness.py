import jax.numpy as jnp
import numpy as np
import pytest
from spectra import quadratic, rotated

from landscape.curvature import critical_step, directional_sharpness, sam_sharpness
from landscape.errors import RequestError
from landscape.objective import Objective

SPECTRUM = [9.0, 2.0, 1.0, 0.5]
MATRIX = rotated(SPECTRUM, dtype=np.float32)


def test_directional_sharpness_is_the_rayleigh_quotient():
    objective = quadratic(MATRIX, np.ones(4))
    vector = np.array([1.0, -2.0, 0.5, 3.0], "f")
    found = directional_sharpness(objective, jnp.asarray(vector))
    assert found.estimate == pytest.approx(vector @ MATRIX @ vector / (vector @ vector), rel=1e-5)
    assert found.probes == objective.examples
    with pytest.raises(RequestError, match="zero"):
        directional_sharpness(objective, jnp.zeros(4))


@pytest.mark.parametrize("rho", [0.01, 0.5])
def test_sam_sharpness_near_a_minimum_is_half_the_largest_eigenvalue(rho):
    objective = quadratic(MATRIX, 1e-5 * np.ones(4))
    found = sam_sharpness(objective, rho, steps=40)
    assert found.largest == pytest.approx(0.5 * 9 * rho**2, rel=1e-2)
    assert 0 < found.first_order <= found.largest * (1 + 1e-5)


def test_sam_sharpness_of_a_linear_loss_is_rho_times_the_gradient():
    objective = Objective(lambda w, b: b @ w, jnp.ones(3), [np.ones((4, 3), "f")])
    found = sam_sharpness(objective, 0.1, steps=2)
    assert found.first_order == pytest.approx(0.1 * np.sqrt(3), rel=1e-4)


def test_the_critical_step_of_a_quadratic_gives_the_curvature_along_the_gradient():
    point = np.array([1.0, -1.0, 2.0, 0.3])
    objective = quadratic(MATRIX, point)
    gradient = MATRIX @ point
    curvature = gradient @ MATRIX @ gradient / (gradient @ gradient)
    found = critical_step(objective)
    assert found.lower <= 2 / curvature * (1 + 1e-3)
    assert found.upper >= 2 / curvature * (1 - 1e-3)
    assert found.upper <= 1.02 * found.lower
    assert found.sharpness == pytest.approx(curvature, rel=0.02)


def test_gradient_descent_is_stable_below_two_over_the_largest_eigenvalue():
    """Edge of stability: at 2/λmax the loss stays, beyond it grows."""
    from landscape.curvature import extremes

    objective = quadratic(MATRIX, np.ones(4))
    largest = extremes(objective).lambda_max
    for step, grows in ((1.98 / largest.upper, False), (2.02 / largest.lower, True)):
        w = np.ones(4)
        for _ in range(400):
            w = w - step * (MATRIX @ w)
        assert (np.linalg.norm(w) > 10) == grows


def test_wrong_requests_are_refused():
    objective = quadratic(MATRIX, np.ones(4))
    for call in (
        lambda: sam_sharpness(objective, 0.0),
        lambda: sam_sharpness(objective, steps=0),
        lambda: critical_step(objective, jnp.zeros(4)),
    ):
        with pytest.raises(RequestError):
            call()
