import numpy as np
import pytest
import scipy.stats

from landscape.curvature import Estimate

SAMPLES = np.array([3.0, -1.0, 4.0, 1.5, 2.0])


@pytest.mark.parametrize("scale", [1e-200, 1e-25, 1.0, 1e25, 1e200])
def test_means_and_root_mean_squares_are_found_at_every_scale(scale):
    found = Estimate.of(SAMPLES * scale)
    assert found.estimate == pytest.approx(1.9 * scale, rel=1e-12, abs=0)
    assert found.standard_error == pytest.approx(
        scale * SAMPLES.std(ddof=1) / 5**0.5, rel=1e-12, abs=0
    )
    root = Estimate.root_mean_square(SAMPLES * scale)
    assert root.estimate == pytest.approx(scale * np.sqrt(np.mean(SAMPLES**2)), rel=1e-12, abs=0)
    plain = Estimate.of(SAMPLES**2).root()
    assert root.standard_error == pytest.approx(scale * plain.standard_error, rel=1e-12, abs=0)


def test_samples_that_are_no_numbers_give_none():
    assert np.isnan(Estimate.of(np.array([1.0, np.nan])).estimate)
    assert Estimate.of(np.zeros(3)) == Estimate(0.0, 0.0, 3)


def test_several_looks_share_the_confidence():
    alone, shared = Estimate.of(SAMPLES), Estimate.of(SAMPLES).corrected_for_looks(4)
    assert shared.estimate == alone.estimate
    assert alone.corrected_for_looks(1) == alone
    reach = scipy.stats.t.ppf(1 - 0.05 / 8, 4) * alone.standard_error
    assert shared.interval() == pytest.approx((alone.estimate - reach, alone.estimate + reach))
