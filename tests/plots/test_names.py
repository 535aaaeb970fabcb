"""Names that users give are drawn as they are, whatever they would mean to matplotlib or HTML."""

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

from landscape import plots
from landscape.plots import style
from landscape.plots.animation import animate

MATHEMATICS, HIDDEN, CHINESE = r"$^_\$", "_private", "\u89c6\u89c9"
NAMES = [MATHEMATICS, "$x$", HIDDEN, CHINESE, "\udcff\ud800", "a\u202eb", "\x00", "<b>&", "n" * 300]
X = np.linspace(-1, 1, 5)
BOWL = X**2 + X[:, None] ** 2 + 0.1
ONE = np.ones(1)
SPECTRUM = plots.Spectrum(X, np.exp(-(X**2)), np.full(5, 0.1), np.ones(5), 0.1)
RECORDS = [
    {"epoch": 1, "train_loss": 1.0, "test_accuracy": 0.5},
    {"epoch": 2, "train_loss": np.nan},
]
DRAWN = {
    "blocks": lambda names: plots.compare_blocks(
        {name: plots.Sharpness(names, *[np.ones(len(names))] * 4) for name in names[:3]}
    ),
    "neurons": lambda names: plots.compare_neurons(
        {name: plots.Activity([f"{name}/MlpBlock_0"], ONE / 2, ONE / 9) for name in names}
    ),
    "training": lambda names: plots.compare_training(dict.fromkeys(names, RECORDS)),
    "contours": lambda names: plots.compare(
        dict.fromkeys(names, (X, X, BOWL)), kind="contour", captions={name: name for name in names},
        label=names[0], axes_names=(names[0], names[1]),
    ),
    "surface": lambda names: plots.plot_surface(
        X, X, BOWL, title=names[0], beside="\n".join(names), axes_names=(names[0], names[1])
    ),
    "markers": lambda names: plots.plot_contour(
        X, X, BOWL, title="\n".join(names), axes_names=(names[0], names[1]),
        markers={name: (0.1 * place, 3.0 * (place % 2)) for place, name in enumerate(names[:-1])},
    ),
    "trajectory": lambda names: plots.plot_trajectory(
        X, X, BOWL, [[0, 0], [0.5, 0.5]], axes_names=(names[0], names[1]), title=names[1]
    ),
    "line": lambda names: plots.plot_line(
        X, dict.fromkeys(names, X**2), {names[0]: X}, title=names[0], xlabel=names[1],
        errors={names[0]: X**2}, errors_of={names[0]: names[1]}, markers={names[0]: 0.0},
    ),
    "spectrum": lambda names: plots.plot_spectrum(
        {names[0]: SPECTRUM, names[1]: replace(SPECTRUM, width=1.0)}
    ),
    "convergence": lambda names: plots.plot_convergence(
        {name: plots.Convergence(X + 2, X + 2, X + 1, X + 3) for name in names}, title=names[0]
    ),
    "scan": lambda names: plots.plot_scan(
        {name: plots.Scan(X + 2, np.where(X, X + 2, np.nan), X + 1, X + 3, X, X * X)
         for name in names}
    ),
    "data error": lambda names: plots.plot_data_error(
        {name: plots.DataError(np.ones(3), np.ones(3), np.ones(3)) for name in names},
        splits=(names[0], names[1]),
    ),
    "animation": lambda names: _first_frame(names),
}  # fmt: skip


def _first_frame(names):
    animation = animate([(names[0], X, X, BOWL)], axes_names=(names[0], names[1]))
    animation._func(0)
    animation._draw_was_started = True
    return animation._fig


@pytest.mark.parametrize("name", DRAWN)
def test_no_picture_takes_names_for_mathematics_or_fails_over_them(name):
    drawn = DRAWN[name](NAMES)
    figure = getattr(drawn, "figure", drawn)
    figure.savefig(io.BytesIO(), format="svg")
    written = [text for text in figure.findobj(Text) if text.get_text()]
    assert not [text for text in written if "$" in text.get_text() and text.get_parse_math()]
    assert any(MATHEMATICS in text.get_text() for text in written)


def test_a_legend_leaves_out_no_name():
    figure = plots.compare_training({HIDDEN: RECORDS, "b": RECORDS})
    [legend] = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == [HIDDEN, "b"]


def test_characters_that_the_font_lacks_are_told_by_their_codes():
    assert style.drawable(f"{CHINESE} λ\u202e\udcff") == r"\u89c6\u89c9 λ\u202e\xff"


def test_long_lines_are_broken_and_very_long_ones_cut():
    lines = style.wrapped("word " * 100, 50).split("\n")
    assert [len(line) <= 50 for line in lines] == [True] * 3 + [True] * (len(lines) - 3)
    assert lines[-1].endswith("…")


def test_a_title_for_the_interactive_page_is_escaped():
    pytest.importorskip("plotly")
    from test_interactive import plane

    from landscape.plots.interactive import interactive_html

    hostile = "</title><script>alert(1)</script>$x$"
    html = interactive_html({hostile: plane(markers={hostile: (0.5, 0.5)})}, title=hostile)
    assert "alert(1)</script>" not in html
    assert "<script" not in html.partition("</head>")[0]
