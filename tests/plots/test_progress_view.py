import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.plots import watch_figure
from landscape.plots.heights import filled_in
from landscape.surface import Surface

X, Y = np.linspace(-1, 1, 9), np.linspace(-1, 1, 5)
SLOPE = X + 2 * Y[:, None] + 4


def part(done, loss=SLOPE):
    return Surface(
        X, Y, {"train_loss": np.where(done, loss, np.nan)}, done, np.zeros_like(done), 0.0,
        (1.0, 1.0),
    )  # fmt: skip


def coarse():
    done = np.zeros((5, 9), bool)
    done[::2, ::4] = True
    return done


def told(figure):
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def test_what_is_missing_is_interpolated_between_what_is_there():
    done = coarse()
    found = filled_in(X, Y, np.where(done, SLOPE, np.nan), done)
    np.testing.assert_allclose(found, SLOPE)


def test_a_hole_that_was_evaluated_is_never_averaged_away():
    done, loss = coarse(), SLOPE.copy()
    loss[2, 4] = np.inf
    found = filled_in(X, Y, np.where(done, loss, np.nan), done)
    assert not np.isfinite(found[2, 3:6]).any()
    assert np.isfinite(found[0]).all()


def test_outside_of_what_is_there_nothing_is_known():
    done = coarse()
    done[:, 8] = False
    found = filled_in(X, Y, np.where(done, SLOPE, np.nan), done)
    assert np.isnan(found[:, 5:]).all()


def test_the_picture_says_how_far_the_computation_is():
    assert "9 of 45 points so far, the rest interpolated" in told(watch_figure(part(coarse())))
    whole = watch_figure(part(np.ones((5, 9), bool)))
    assert "45 of 45 points" in told(whole)
    assert "interpolated" not in told(whole)


def test_the_picture_says_what_is_cut_missing_or_outside():
    loss = SLOPE.copy()
    loss[2, 4], loss[0, 0] = np.inf, 1e9
    surface = part(coarse(), loss)
    surface.markers["SAM"] = (5.0, 5.0)
    text = told(watch_figure(surface))
    assert "1 of 9 points without a finite value" in text
    assert "1 of 9 points cut at" in text
    assert "outside: SAM" in text


def test_the_picture_says_what_it_shows_and_along_what():
    surface = part(coarse())
    surface.metrics["max_eig"] = np.where(surface.done, 10.0 + X, np.nan)
    surface.attributes["directions"] = {"x": "eigenvector:2", "y": "sam"}
    figure = watch_figure(surface, metric="max_eig", log=True)
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eigenvector 2", "along SAM's gradient")
    assert "max eig" in told(figure)
    assert ax.collections[0].get_clim() == pytest.approx((9, 11))
    assert "train loss" in told(watch_figure(surface))
    with pytest.raises(RequestError, match="metric: there is no 'loss'"):
        watch_figure(surface, metric="loss")


@pytest.mark.parametrize("count", [0, 1])
def test_a_surface_that_has_hardly_begun_is_no_error(count):
    done = np.zeros((5, 9), bool)
    done.flat[:count] = True
    assert "no picture yet" in told(watch_figure(part(done)))


def test_lines_are_watched_as_well():
    done = np.array([True, False, True, False, True])
    line = Surface(Y, None, {"train_loss": Y**2}, done, np.zeros(5, bool), np.nan, (1.0,))
    figure = watch_figure(line)
    np.testing.assert_array_equal(figure.axes[0].get_lines()[0].get_xdata(), Y[done])
    assert "3 of 5 points" in told(figure)
