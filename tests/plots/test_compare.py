import io

import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.plots import compare

X = np.linspace(-1.0, 1.0, 7)
SHARP = 5 * (X**2 + X[:, None] ** 2)
PAIR = {"ViT": (X, X, SHARP), "ViT-SAM": (X, X, 0.1 * SHARP)}


def panels(figure):
    return figure.axes[:-1]


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_all_surfaces_share_height_and_extent():
    figure = compare(PAIR)
    first, second = panels(figure)
    assert first.get_zlim() == second.get_zlim() == pytest.approx((0, 10))
    assert first.get_xlim() == second.get_xlim()
    highest = np.asarray(second.collections[0]._faces)[..., 2].max()
    assert 1.0 <= highest < 2.0  # contour lines stand a little in front


def test_one_colour_bar_serves_all_panels():
    figure = compare(PAIR, vmax=4, label="test loss")
    bar = figure.axes[-1]
    assert bar.get_ylim() == pytest.approx((0, 4))
    assert bar.get_ylabel() == "test loss"


@pytest.mark.parametrize(
    ("ends", "extend"),
    [({}, "neither"), ({"vmax": 4}, "max"), ({"vmin": 1}, "min"), ({"vmin": 1, "vmax": 4}, "both")],
)
def test_the_colour_bar_goes_on_where_heights_are_cut_or_raised(ends, extend):
    assert compare({"a": (X, X, SHARP)}, **ends).axes[-1]._colorbar.extend == extend


def test_contours_share_their_levels():
    bands = [ax.collections[0] for ax in panels(compare(PAIR, kind="contour"))]
    np.testing.assert_array_equal(bands[0].levels, bands[1].levels)


def test_titles_captions_and_remarks_stand_at_their_panels():
    holed = SHARP.copy()
    holed[0, 0] = np.nan
    figure = compare(
        {"a": (X, X, SHARP), "b": (X, X, holed)}, vmax=3, captions={"a": "λmax 10", "b": "λmax 9"}
    )
    assert words(figure) == [
        "a",
        "λmax 10\n28 of 49 points cut at 3",
        "b",
        "λmax 9\n1 of 49 points without a finite value\n27 of 49 points cut at 3",
    ]


def test_grids_of_different_extent_are_shown_on_the_larger_one():
    small = np.linspace(-0.5, 0.5, 7)
    figure = compare({"a": (X, X, SHARP), "b": (small, small, SHARP)}, kind="contour")
    assert {ax.get_xlim() for ax in panels(figure)} == {(-1.0, 1.0)}


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 2)])
@pytest.mark.parametrize("kind", ["surface", "contour"])
def test_panels_do_not_overlap(count, rows, kind):
    figure = compare({str(i): (X, X, SHARP) for i in range(count)}, kind=kind)
    boxes = [ax.get_position() for ax in figure.axes]
    assert len({round(box.y0, 6) for box in boxes[:-1]}) == rows
    for i, one in enumerate(boxes):
        assert 0 <= one.x0 < one.x1 <= 1
        assert 0 <= one.y0 < one.y1 <= 1
        for other in boxes[i + 1 :]:
            apart = (
                one.x1 <= other.x0 or other.x1 <= one.x0
                or one.y1 <= other.y0 or other.y1 <= one.y0
            )  # fmt: skip
            assert apart


def test_words_stay_inside_the_figure():
    captions = dict.fromkeys(PAIR, "λmax 738.8 [738.1, 741.9]\ntest accuracy 91.2 ± 0.4 %")
    figure = compare(PAIR, captions=captions, vmax=2)
    figure.savefig(io.BytesIO(), format="png")
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_an_unknown_kind_is_refused():
    with pytest.raises(RequestError, match="kind: 'heat' is none of surface, contour"):
        compare(PAIR, kind="heat")


def test_no_surfaces_are_refused():
    with pytest.raises(RequestError, match="surfaces"):
        compare({})
