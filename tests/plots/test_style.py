import numpy as np
import pytest

from landscape.plots import compare, plot_curve, plot_line, style

X = np.linspace(-1, 1, 11)
BOWL = np.add.outer(X**2, X**2) / 2  # from 0 to 1


def shown(axis) -> tuple[list[float], list[str]]:
    """The labelled places of an axis, and the labels of its minor ticks."""
    axis.figure.canvas.draw()
    low, high = axis.get_view_interval()
    ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    major = [text.get_text() for at, text in ticks if low <= at <= high]
    minor = [text.get_text() for text in axis.get_minorticklabels()]
    return [float(text) for text in major], [text for text in minor if text]


def training(low, high):
    values = np.geomspace(low, high, 40)
    records = [{"epoch": n, "train_loss": value} for n, value in enumerate(values)]
    return plot_curve({"a": records}, "train_loss", log=True).yaxis


def line(low, high):
    return plot_line(X, {"train": low + (high - low) * X**2}, log=True).yaxis


def colour_bar(low, high):
    heights = low + (high - low) * BOWL
    figure = compare({"a": (X, X, heights)}, kind="contour", log=True, vmin=low, vmax=high)
    return figure.axes[-1].yaxis


@pytest.mark.parametrize("drawn", [training, line, colour_bar])
@pytest.mark.parametrize(
    ("low", "high"), [(2.26, 2.47), (2.1, 9.9), (0.3, 1.4), (0.02, 1.0), (1e-3, 60.0), (1e-8, 1e4)]
)
def test_logarithmic_axes_have_plain_labels_however_little_they_span(drawn, low, high):
    axis = drawn(low, high)
    assert axis.get_scale() == "log"
    major, minor = shown(axis)
    assert 2 <= len(major) <= 8
    assert not minor


def test_below_two_decades_a_logarithmic_axis_has_labels_at_one_two_and_five():
    ax = style.dressed(None)
    ax.set_ylim(0.9, 60)
    style.logarithmic(ax.yaxis)
    assert shown(ax.yaxis) == ([1, 2, 5, 10, 20, 50], [])
