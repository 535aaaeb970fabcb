import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape.plots import Spectrum, plot_spectrum

NAN = float("nan")


def spectrum(eigenvalues, masses=None, *, width, band=True, **marks):
    """The exact density of the eigenvalues, smoothed, with a band of a factor of two."""
    eigenvalues = np.asarray(eigenvalues, float)
    masses = np.full(len(eigenvalues), 1 / len(eigenvalues)) if masses is None else masses
    grid = np.linspace(eigenvalues.min() - 8 * width, eigenvalues.max() + 8 * width, 4001)
    bells = np.exp(-0.5 * ((grid[:, None] - eigenvalues) / width) ** 2)
    density = bells @ masses / (width * np.sqrt(2 * np.pi))
    factor = 2.0 if band else NAN
    return Spectrum(grid, density, density / factor, density * factor, width, **marks)


BULK = np.linspace(-1, 1, 97)
NETWORK = spectrum([*BULK, 10, 40, 190], width=0.5, ends=(-1.0, 190.0), top=np.array([190.0, 40.0]))
FLAT = spectrum(np.linspace(-2, 2, 50), width=0.1)


def drawn(ax):
    """Everything that is not NaN of the curves."""
    curves = [line for line in ax.lines if line.get_linestyle() != "None"]
    return [line.get_xydata()[np.isfinite(line.get_ydata())].T for line in curves]


def marks(ax):
    """Positions, markers and heights of the marks below the curves."""
    return [line for line in ax.lines if line.get_linestyle() == "None"]


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def labels(ax) -> list[str]:
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    ticks = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    return [label.get_text() for at, label in ticks if low <= at <= high]


def test_the_curve_is_the_density_and_the_band_lies_around_it():
    ax = plot_spectrum({"a": FLAT})
    ((x, y),) = drawn(ax)
    floor = 1e-6 * FLAT.density.max()
    above = y > floor
    np.testing.assert_allclose(y[above], np.interp(x, FLAT.eigenvalues, FLAT.density)[above])
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    middle = corners[np.abs(corners[:, 0]) < 1e-9, 1]
    density = FLAT.density[2000]
    np.testing.assert_allclose(np.unique(middle), [density / 2, 2 * density])
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "spectral density")


def test_the_tails_of_the_gaussians_are_cut_and_do_not_stretch_the_picture():
    ax = plot_spectrum({"a": FLAT})
    ((x, y),) = drawn(ax)
    peak = FLAT.density.max()
    assert y.min() == pytest.approx(1e-6 * peak)
    assert ax.get_ylim() == pytest.approx((1e-6 * peak, 3 * peak))
    low, high = ax.get_xlim()
    assert FLAT.eigenvalues[0] < low < x.min()
    assert x.max() < high < FLAT.eigenvalues[-1]


def test_an_outlier_of_a_huge_network_is_not_cut():
    run = spectrum([0, 50.0], [1 - 1e-8, 1e-8], width=1.0)
    ax = plot_spectrum({"a": run})
    ((x, y),) = drawn(ax)
    assert y[np.argmin(np.abs(x - 50))] == pytest.approx(1e-8 * y.max(), rel=1e-3)
    assert ax.get_ylim()[0] == pytest.approx(1e-9 * y.max(), rel=1e-3)


def test_bumps_at_the_level_of_rounding_are_cut():
    ax = plot_spectrum({"a": spectrum([0, 50.0], [1.0, 1e-14], width=1.0)})
    ((x, y),) = drawn(ax)
    assert x.max() < 10
    assert y.min() == pytest.approx(1e-6 * y.max())


def test_a_far_outlier_makes_the_abscissa_logarithmic_beyond_the_bulk():
    ax = plot_spectrum({"a": NETWORK})
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlabel() == "eigenvalue, logarithmic beyond ±1"
    assert labels(ax) == ["0", "10", "100"]
    at = ax.transAxes.inverted().transform(ax.transData.transform([(-1, 1), (1, 1), (190, 1)]))
    assert at[1, 0] - at[0, 0] > 0.2  # the bulk, 1 % of the range, is wide enough to be read
    assert 0.9 < at[2, 0] < 1


def test_negative_outliers_are_as_visible_as_positive_ones():
    ax = plot_spectrum({"a": spectrum([-190, *BULK, 190], width=0.5)})
    assert labels(ax) == ["−100", "−10", "0", "10", "100"]
    low, high = ax.get_xlim()
    assert low == pytest.approx(-high)


def test_a_spectrum_without_outliers_stays_linear():
    for run in (FLAT, spectrum(np.linspace(100, 101, 20), width=0.1)):
        ax = plot_spectrum({"a": run})
        assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "eigenvalue")


def test_the_curves_have_no_kink_where_the_logarithm_begins():
    ax = plot_spectrum({"a": NETWORK})
    scale = ax.xaxis.get_transform()
    inside, at, outside = scale.transform([0.999, 1.0, 1.001])
    assert outside - at == pytest.approx(at - inside, rel=2e-3)


def test_few_labels_stand_on_a_long_logarithmic_abscissa():
    run = spectrum([-5, 0, 190], [0.001, 0.998, 0.001], width=0.01)
    ax = plot_spectrum({"a": run})
    assert ax.get_xlabel() == "eigenvalue, logarithmic beyond ±0.01"
    assert labels(ax) == ["−1", "0", "1", "100"]


