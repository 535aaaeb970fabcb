import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape.plots import plot_contour, plot_surface
from landscape.plots.facets import _light, facets, ring_segments
from landscape.plots.heights import Range
from landscape.plots.surface import draw_contour

X = np.linspace(-1.0, 1.0, 9)
Y = np.linspace(-0.5, 0.5, 5)
BOWL = X**2 + 4 * Y[:, None] ** 2


def heights_drawn(ax) -> np.ndarray:
    """Heights of everything drawn in three dimensions, in data coordinates."""
    (collection,) = (c for c in ax.collections if isinstance(c, Poly3DCollection))
    return np.asarray(collection._faces)[..., 2]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_the_facets_pass_through_every_measured_point():
    corners = facets(X, Y, BOWL, Range(0, 2))[0].reshape(-1, 3)
    for i, y in enumerate(Y):
        for j, x in enumerate(X):
            distance = np.abs(corners - [x, y, BOWL[i, j]]).max(axis=1)
            assert distance.min() < 1e-12


def test_facets_of_a_plane_lie_in_it():
    corners, _ = facets(X, Y, 2 * X + 3 * Y[:, None], Range(-4, 4))
    x, y, z = np.moveaxis(corners, -1, 0)
    np.testing.assert_allclose(z, 2 * x + 3 * y, atol=1e-12)
    assert len(corners) == 96 * 96


def test_nothing_is_drawn_above_the_range_and_no_lid_is_put_on_the_valley():
    corners, _ = facets(X, Y, BOWL, Range(0, 0.8))
    assert corners[..., 2].max() == pytest.approx(0.8)
    assert (corners[..., 2].min(axis=1) < 0.8).all()


def test_a_cut_is_told_and_ends_the_axis():
    ax = plot_surface(X, Y, BOWL, vmax=0.8)
    cut = int((BOWL > 0.8).sum())
    assert texts(ax) == [f"{cut} of 45 points cut at 0.8"]
    assert ax.get_zlim() == pytest.approx((0.0, 0.8))


def test_holes_stay_open_and_are_counted():
    z = BOWL.copy()
    z[2, 3], z[0, 0] = np.nan, np.inf
    corners, colours = facets(X, Y, z, Range(0, 2))
    assert np.isfinite(corners).all()
    assert np.isfinite(colours).all()
    missing = 96 * 96 - len(corners)
    assert 0 < missing <= 5 * 12 * 24  # five cells touch the two points
    assert texts(plot_surface(X, Y, z)) == ["2 of 45 points without a finite value"]


def test_no_facet_lies_where_a_height_has_no_logarithm():
    z = BOWL + 0.1
    z[2, 4], z[0, 0] = 0, -5
    corners, _ = facets(X, Y, z, Range(0.1, 2, log=True))
    inside = np.abs(corners[..., :2] - [X[4], Y[2]]) < [0.24, 0.24]
    assert not inside.all(-1).any()
    ax = plot_surface(X, Y, z, log=True)
    assert texts(ax) == ["2 of 45 points not positive"]
    flat = plot_contour(X, Y, z, log=True, vmin=0.3, beside="λmax 3", markers={"far": (3, 3)})
    assert texts(flat)[-1].splitlines() == [
        "λmax 3", "2 of 45 points not positive",
        f"{np.sum((z > 0) & (z < 0.3))} of 45 points raised to 0.3", "outside: far",
    ]  # fmt: skip


def test_a_surface_without_a_single_finite_point_is_empty_axes():
    ax = plot_surface(X, Y, np.full_like(BOWL, np.nan))
    assert len(heights_drawn(ax)) == 0
    ax.figure.savefig(io.BytesIO(), format="png")


def test_logarithmic_heights_are_drawn_as_their_logarithm():
    ax = plot_surface(X, Y, 10.0 ** (3 * BOWL), log=True)
    corners, _ = facets(X, Y, 10.0 ** (3 * BOWL), Range(1, 1e6, log=True))
    assert (corners[..., 2].min(), corners[..., 2].max()) == pytest.approx((0, 6))
    ax.figure.savefig(io.BytesIO(), format="png")
    labels = [label.get_text() for label in ax.get_zticklabels()]
    assert {"1", "100"} <= set(labels)
    assert ax.get_zlim() == pytest.approx((0, 6))


