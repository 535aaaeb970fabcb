import io

import matplotlib.colors as colors
import numpy as np
import pytest

from landscape.plots import plot_line, style

X = np.linspace(-1, 1, 11)
LOSSES = {"train": X**2 + 0.1, "test": X**2 + 0.3}
ACCURACIES = {"train": 100 - 50 * X**2, "test": 90 - 50 * X**2}


def second_axis(ax):
    (other,) = (each for each in ax.figure.axes if each is not ax)
    return other


def test_losses_and_accuracies_have_an_axis_each():
    ax = plot_line(X, LOSSES, ACCURACIES)
    for axis, values in ((ax, LOSSES), (second_axis(ax), ACCURACIES)):
        for line, each in zip(axis.get_lines(), values.values(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), each)
        assert [line.get_linestyle() for line in axis.get_lines()] == ["-", "--"]
    assert second_axis(ax).get_ylim() == (0, 100)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["train loss", "test loss", "train accuracy", "test accuracy"]


def test_points_that_are_not_finite_are_gaps_and_counted():
    broken = {"train": np.where(np.abs(X) > 0.7, np.inf, X**2)}
    ax = plot_line(X, broken)
    assert np.isnan(ax.get_lines()[0].get_ydata()).sum() == 4
    assert told(ax) == ["4 of 11 points without a finite loss"]


def told(ax):
    return [line for text in ax.texts for line in text.get_text().splitlines()]


def test_on_a_logarithmic_axis_a_loss_of_zero_is_not_positive_rather_than_not_finite():
    values = np.where(X > 0.7, np.nan, np.maximum(X, 0))
    accuracy = np.where(X > 0.7, np.inf, 50.0)
    ax = plot_line(X, {"train": values}, {"train": accuracy}, log=True)
    np.testing.assert_array_equal(np.isnan(ax.get_lines()[0].get_ydata()), (X <= 0) | (X > 0.7))
    assert told(ax) == [
        "2 of 11 points without a finite loss",
        "6 of 11 points without a positive loss",
        "2 of 11 points without a finite accuracy",
    ]
    assert told(plot_line(X, {"train": values})) == ["2 of 11 points without a finite loss"]


def test_every_loss_is_drawn_and_no_two_look_the_same():
    losses = {f"seed {number}": X**2 + number for number in range(6)}
    lines = plot_line(X, losses).get_lines()
    for line, values in zip(lines, losses.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 6


def test_an_accuracy_beyond_the_axis_widens_it():
    assert second_axis(plot_line(X, LOSSES, {"train": 100 + 5 * X})).get_ylim() == (0, 105)


def test_no_two_bands_look_the_same_in_the_legend():
    ax = plot_line(X, LOSSES, errors=dict.fromkeys(LOSSES, np.full(11, 0.02)))
    bands = [entry.get_hatch() for entry in ax.get_legend().get_patches()]
    assert len(bands) == len(set(bands)) == 2


def test_bands_say_which_error_they_are_and_where_they_reach_zero():
    error, of = np.full(11, 0.2), {"train": "split", "test": "population"}
    ax = plot_line(X, LOSSES, errors=dict.fromkeys(LOSSES, error), errors_of=of, log=True)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"train ± standard error, split", "test ± standard error, population"} <= set(names)
    assert told(ax) == ["3 of 22 points with an error down to zero"]
    assert ax.collections[0].get_paths()[0].vertices[:, 1].min() > 0


def test_a_line_without_a_positive_loss_is_no_error():
    ax = plot_line(X, {"train": -(X**2)}, errors={"train": np.ones(11)}, log=True)
    assert told(ax) == ["11 of 11 points without a positive loss"]
    ax.figure.savefig(io.BytesIO(), format="png")


def test_words_below_a_line_do_not_overlap():
    errors = dict.fromkeys(LOSSES, np.full(11, 0.2))
    ax = plot_line(X, LOSSES, ACCURACIES, errors=errors, log=True, beside="λmax 3\nλmax 4")
    ax.figure.savefig(io.BytesIO(), format="png")
    (words,) = ax.texts
    legend, axis = ax.get_legend().get_window_extent(), ax.xaxis.label.get_window_extent()
    assert legend.y1 <= words.get_window_extent().y0 < words.get_window_extent().y1 <= axis.y0


def test_the_band_is_one_standard_error_on_either_side():
    error = np.full(11, 0.05)
    ax = plot_line(X, {"train": LOSSES["train"]}, errors={"train": error})
    (band,) = ax.collections
    rows = band.get_paths()[0].vertices[:, 1]
    assert rows.min() == pytest.approx(0.05)
    assert rows.max() == pytest.approx(1.15)
    assert not plot_line(X, LOSSES, errors={"train": np.zeros(11)}).collections


def test_checkpoints_are_lines_with_names_and_none_is_lost():
    ax = plot_line(X, LOSSES, markers={"plain": 0.0, "SAM": 1.0, "far": 3.0})
    assert {"plain", "SAM", "outside: far"} == set(told(ax))


def test_on_a_dark_page_inks_are_light():
    ax = plot_line(X, LOSSES, ACCURACIES, title="a line")
    style.for_dark_page(ax.figure)

    def brightness(colour):
        return np.mean(colors.to_rgb(colour))

    assert brightness(ax.figure.get_facecolor()) < 0.1
    assert brightness(ax.get_facecolor()) < 0.1
    for text in (ax.title, ax.xaxis.label, *ax.get_legend().get_texts(), *ax.get_xticklabels()):
        assert brightness(text.get_color()) > 0.6, text.get_text()
    assert brightness(ax.spines["left"].get_edgecolor()) > 0.5
