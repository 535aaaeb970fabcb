import numpy as np
import pytest

from landscape.surface import order


@pytest.mark.parametrize("points", [2, 3, 7, 50, 51])
def test_every_level_halves_the_gaps_of_the_one_before(points):
    levels = order.levels(points)
    assert levels[0] == levels[-1] == 0
    gaps = [np.diff(np.flatnonzero(levels <= k)).max() for k in range(levels.max() + 1)]
    assert gaps == [-(-(points - 1) // 2**k) for k in range(levels.max() + 1)]


def test_every_point_of_a_grid_belongs_to_one_level():
    shape = (7, 4)
    found = [tuple(p) for k in range(4) for p in order.of_level(shape, k)]
    assert sorted(found) == list(np.ndindex(shape))


def test_the_levels_below_are_a_coarser_grid():
    levels = order.grid_levels((9, 9))
    assert (levels <= 1).sum() == 9
    assert (levels <= 2).sum() == 25


def refined(heights, tolerance):
    values, evaluated = np.full(heights.shape, np.nan), np.zeros(heights.shape, bool)

    def evaluate(points):
        assert not evaluated[tuple(points.T)].any()
        values[tuple(points.T)] = heights[tuple(points.T)]
        evaluated[tuple(points.T)] = True

    order.refine(values, evaluated, tolerance, evaluate)
    top = order.grid_levels(heights.shape).max()
    return order.filled(values, evaluated, top), evaluated


def test_a_tilted_plane_is_never_looked_at_closely():
    y, x = np.mgrid[1:34, 1:34].astype(float)
    found, evaluated = refined(3 * x + y, 0.01)
    assert evaluated.sum() == 81  # the levels that are always evaluated
    np.testing.assert_allclose(found, 3 * x + y)


@pytest.mark.parametrize("tolerance", [0.01, 0.05])
def test_what_is_interpolated_keeps_to_the_tolerance(tolerance):
    x = np.linspace(-1, 1, 51)
    for heights in (
        np.log1p(20 * x[None] ** 2 + 3 * x[:, None] ** 2) + 0.05,
        20 * x[None] ** 2 + 3 * x[:, None] ** 2 + 0.3 * np.sin(9 * x[None]) ** 2 + 0.05,
    ):
        found, evaluated = refined(heights, tolerance)
        assert evaluated.mean() < 0.75
        assert np.max(np.abs(found - heights) / heights) < 1.5 * tolerance


def test_without_a_tolerance_every_point_is_evaluated():
    heights = np.random.default_rng(0).normal(size=(12, 5))
    found, evaluated = refined(heights, None)
    assert evaluated.all()
    np.testing.assert_array_equal(found, heights)


def test_a_hole_is_looked_at_and_never_averaged_away():
    y, x = np.mgrid[1:34, 1:34].astype(float)
    heights = np.where((x > 20) & (y > 20), np.inf, x + y)
    found, evaluated = refined(heights, 0.05)
    rim = (x > 18) & (x < 24) & (y > 22)
    assert evaluated[rim].mean() > 0.9
    assert not np.isfinite(found[np.isinf(heights)]).any()
    np.testing.assert_allclose(found[np.isfinite(found)], heights[np.isfinite(found)])


def test_lines_are_refined_as_well():
    x = np.linspace(-1, 1, 65)
    found, evaluated = refined(np.abs(x) + 0.1, 0.02)
    assert evaluated.sum() < 30
    np.testing.assert_allclose(found, np.abs(x) + 0.1, rtol=0.02)


def test_a_constant_added_to_the_loss_hides_no_feature():
    y, x = np.mgrid[-1:1:33j, -1:1:33j]
    heights = x**2 + y**2 + 0.5 * np.exp(-((x - 0.6) ** 2 + (y - 0.6) ** 2) / 0.02)
    _, expected = refined(heights, 0.05)
    found, evaluated = refined(heights + 1024, 0.05)
    np.testing.assert_array_equal(evaluated, expected)
    assert np.max(np.abs(found - 1024 - heights)) < 0.05
