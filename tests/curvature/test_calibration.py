"""How often certified bounds fail on random spectra, against how often they may."""

import math

import jax
import numpy as np
import pytest
from spectra import SPECTRA, Diagonal

from landscape.curvature import extremes

SIZES = (30, 200, 1000)  # few, since each is compiled


def random_spectrum(rng: np.random.Generator) -> np.ndarray:
    """Eigenvalues (n,) of a random family, size, scale and sign, some of them in clusters."""
    size = int(rng.choice(SIZES))
    families = {
        "prescribed": lambda: rng.choice(list(SPECTRA.values())[rng.integers(len(SPECTRA))], size),
        "no gap": lambda: rng.uniform(-1, 1, size),
        "semicircle": lambda: rng.beta(1.5, 1.5, size) - rng.uniform(),
        "heavy tail": lambda: rng.standard_cauchy(size),
        "decay": lambda: 10.0 ** -rng.uniform(0, 8, size),
        "few values": lambda: rng.choice(rng.normal(size=rng.integers(1, 6)), size),
        "flat with one": lambda: np.r_[rng.normal(), np.full(size - 1, 0.1 * rng.normal())],
        "edge": lambda: 1 - np.linspace(0, 1, size) ** rng.uniform(0.2, 4),
    }
    values = families[str(rng.choice(list(families)))]()
    if rng.uniform() < 0.3:  # a cluster at the top, narrower than any interval asked for
        count = int(rng.integers(2, 6))
        values[:count] = values.max() * (1 + 10.0 ** -rng.uniform(2, 7, count))
    return values * rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-12, 12)


def _failures(trials: int, first: int, stated: float, precision: str) -> int:
    """How many of the searches on random spectra miss an end."""
    failures = 0
    for seed in range(first, first + trials):
        rng = np.random.default_rng(seed)
        matrix = Diagonal(random_spectrum(rng), precision)
        true = np.asarray(matrix.params, float)
        found = extremes(
            matrix,
            confidence=1 - stated,
            width=float(10.0 ** -rng.uniform(0.3, 3)),
            limit=int(rng.integers(1, 40)),
            seed=seed,
        )
        failures += not (
            found.lambda_max.lower <= true.max() <= found.lambda_max.upper
            and found.lambda_min.lower <= true.min() <= found.lambda_min.upper
        )
    return failures


def _allowed(trials: int, stated: float) -> float:
    """Three standard deviations of the binomial above the stated rate would refute it."""
    return trials * stated + 3 * math.sqrt(trials * stated * (1 - stated))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("stated", [0.5, 0.01])
def test_bounds_on_a_thousand_random_spectra_fail_no_more_often_than_stated(stated, precision):
    with jax.enable_x64(precision == "float64"):
        assert _failures(250, 0, stated, precision) <= _allowed(250, stated)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("stated", [0.5, 0.1, 0.01, 0.001])
def test_bounds_on_ten_thousand_random_spectra_fail_no_more_often_than_stated(stated, precision):
    with jax.enable_x64(precision == "float64"):
        assert _failures(1250, 1000, stated, precision) <= _allowed(1250, stated)
