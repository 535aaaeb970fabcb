import math

import numpy as np
import pytest
from spectra import SPECTRA, Diagonal

from landscape.curvature import spectrum
from landscape.errors import RequestError
from landscape.journal import Journal


@pytest.mark.parametrize("name", SPECTRA)
def test_one_set_of_products_gives_ends_trace_norm_and_density(name):
    true = SPECTRA[name]
    found = spectrum(Diagonal(true), probes=10, steps=50, seed=1)
    scale = max(np.abs(true).max(), 1e-6)
    assert found.lambda_max.lower <= true.max() <= found.lambda_max.upper
    assert found.lambda_min.lower <= true.min() <= found.lambda_min.upper
    assert found.lambda_max.converged
    for estimate, value in (
        (found.trace, true.sum()),
        (found.frobenius, np.linalg.norm(true)),
        (
            found.density.effective_dimension(0.5),
            (np.maximum(true, 0) / (np.maximum(true, 0) + 0.5)).sum(),
        ),
    ):
        assert abs(estimate.estimate - value) <= 5 * estimate.standard_error + 1e-4 * scale


@pytest.mark.parametrize("name", ["no gap", "an outlier", "a degenerate top"])
def test_the_cumulative_density_counts_eigenvalues(name):
    true = np.sort(SPECTRA[name])
    density = spectrum(Diagonal(true), probes=20, steps=60).density
    places = np.quantile(true, [0.1, 0.3, 0.5, 0.7, 0.9]) + 1e-3
    fraction, error = density.cumulative(places)
    counted = [(true <= place).mean() for place in places]
    # A node stands for its neighbourhood: one node's weight of discretisation beside the error.
    assert (np.abs(fraction - counted) <= 4 * error + 1 / 40).all()


def test_the_smoothed_density_integrates_to_one_and_lies_in_its_band():
    density = spectrum(Diagonal(SPECTRA["no gap"]), probes=6, steps=40).density
    smoothed = density.smoothed(np.linspace(-2, 2, 2001), width=0.05)
    assert smoothed.width == 0.05
    assert np.trapezoid(smoothed.density, smoothed.eigenvalues) == pytest.approx(1, abs=1e-3)
    assert (smoothed.lower <= smoothed.density).all()
    assert (smoothed.density <= smoothed.upper).all()
    middle = np.abs(smoothed.eigenvalues) < 0.5
    assert np.mean(smoothed.density[middle]) == pytest.approx(0.5, rel=0.1)
    default = density.smoothed()
    assert np.trapezoid(default.density, default.eigenvalues) == pytest.approx(1, abs=0.02)


def test_bounds_of_all_probes_together_fail_no_more_often_than_stated():
    """300 times four runs of six products at confidence 0.9."""
    true, stated, trials, failures = SPECTRA["no gap"].astype("f"), 0.1, 300, 0
    for seed in range(trials):
        found = spectrum(Diagonal(true), probes=4, steps=6, confidence=1 - stated, seed=seed)
        inside = (
            found.lambda_max.lower <= true.max() <= found.lambda_max.upper
            and found.lambda_min.lower <= true.min() <= found.lambda_min.upper
        )
        failures += not inside
    assert failures <= trials * stated + 3 * math.sqrt(trials * stated * (1 - stated))


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", range(11))
def test_a_killed_run_goes_on_at_the_last_product(tmp_path, monkeypatch, killed_at):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    operator, settings = Diagonal(SPECTRA["no gap"]), {"probes": 4, "steps": 3}
    undisturbed = spectrum(operator, **settings)
    calls = []

    def die():
        calls.append(1)
        if len(calls) > killed_at:
            raise Killed

    with pytest.raises(Killed):
        spectrum(operator, **settings, progress=die, journal=Journal(tmp_path / "kept"))
    again = []
    resumed = spectrum(
        operator,
        **settings,
        progress=lambda: again.append(1),
        journal=Journal(tmp_path / "kept"),
    )
    # The product in which it died had been kept before the bar advanced.
    assert len(again) == 12 - killed_at - 1
    assert resumed.runs == undisturbed.runs


@pytest.mark.parametrize("seed", range(4))
def test_a_run_resumed_without_the_vectors_of_earlier_probes_confirms_its_ends(
    tmp_path, monkeypatch, seed
):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    operator = Diagonal(np.linspace(-1, 1, 3000))
    settings = {"probes": 2, "steps": 16, "seed": seed}
    calls = []

    def die():
        calls.append(1)
        if len(calls) > 18:
            raise Killed

    with pytest.raises(Killed):
        spectrum(operator, **settings, progress=die, journal=Journal(tmp_path / "kept"))
    resumed = spectrum(operator, **settings, journal=Journal(tmp_path / "kept"))
    assert resumed.lambda_max.confirmed
    assert resumed.lambda_min.confirmed


def test_wrong_requests_are_refused():
    for wrong in ({"probes": 0}, {"steps": 0}, {"width": 2}):
        with pytest.raises(RequestError):
            spectrum(Diagonal([1.0, 2.0]), **wrong)
    density = spectrum(Diagonal([1.0, 2.0]), probes=2).density
    with pytest.raises(RequestError, match="regularisation"):
        density.effective_dimension(0)
