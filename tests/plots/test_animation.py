import numpy as np
import pytest
from PIL import Image

from landscape.errors import RequestError
from landscape.plots.animation import animate, save_animation

X = np.linspace(-1, 1, 5)
BOWL = X**2 + X[:, None] ** 2 + 0.1


@pytest.mark.parametrize("kind", ["surface", "contour"])
def test_every_frame_has_its_title_and_the_range_of_all(tmp_path, kind):
    frames = [("step 1", X, X, 3 * BOWL), ("step 2", X, X, BOWL)]
    made = animate(frames, kind=kind, dark=kind == "contour")
    limits = []
    for number, (title, *_) in enumerate(frames):
        (ax,) = made._func(number)
        assert ax.get_title() == title
        limits.append(ax.get_zlim() if kind == "surface" else ax.get_xlim())
    assert limits[0] == limits[1]
    save_animation(made, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 2


@pytest.mark.parametrize("kind", ["surface", "contour"])
def test_frames_say_what_heights_and_axes_are(kind):
    made = animate([("", X, X, BOWL)], kind=kind, label="max eig", axes_names=("one", "two"))
    (ax,) = made._func(0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("one", "two")
    assert "max eig" in {text.get_text() for text in ax.texts}
    made._draw_was_started = True  # or matplotlib warns of an animation nobody saw


@pytest.mark.parametrize("kind", ["surface", "contour"])
def test_words_stay_inside_the_frame(kind):
    holed = np.where(BOWL > 2, np.nan, BOWL)
    made = animate([("step 1\n9 of 25 points so far", X, X, holed)], kind=kind, vmax=1)
    (ax,) = made._func(0)
    ax.figure.draw_without_rendering()
    for text in (ax.title, *ax.texts):
        box = text.get_window_extent()
        assert 0 <= box.y0 < box.y1 <= ax.figure.bbox.y1, text.get_text()
    assert ax.texts[-1].get_text().count("\n") == 2
    made._draw_was_started = True  # or matplotlib warns of an animation nobody saw


def test_what_cannot_be_animated_or_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="there are none"):
        animate([])
    with pytest.raises(RequestError, match="kind: 'pie'"):
        animate([("", X, X, BOWL)], kind="pie")
    made = animate([("", X, X, BOWL)])
    with pytest.raises(RequestError, match=r"neither \.gif nor \.mp4"):
        save_animation(made, tmp_path / "a.avi")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(RequestError, match="needs ffmpeg"):
        save_animation(made, tmp_path / "a.mp4")
    made._draw_was_started = True  # or matplotlib warns of an animation nobody saw