def test_the_light_is_not_stretched_so_a_flat_bowl_looks_flat():
    sharp, flat = _light(X, Y, BOWL, 2.0), _light(X, Y, 0.01 * BOWL, 2.0)
    assert np.ptp(flat) < 0.05 < 0.3 < np.ptp(sharp)


def test_equal_heights_have_equal_colours_in_different_surfaces():
    level = np.full_like(BOWL, 0.5)
    heights = Range(0, 2)
    high = np.where(np.arange(len(X)) < 7, level, 2.0)
    first, second = (facets(X, Y, z, heights)[1] for z in (level, high))
    np.testing.assert_allclose(first[0], second[0])


def test_contour_lines_lie_on_the_surface_seen_from_the_viewer():
    x = np.linspace(-1, 1, 21)
    z = x**2 + x[:, None] ** 2
    segments = ring_segments(x, x, z, Range(0, 2), view=(90, 0))  # from straight above
    radius = np.linalg.norm(segments[..., :2], axis=-1)
    levels = Range(0, 2).rings_of(z)
    nearest = np.abs(radius[..., None] ** 2 - levels).min(axis=-1)
    assert nearest.max() < 0.01
    height = segments[..., 2] - radius**2
    assert (height > 0).all()  # moved towards the viewer
    np.testing.assert_allclose(height, height.mean(), atol=0.01)


def test_title_and_limits_are_those_asked_for():
    ax = plot_surface(X, Y, BOWL, vmin=-1, vmax=5, title="ViT")
    assert ax.get_title() == "ViT"
    assert ax.get_xlim() == pytest.approx((-1, 1))
    assert ax.get_ylim() == pytest.approx((-0.5, 0.5))
    assert ax.get_zlim() == pytest.approx((-1, 5))


def test_surfaces_draw_on_the_given_axes_and_touch_no_global_state():
    before = dict(matplotlib.rcParams)
    figure = Figure()
    ax = figure.add_subplot(projection="3d")
    assert plot_surface(X, Y, BOWL, ax=ax) is ax
    assert plot_contour(X, Y, BOWL, ax=(flat := figure.add_subplot())) is flat
    assert dict(matplotlib.rcParams) == before


def test_contour_lines_carry_their_heights():
    x = np.linspace(-1, 1, 41)
    ax = plot_contour(x, x, 0.01 + x**2 + x[:, None] ** 2)
    lines = ax.collections[-1]
    assert set(texts(ax)) <= {f"{level:g}" for level in lines.levels}
    assert {"0.5", "1"} <= set(texts(ax))
    level = list(lines.levels).index(0.5)
    radius = np.linalg.norm(lines.get_paths()[level].vertices, axis=1)
    np.testing.assert_allclose(radius, 0.7, atol=0.01)


def test_filled_contours_span_the_range():
    ax = plot_contour(X, Y, BOWL, vmin=0.0, vmax=1.5)
    bands = ax.collections[0]
    assert (bands.levels[0], bands.levels[-1]) == (0.0, 1.5)
    assert (bands.norm.vmin, bands.norm.vmax) == (0.0, 1.5)
    assert texts(ax)[-1] == "8 of 45 points cut at 1.5"


def test_contours_can_be_lines_alone():
    ax = plot_contour(X, Y, BOWL, filled=False)
    np.testing.assert_allclose(ax.collections[0].get_facecolor()[0], 1)


def test_the_checkpoint_is_marked_only_where_it_is_in_the_picture():
    assert len(plot_contour(X, Y, BOWL).lines) == 1
    assert len(plot_contour(X + 5, Y, BOWL).lines) == 0


@pytest.mark.parametrize("z", [np.zeros_like(BOWL), np.full_like(BOWL, np.nan)])
@pytest.mark.parametrize("filled", [True, False])
def test_constant_and_missing_surfaces_draw_without_a_warning(z, filled):
    ax = Figure().add_subplot()
    draw_contour(ax, X, Y, z, Range(0, 1), filled=filled)
    ax.figure.savefig(io.BytesIO(), format="png")
    plot_contour(X, Y, z).figure.savefig(io.BytesIO(), format="png")


def test_vector_files_stay_small_because_facets_are_pixels():
    stream = io.BytesIO()
    x = np.linspace(-1, 1, 25)
    plot_surface(x, x, x**2 + x[:, None] ** 2).figure.savefig(stream, format="svg")
    assert len(stream.getvalue()) < 500_000
