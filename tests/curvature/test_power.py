import numpy as np
import pytest
from spectra import SPECTRA, Diagonal

from landscape.curvature import power_iteration
from landscape.errors import RequestError
from landscape.journal import Journal


@pytest.mark.parametrize("seed", range(3))
def test_an_outlier_is_found_in_a_hundred_products(seed):
    found = power_iteration(Diagonal(SPECTRA["an outlier"]), seed=seed)
    assert found.estimate == pytest.approx(195.6, rel=1e-5)
    assert found.products == 100
    assert found.is_largest


def test_a_dominant_negative_eigenvalue_is_not_passed_off_as_the_largest():
    found = power_iteration(Diagonal(SPECTRA["a dominant negative end"]))
    assert found.estimate == pytest.approx(-80, rel=1e-4)
    assert not found.is_largest


def test_the_residual_bounds_the_distance_to_an_eigenvalue():
    for seed in range(5):
        found = power_iteration(Diagonal(SPECTRA["no gap"]), iterations=20, seed=seed)
        distance = np.abs(SPECTRA["no gap"] - found.estimate).min()
        assert distance <= found.residual + 1e-6


def test_the_stopping_rule_of_pyhessian_stops_early_and_low():
    found = power_iteration(Diagonal(SPECTRA["a near-degenerate top"]), tolerance=1e-3)
    assert found.products < 100
    assert found.estimate < 195.6 * (1 - 1e-4)


def test_a_vanishing_operator_and_no_iterations():
    assert power_iteration(Diagonal(np.zeros(5)), iterations=3).estimate == 0
    with pytest.raises(RequestError, match="below 1"):
        power_iteration(Diagonal([1.0]), iterations=0)


def test_numpy_numbers_are_kept_as_numbers(tmp_path):
    numbers = {"iterations": np.int64(20), "tolerance": np.float32(1e-3), "seed": np.int64(1)}
    plain = {name: value.item() for name, value in numbers.items()}
    journal = Journal.of_request(tmp_path / "state", {})
    found = power_iteration(Diagonal(SPECTRA["no gap"]), **numbers, journal=journal)
    assert found == power_iteration(Diagonal(SPECTRA["no gap"]), **plain)
