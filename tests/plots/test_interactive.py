import json
import re
import sys

import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.plots.interactive import interactive, interactive_html
from landscape.surface import Surface

X, Y = np.linspace(-1, 1, 4), np.linspace(-1, 1, 3)
BOWL = X**2 + Y[:, None] ** 2 + 0.1


def plane(loss=BOWL, **more):
    return Surface(
        X, Y, {"train_loss": loss, "train_acc": 100 - loss}, np.ones((3, 4), bool),
        np.eye(3, 4, dtype=bool), 0.0, (1.0, 1.0), **more,
    )  # fmt: skip


def surfaces(figure):
    return [trace for trace in figure.data if trace.type == "surface"]


def test_surfaces_stand_side_by_side_on_one_scale():
    figure = interactive({"plain": plane(), "SAM": plane(BOWL / 2)})
    first, second = surfaces(figure)
    np.testing.assert_array_equal(first.z, BOWL)
    np.testing.assert_array_equal(second.z, BOWL / 2)
    assert first.coloraxis == second.coloraxis == "coloraxis"
    assert figure.layout.coloraxis.cmin == pytest.approx(BOWL.min() / 2)
    assert figure.layout.scene.zaxis.range == figure.layout.scene2.zaxis.range
    assert [note.text.split("<br>")[0] for note in figure.layout.annotations] == ["plain", "SAM"]


def test_a_menu_switches_the_metric_of_all_of_them():
    figure = interactive({"plain": plane(), "SAM": plane(BOWL / 2)})
    menu = figure.layout.updatemenus[0]
    assert [button.label for button in menu.buttons] == ["train_loss", "train_acc"]
    heights = menu.buttons[1].args[0]["z"]
    assert len(heights) == len(figure.data)
    np.testing.assert_allclose(heights[0], 100 - BOWL)


def test_pointing_tells_place_values_and_what_was_interpolated():
    told = surfaces(interactive({"": plane()}))[0].text
    assert told[0][0].startswith("x = -1, y = -1<br>train_loss: 2.1")
    assert "interpolated" in told[0][0]
    assert "interpolated" not in told[0][1]


def test_what_is_not_finite_is_a_hole():
    loss = BOWL.copy()
    loss[0, 0] = np.inf
    found = surfaces(interactive({"": plane(loss)}))[0].z
    assert np.isnan(found[0][0])
    assert np.isfinite(np.ravel(found)[1:]).all()


def test_what_is_not_shown_as_it_is_is_counted_for_each_metric():
    loss, done = BOWL.copy(), np.ones((3, 4), bool)
    loss[0, 0], loss[0, 1:3], done[2, 3] = np.inf, 0.0, False
    holed = Surface(
        X, Y, {"train_loss": loss, "train_acc": BOWL}, done, ~done, 0.0, (1.0, 1.0),
        markers={"SAM": (0.0, 3.0)}, path=np.array([[5.0, 0.0], [0.0, 0.0]]),
    )  # fmt: skip
    figure = interactive({"plain": plane(), "": holed}, log=True)
    told = [
        "11 of 12 points so far",
        "1 of 12 points interpolated",
        "1 of 12 points without a finite value",
        "2 of 12 points not positive, absent from logarithmic heights",
        "1 of 2 steps outside",
        "outside: SAM",
    ]
    assert figure.layout.annotations[1].text == "<br>".join(f"<sub>{text}</sub>" for text in told)
    switched = figure.layout.updatemenus[0].buttons[1].args[1]
    assert "finite" not in switched["annotations[1].text"]
    assert interactive({"": plane()}).layout.annotations[0].text.strip().startswith("<sub>3 of 12")


def test_checkpoints_and_paths_lie_on_the_surface():
    places = plane(markers={"SAM": (1.0, 0.0)}, path=np.array([[1.0, 1.0], [0.5, 0.5], [0, 0]]))
    marks, path = (t for t in interactive({"": places}).data if t.type == "scatter3d")
    assert list(marks.text) == ["checkpoint", "SAM"]
    assert marks.z[1] == pytest.approx(1.1)
    assert list(path.x) == [1.0, 0.5, 0.0]


def test_lines_are_curves():
    line = Surface(X, None, {"train_loss": X**2}, np.ones(4, bool), np.zeros(4, bool), np.nan, (1,))
    (trace,) = interactive({"": line}, log=True).data
    np.testing.assert_array_equal(trace.y, X**2)
    with pytest.raises(RequestError, match="not planes and lines together"):
        interactive({"a": line, "b": plane()})


def test_axes_are_named_after_each_surfaces_own_directions():
    pair = [{"x": "pca:2", "y": "to:a/ViT"}, {"x": "random", "y": "gradient"}]
    first, second = (plane(attributes={"directions": names}) for names in pair)
    layout = interactive({"a": first, "b": second}).layout
    for scene, names in ((layout.scene, ["component 2", "towards ViT"]),
                         (layout.scene2, ["direction 1", "along the gradient"])):  # fmt: skip
        assert [scene.xaxis.title.text, scene.yaxis.title.text] == names
    line = Surface(X, None, {"train_loss": X**2}, np.ones(4, bool), np.zeros(4, bool), np.nan, (1,),
                   attributes={"directions": {"x": "gradient"}})  # fmt: skip
    assert interactive({"": line}).layout.xaxis.title.text == "along the gradient"


def test_the_page_begins_with_the_metric_asked_for():
    figure = interactive({"": plane()}, metric="train_acc")
    np.testing.assert_allclose(surfaces(figure)[0].z, 100 - BOWL)
    assert figure.layout.coloraxis.colorbar.title.text == "train_acc"
    assert figure.layout.updatemenus[0].active == 1


def test_surfaces_that_share_no_loss_are_refused():
    test = Surface(X, Y, {"test_loss": BOWL}, np.ones((3, 4), bool), np.zeros((3, 4), bool), 0.0,
                   (1.0, 1.0))  # fmt: skip
    with pytest.raises(RequestError, match="not every surface has 'loss'"):
        interactive({"a": plane(), "b": test})


def test_the_page_needs_nothing_else():
    page = interactive_html({"plain": plane()})
    assert page.startswith("<!doctype html>")
    assert "Plotly.newPlot" in page
    assert not re.search(r"<script[^>]+src=", page)
    assert json.dumps("train_acc") in page


def test_without_plotly_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.subplots", None)
    with pytest.raises(RequestError, match=r"pip install 'landscape\[plotly\]'"):
        interactive({"": plane()})
