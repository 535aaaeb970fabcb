import jax
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


@pytest.mark.parametrize("distance", [1e-4, 3e-4, 1e-2, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_critical_step_near_a_minimum_is_bounded_or_said_to_be_unresolved(distance, seed):
    """The loss of 1 hides changes below 6e-8: the bounds were [0.485, 0.489] for 0.2469."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=4).astype(np.float32)
    point = (centre + distance * rng.normal(size=4)).astype(np.float32)

    def loss(w, batch):
        return (1 + 0.5 * jnp.vdot(w - centre, jnp.asarray(MATRIX) @ (w - centre))) * batch

    found = critical_step(Objective(loss, jnp.asarray(point), [np.ones(3, "f")]))
    gradient = MATRIX.astype(float) @ (point.astype(float) - centre)
    true = 2 * gradient @ gradient / (gradient @ MATRIX @ gradient)
    assert found.lower <= true <= found.upper
    assert found.rounding >= 6e-8
    assert found.converged == (found.lower > 0 and found.upper <= 1.01 * found.lower)
    assert found.converged == (distance >= 1e-2)


@pytest.mark.parametrize("precise", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_critical_step_knows_the_rounding_of_data_where_the_parameters_are_zero(seed, precise):
    """Zeros moved by a share of themselves do not move: 17 of 30 bounds excluded the truth."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 2)).astype("f4")
    offset = np.full(6, 1000, "f4")
    y = (offset + 0.004 * rng.normal(size=6)).astype("f4")

    def loss(w, b):
        bits = jax.lax.bitcast_convert_type(b["offset"], jnp.int32)  # refused by float64
        offset = b["offset"] if precise else jax.lax.bitcast_convert_type(bits, jnp.float32)
        return (offset + b["x"] @ w - b["y"]) ** 2

    objective = Objective(loss, jnp.zeros(2), [{"x": x, "offset": offset, "y": y}])
    along = x.astype(float) @ np.asarray(objective.gradient(), float)
    true = 2 * ((offset.astype(float) - y) @ along) / (along @ along)
    found = critical_step(objective)
    assert found.lower <= true <= found.upper
    assert precise or not found.converged


def test_sam_sharpness_of_a_concave_loss_is_found_inside_of_the_ball():
    """Every point of the sphere lies lower: 0.0 was called converged."""
    objective = Objective(
        lambda w, b: (0.02 * w[0] - 1.5 * w[0] ** 2) * b, jnp.zeros(1), [np.ones(3, "f4")]
    )
    found = sam_sharpness(objective, 0.1)
    assert found.first_order < 0
    assert found.largest == pytest.approx(0.02**2 / 6, rel=1e-3)
    assert found.converged


def test_sam_sharpness_below_the_rounding_of_the_loss_is_not_converged():
    def loss(w, b):
        return (1e4 + 1e-6 * w[0] - w[0] ** 2) * b

    found = sam_sharpness(Objective(loss, jnp.zeros(1), [np.ones(3, "f4")]), 0.1)
    assert found.largest <= found.rounding
    assert not found.converged


@pytest.mark.parametrize("spectrum", [[-9.0, 4.0, 1.0], [-1.0, 4.0, 1.0], [-9.0, -4.0, 0.5]])
def test_sam_sharpness_of_an_indefinite_quadratic_finds_its_maximum(spectrum):
    """From a point on the negative axis the gradient never leaves it: 0.0 was reported."""
    objective = quadratic(np.diag(np.float32(spectrum)), [1e-3, 0.0, 0.0])
    found = sam_sharpness(objective, 0.05, steps=60)
    true = 0.5 * max(spectrum) * 0.05**2
    assert found.largest == pytest.approx(true, rel=0.02)
    assert found.converged
    assert not sam_sharpness(objective, 0.05, steps=1, starts=1).converged


@pytest.mark.parametrize("seed", range(3))
def test_the_rise_is_attained_within_the_ball(seed):
    """Rounding moved points out of the ball and the rise above the maximum over it."""
    rng = np.random.default_rng(seed)
    objective = quadratic(MATRIX, 1e-3 * rng.normal(size=4))
    for rho in (1e-3, 1e-1):
        found = sam_sharpness(objective, rho, steps=40)
        w = np.asarray(objective.params, np.float64)
        matrix = MATRIX.astype(np.float64)
        directions = rng.normal(size=(200_000, 4))
        directions *= rho / np.linalg.norm(directions, axis=1, keepdims=True)
        rises = directions @ (matrix @ w) + 0.5 * ((directions @ matrix) * directions).sum(1)
        assert found.largest == pytest.approx(rises.max(), rel=1e-2, abs=found.rounding)
        values, vectors = np.linalg.eigh(matrix)
        slope = vectors.T @ matrix @ w
        bound = _largest_in_ball(values, slope, rho)
        assert found.largest <= bound + found.rounding


def _largest_in_ball(values, slope, rho):
    """max over |e| = rho of slope'e + e'diag(values)e / 2, by its secular equation."""
    low, high = values.max(), values.max() + np.linalg.norm(slope) / rho
    for _ in range(200):
        middle = (low + high) / 2
        longer = np.linalg.norm(slope / (middle - values)) > rho
        low, high = (middle, high) if longer else (low, middle)
    e = slope / (high - values)
    return slope @ e + 0.5 * e @ (values * e)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_length_of_the_direction_does_not_matter(scale):
    objective = quadratic(MATRIX, np.ones(4))
    vector = jnp.array([1.0, -2.0, 0.5, 3.0])
    plain, found = (directional_sharpness(objective, s * vector) for s in (1.0, scale))
    assert found.estimate == pytest.approx(plain.estimate, rel=1e-5)


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