def test_certified_ends_are_ticks_and_top_eigenvalues_markers_below_the_curve():
    ax = plot_spectrum({"a": NETWORK})
    ends, top = marks(ax)
    np.testing.assert_array_equal(ends.get_xdata(), [-1, 190])
    np.testing.assert_array_equal(top.get_xdata(), [190, 40])
    assert (ends.get_marker(), top.get_marker()) == ("|", "o")
    floor = ax.transAxes.inverted().transform(ax.transData.transform((1, drawn(ax)[0][1].min())))[1]
    assert 0 < ends.get_ydata()[0] == top.get_ydata()[0] < floor
    assert words(ax) == ["smoothing width 0.5\nticks: certified ends, markers: top eigenvalues"]


@pytest.mark.parametrize(
    ("ends", "told"), [((NAN, 190.0), "certified λmax"), ((-1.0, NAN), "certified λmin")]
)
def test_an_end_that_is_not_certified_has_no_tick(ends, told):
    ax = plot_spectrum({"a": spectrum(BULK, width=0.1, ends=ends)})
    (drawn_end,) = marks(ax)
    assert drawn_end.get_xdata() == [end for end in ends if np.isfinite(end)]
    assert words(ax) == [f"smoothing width 0.1\nticks: {told}"]


def test_without_certified_ends_nothing_is_said_of_them():
    ax = plot_spectrum({"a": spectrum(BULK, width=0.1)})
    assert not marks(ax)
    assert words(ax) == ["smoothing width 0.1"]


def test_top_eigenvalues_that_did_not_converge_are_called_so():
    top = np.array([1.0, NAN])
    ax = plot_spectrum({"a": spectrum(BULK, width=0.1, top=top, top_converged=False)})
    assert words(ax) == ["smoothing width 0.1\nmarkers: top eigenvalues (NOT CONVERGED)"]


def test_marks_beyond_the_density_are_in_the_picture():
    ax = plot_spectrum({"a": spectrum(BULK, width=0.1, ends=(-3.0, 2.0), top=np.array([5.0]))})
    low, high = ax.get_xlim()
    assert low < -3
    assert high > 5


def test_a_far_certified_end_without_a_bump_decides_the_scale_too():
    ax = plot_spectrum({"a": spectrum(BULK, width=0.1, ends=(-1.0, 500.0))})
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlim()[1] > 500


def test_plain_and_sam_share_a_hue_and_their_marks_have_rows_of_their_own():
    sam = spectrum([*BULK / 10, 5], width=0.05, ends=(-0.1, 5.0), top=np.array([5.0]))
    ax = plot_spectrum({"ViT": NETWORK, "ViT-SAM": sam})
    curves = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert {line.get_color() for line in ax.lines} == {curves[0].get_color()}
    assert [line.get_linestyle() for line in curves] == ["-", "--"]
    assert ax.get_legend_handles_labels()[1] == ["ViT", "ViT-SAM"]
    tops = [line for line in marks(ax) if line.get_marker() == "o"]
    assert tops[1].get_markerfacecolor() == "white" != tops[0].get_markerfacecolor()
    assert tops[0].get_ydata()[0] > tops[1].get_ydata()[0]


def test_different_smoothing_widths_are_told_apart_in_unbroken_pieces():
    names = {0.5: "ViT-B/16", 0.05: "my-ResNet-SAM", 0.25: "my Mixer"}
    runs = {name: spectrum(BULK, width=width) for width, name in names.items()}
    (text,) = words(plot_spectrum(runs))
    assert text.replace("\N{NO-BREAK SPACE}", " ").split("\n") == [
        "smoothing width 0.5 (ViT-B/16),",
        "0.05 (my-ResNet-SAM), 0.25 (my Mixer)",
    ]


def test_a_single_probe_has_no_band():
    ax = plot_spectrum({"a": spectrum(BULK, width=0.1, band=False)})
    assert not any(len(path.vertices) for band in ax.collections for path in band.get_paths())


def test_a_band_that_reaches_zero_ends_at_the_floor():
    run = Spectrum(FLAT.eigenvalues, FLAT.density, FLAT.density - 1, 2 * FLAT.density, 0.1)
    ax = plot_spectrum({"a": run})
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(1e-6 * FLAT.density.max())


def test_nothing_measured_is_said():
    missing = np.full(5, NAN)
    ax = plot_spectrum({"a": Spectrum(np.arange(5.0), missing, missing, missing, 0.1)})
    assert words(ax) == ["not measured"]
    assert ax.get_xlabel() == "eigenvalue"


def test_a_zero_hessian_is_one_bump():
    ax = plot_spectrum({"a": spectrum([0.0], width=1e-6, ends=(0.0, 0.0))}, title="zero")
    assert (ax.get_xscale(), ax.get_title()) == ("linear", "zero")
    ax.figure.savefig(io.BytesIO(), format="png")


def test_the_given_axes_are_drawn_on_without_touching_global_state():
    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    assert plot_spectrum({"a": NETWORK}, ax=ax) is ax
    ax.figure.savefig(io.BytesIO(), format="svg")
    assert dict(matplotlib.rcParams) == before
