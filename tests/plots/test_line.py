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
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told == ["train loss", "test loss", "train accuracy", "test accuracy"]


def test_points_that_are_not_finite_are_gaps_and_counted():
    broken = {"train": np.where(np.abs(X) > 0.7, np.inf, X**2)}
    ax = plot_line(X, broken)
    assert np.isnan(ax.get_lines()[0].get_ydata()).sum() == 4
    assert "4 points not finite" in [text.get_text() for text in ax.texts]


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
    told = [text.get_text() for text in ax.texts]
    assert {"plain", "SAM", "outside: far"} == set(told)


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
