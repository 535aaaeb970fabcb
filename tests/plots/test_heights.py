import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.plots.heights import Range, checked, remark, shared_range


def test_the_shared_range_spans_all_surfaces():
    heights = shared_range([np.array([[1.0, 2.0]]), np.array([[0.5, 3.0]])])
    assert (heights.low, heights.high) == (0.5, 3.0)


def test_one_diverged_corner_does_not_flatten_the_rest():
    z = np.linspace(0, 1, 101)
    z[-1] = 1e9
    assert shared_range([z]).high == pytest.approx(10 * np.median(z))


def test_values_that_are_not_finite_do_not_count():
    heights = shared_range([np.array([np.nan, 1.0, np.inf, 2.0, -np.inf])])
    assert (heights.low, heights.high) == (1.0, 2.0)


@pytest.mark.parametrize("z", [np.full((3, 3), 0.7), np.zeros((2, 2)), np.full((2, 2), np.nan)])
def test_constant_and_empty_surfaces_have_a_range(z):
    heights = shared_range([z])
    assert heights.low < heights.high


def test_a_mostly_constant_surface_keeps_its_peak():
    assert shared_range([np.array([1.0, 1.0, 1.0, 5.0])]).high == 5.0


def test_a_logarithmic_range_begins_at_the_smallest_positive_height():
    heights = shared_range([np.array([-1.0, 0.0, 0.01, 100.0])], log=True)
    assert (heights.low, heights.high) == (0.01, 100.0)
    assert heights.norm(1.0) == pytest.approx(0.5)


def test_a_logarithm_of_nothing_is_refused():
    with pytest.raises(RequestError, match="vmin"):
        shared_range([np.ones((2, 2))], vmin=0, vmax=1, log=True)


def test_an_empty_range_is_refused():
    with pytest.raises(RequestError, match="vmin: 2 is not below vmax=1"):
        shared_range([np.ones((2, 2))], vmin=2, vmax=1)


def test_rings_are_one_two_five_times_powers_of_ten():
    np.testing.assert_allclose(Range(0.01, 10).rings(), [0.1, 0.2, 0.5, 1, 2, 5], rtol=1e-12)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.01, 10), (3, 4), (1e-9, 1e3), (2.1, 2.4)])
def test_rings_and_ticks_lie_inside_the_range(low, high, log):
    heights = Range(low, high, log)
    for values in (heights.rings(), heights.ticks()):
        assert len(values) <= 12
        assert np.all((low <= values) & (values <= high))


def test_rings_around_few_points_are_left_out():
    x = np.linspace(-1, 1, 21)
    z = x**2 + x[:, None] ** 2
    for level in shared_range([z]).rings_of(z):
        assert 9 <= np.sum(z < level) < z.size


def test_negative_heights_have_even_rings():
    rings = Range(-5.0, 5.0).rings()
    assert len(rings) > 3
    np.testing.assert_allclose(np.diff(rings), np.diff(rings)[0])


def test_what_is_not_shown_is_said():
    z = np.array([[0.0, 1.0], [np.nan, 9.0]])
    told = ["1 of 4 points without a finite value", "1 of 4 points cut at 2"]
    assert remark(z, Range(0, 2)).splitlines() == told
    assert remark(np.ones((2, 2)), Range(0, 2)) == ""


def test_heights_below_the_range_are_counted():
    z = np.linspace(0, 2, 81).reshape(9, 9)
    heights = shared_range([z], vmin=0.5, vmax=2)
    assert remark(z, heights) == "20 of 81 points raised to 0.5"
    assert heights.clip(z).min() == 0.5


def test_heights_without_a_logarithm_are_holes_and_counted():
    z = np.array([[0.0, -5.0, 1.0], [np.nan, 10.0, 100.0]])
    heights = shared_range([z], log=True)
    np.testing.assert_array_equal(np.isnan(heights.clip(z)), [[1, 1, 0], [1, 0, 0]])
    told = ["1 of 6 points without a finite value", "2 of 6 points not positive"]
    assert remark(z, heights).splitlines() == told


def test_a_transposed_grid_is_refused():
    with pytest.raises(RequestError, match=r"z: shape \(4, 3\) does not fit x \(4,\) and y \(3,\)"):
        checked(np.arange(4), np.arange(3), np.zeros((4, 3)))


def test_a_line_is_no_surface():
    with pytest.raises(RequestError, match="at least 2 x 2"):
        checked(np.arange(4), np.arange(1), np.zeros((1, 4)))
