"""The command ``surface`` on a small trained network."""

import io
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.text import Text
from rich.console import Console

from landscape import plots, results
from landscape.cli import main, surface_pictures, surface_run
from landscape.cli.surface import Options, execute, summary
from landscape.cli.surface_plane import _around
from landscape.errors import OtherVersion, RequestError
from landscape.objective import Objective
from landscape.surface import Measures, Plane, compute_surface, coordinates, read_surface

WRITER = Path(__file__).parents[1] / "surface" / "kill_writer.py"


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """A run folder with five saved steps."""
    folder = tmp_path_factory.mktemp("steps") / "mixer"
    arguments = ["train", "--model", "Mixer-Mini/2", "--epochs", "0.8", "--checkpoint-every", "2"]
    assert main([*arguments, "--keep", "None", "--out", str(folder), "--quiet", "--json"]) == 0
    return folder


@pytest.fixture
def surface(run, call, tmp_path):
    def compute(*arguments, checkpoint=run, out="s.h5"):
        small = ["--images", 32, "--grid", 3, "--out", tmp_path / out]
        status, found, err = call("surface", "--checkpoint", checkpoint, *small, *arguments)
        assert status == 0, err
        return found

    return compute


def test_both_splits_and_every_metric_come_in_one_file(surface):
    found = surface("--both-splits", "--gradient-norm", "--l2", 0.1, "--grid", "3x2")
    assert {"train_loss", "test_loss", "train_acc", "train_loss_population_error",
            "train_acc_split_error", "test_gradient_norm",
            "train_data_loss", "train_l2_term"} <= set(found["metrics"])  # fmt: skip
    assert found["grid"] == [3, 2]
    assert not found["checkpoint_on_grid"]
    assert 0 < found["largest_split_error"] < found["largest_population_error"]


def test_over_a_whole_test_split_only_the_error_for_the_population_is_left(surface):
    found = surface("--split", "test", "--images", "None", "--grid", 2)
    assert found["largest_split_error"] == 0
    assert found["largest_population_error"] > 0


def test_by_default_the_checkpoint_is_a_point_of_the_surface():
    columns, rows = surface_run._grid(Options().grid, 2)
    assert 0 in coordinates(-1, 1, columns)
    assert 0 in coordinates(-1, 1, rows)
    assert columns * rows == 2601
    assert 0 in coordinates(-1, 1)
    for places in ([0, 1], [-0.3, 0, 2.7], [0], [0, -1e-3]):
        axis = coordinates(*_around(places, 51), 51)
        assert 0 in axis
        assert axis[0] < min(places) <= max(places) < axis[-1]


def test_points_without_a_certified_lambda_max_are_counted_and_told_by_the_status(tmp_path):
    def cusp(w, batch):
        return jnp.sum(jnp.abs(w) ** 1.5) * batch  # at zero its second derivative is infinite

    made, path = Objective(cusp, jnp.ones(1), [jnp.ones(3)]), tmp_path / "s.h5"
    wanted = Measures(lambda_max=0.01)
    compute_surface(made, [jnp.ones(1)], [0.0, 1.0], measures=wanted, out=path)
    found = summary([path])
    assert (found.converged, found.data["lambda_max_not_finite"]) == (True, 0)
    (tmp_path / "s.h5").unlink()
    compute_surface(made, [jnp.ones(1)], [-1.0, 0.0, 1.0], measures=wanted, out=path)
    with h5py.File(path, "r+", libver=("earliest", "v108")) as file:
        file["max_eig_converged"][2] = 0
    found = summary([path])
    assert not found.converged
    assert found.data["lambda_max_not_finite"] == found.data["lambda_max_not_converged"] == 1


def test_the_picture_of_an_unfinished_line_shows_what_is_there_and_says_so(
    surface, tmp_path, monkeypatch
):
    found = surface("--y", "none", "--both-splits", "--grid", 5)
    with h5py.File(found["file"], "r+", libver=("earliest", "v108")) as file:
        file["done"][3] = 0
        file["train_loss"][3] = np.nan
    drawn = []
    monkeypatch.setattr(surface_pictures, "_save", lambda figure, *_: drawn.append(figure))
    surface("--draw", found["file"], "--picture", tmp_path / "s.png")
    ax = drawn[0].axes[0]
    assert len(ax.get_lines()[0].get_xdata()) == 4
    assert ax.texts[0].get_text() == "4 of 5 points so far"
    names = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"train ± standard error, split", "test ± standard error, population"} <= names


def test_the_bounds_below_a_picture_contain_the_bounds(tmp_path, monkeypatch):
    attributes = {"confidence": 0.999}
    data = {
        "targets": np.array(["whole"]), "done": np.array([True]),
        "lambda_max_lower": np.array([33.158869]), "lambda_max_upper": np.array([33.160400]),
    }  # fmt: skip
    found = results.Stored(tmp_path / "hessian.h5", attributes, data)
    found.path.touch()
    monkeypatch.setattr(results, "read", lambda *_: found)
    monkeypatch.setattr(surface_pictures, "read", lambda _: types.SimpleNamespace(attributes={}))
    told = surface_pictures._sharpness(types.SimpleNamespace(hessian=None), tmp_path / "s.h5")
    assert told == "λmax between 33.15 and 33.17 (99.9 %)"


def test_an_eigenvalue_of_another_version_is_left_out_unless_it_is_asked_for(tmp_path):
    path = tmp_path / "hessian.h5"
    results.ResultFile(path, "hessian", request={}, fields={}, done=(1,)).close()
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 1
    options, beside = types.SimpleNamespace(hessian=None), tmp_path / "s.h5"
    assert surface_pictures._sharpness(options, beside) == ""
    options.hessian = str(path)
    with pytest.raises(OtherVersion, match="an earlier version of landscape"):
        surface_pictures._sharpness(options, beside)


def test_pictures_with_checkpoints_carry_what_is_said_of_them(
    surface, steps, tmp_path, monkeypatch
):
    arguments = ["--x", f"to:{steps}@2", "--grid", "9", "--images", 4, "--adaptive", 0.5]
    found = surface(*arguments, checkpoint=steps)
    drawn = []
    monkeypatch.setattr(surface_pictures, "_save", lambda figure, *_: drawn.append(figure))
    with h5py.File(found["file"], "r+", libver=("earliest", "v108")) as file:
        file["interpolated"][0] = 1
    for files in ([found["file"]], [found["file"], tmp_path / "t.h5"]):
        shutil.copy(found["file"], tmp_path / "t.h5")
        surface("--draw", *files, "--picture", tmp_path / "s.png", checkpoint=steps)
    alone, together = drawn
    assert "9 of 81 points interpolated" in alone.axes[0].texts[-1].get_text()
    assert sum("checkpoints not drawn" in text.get_text() for text in together.texts) == 2


@pytest.mark.parametrize(("x", "y"), [("gradient", "sam"), ("eigenvector:1", "random")])
def test_directions_can_come_from_derivatives(surface, x, y):
    found = surface("--x", x, "--y", y, "--orthogonalize", "--images", 8, "--grid", 2)
    assert found["cosine"] == pytest.approx(0, abs=1e-4)
    assert len(found["lengths"]) == 2


def test_finished_directions_are_not_computed_again(surface, monkeypatch):
    first = surface("--x", "gradient", "--y", "none")
    monkeypatch.setattr("landscape.surface.gradient_direction", None)
    assert surface("--x", "gradient", "--y", "none") == first


def test_the_line_to_another_checkpoint_ends_there(surface, steps, call):
    found = surface("--x", f"to:{steps}@2", "--y", "none", "--range=0:1", checkpoint=steps)
    stored = read_surface(found["file"])
    _, there, _ = call("evaluate", "--checkpoint", f"{steps}@2", "--images", 32)
    assert stored.loss[-1] == pytest.approx(there["loss"], rel=1e-4)
    assert stored.markers["mixer@2"] == pytest.approx((1.0,))
    assert found["cosine"] is None


def test_the_plane_of_a_trajectory_comes_with_its_path(surface, steps, tmp_path):
    picture = tmp_path / "s.png"
    found = surface("--x", "pca:1", "--y", "pca:2", "--picture", picture, checkpoint=steps)
    stored = read_surface(found["file"])
    assert stored.path.shape == (5, 2)
    assert 0.5 < sum(found["explained"]) <= 1
    assert stored.x[0] < stored.path[:, 0].min() < stored.path[:, 0].max() < stored.x[-1]
    assert picture.stat().st_size > 5_000


def test_every_step_of_a_run_gets_its_surface_along_the_same_directions(surface, steps, tmp_path):
    found = surface(
        "--along-training", "--animation", tmp_path / "a.gif", checkpoint=steps, out="each.h5"
    )
    files = sorted(tmp_path.glob("each-*.h5"))
    assert len(files) == 5
    with h5py.File(files[0]) as one, h5py.File(files[1]) as other:
        name = "directions/x/stem/kernel"
        np.testing.assert_array_equal(one[name], other[name])
    assert (tmp_path / "a.gif").stat().st_size > 5_000
    assert str(tmp_path / "a.gif") in found["written"]


def test_directions_can_be_taken_from_files(surface, tmp_path):
    first = surface("--li-directions", tmp_path / "li.h5", "--seed", 3)
    loss = read_surface(first["file"]).loss
    for name in ("s.h5", "li.h5"):
        again = surface("--x", f"file:{tmp_path / name}", "--y", f"file:{tmp_path / name}",
                        out=f"from-{name}")  # fmt: skip
        np.testing.assert_allclose(read_surface(again["file"]).loss, loss, rtol=1e-6)


def test_refinement_tells_how_much_it_interpolated(surface):
    found = surface("--grid", 17, "--adaptive", 0.2, "--images", 16)
    assert found["points"] == 289
    assert 0 < found["interpolated"] < 289


def test_points_can_be_spread_over_devices(surface):
    alone, spread = surface(), surface("--devices", 8, out="spread.h5")
    for metric in alone["metrics"]:
        np.testing.assert_allclose(
            *(read_surface(found["file"]).metrics[metric] for found in (alone, spread)), rtol=1e-5
        )


def test_the_range_of_each_axis_can_be_given(surface):
    stored = read_surface(surface("--range=-0.5:1,0:2")["file"])
    assert (stored.x[0], stored.x[-1], stored.y[0], stored.y[-1]) == (-0.5, 1, 0, 2)


def test_finished_surfaces_are_drawn_without_computing(surface, call, tmp_path):
    surface()
    surface("--seed", 1, out="t.h5")
    made = [tmp_path / name for name in ("p.pdf", "p.html", "p.vts", "p.obj", "p.csv", "p.vtp")]
    picture, page, *meshes = made
    files, written = [tmp_path / "s.h5", tmp_path / "t.h5"], []
    for arguments in (
        [*files, "--picture", picture, "--kind", "contour", "--html", page, "--dark"],
        [files[0], "--export", *meshes],
    ):
        status, found, err = call("surface", "--draw", *arguments, "--log")
        assert status == 0, err
        written += found["written"]
    assert sorted(written) == sorted(map(str, made))
    assert all(path.stat().st_size > 300 for path in made)
    more = ("--metric", "nothing", "--picture", picture)
    status, _, err = call("surface", "--draw", files[0], *more)
    assert (status, "metric: there is no 'nothing'" in err) == (2, True)


def test_metrics_that_cannot_be_drawn_are_refused_before_the_grid_is_evaluated(
    steps, call, tmp_path
):
    arguments = ["surface", "--checkpoint", steps, "--grid", "3", "--images", 4]
    arguments += ["--out", tmp_path / "s.h5", "--picture", tmp_path / "s.png"]
    status, _, err = call(*arguments, "--y", "none", "--metric", "train_acc")
    assert (status, "metric: pictures of lines" in err) == (2, True)
    assert not (tmp_path / "s.h5").exists()
    status, _, err = call(*arguments, "--metric", "accuracy")
    assert (status, "there is no 'accuracy'; use train_loss, " in err) == (2, True)
    assert not results.read(tmp_path / "s.h5")["done"].any()


def test_a_running_computation_is_watched_without_disturbing_it(call, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, WRITER, tmp_path / "s.h5", tmp_path / "log", "25"]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
    while not (tmp_path / "s.h5").exists():
        assert process.poll() is None
    status, found, err = call("surface", "--watch", tmp_path / "s.h5")
    assert status == 0, err
    assert process.wait() == 0
    assert found["points"] == 25 * 25
    assert (tmp_path / "s.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--x", "sideways"], "x: 'sideways' is no direction"),
        (["--x", "eigenvector:0"], "is no direction"),
        (["--y", "to:"], "y: 'to:' is no direction"),
        (["--x", "file:none.h5"], "there is no none.h5"),
        (["--range", "3:1"], "range: from 3 to 1 there is no range"),
        (["--range", "a:b"], "range: 'a:b' is no range"),
        (["--range=0:1,0:1,0:1"], "is no range"),
        (["--range=inf"], "range: from -inf to inf there is no range"),
        (["--range=nan"], "range: from nan to nan there is no range"),
        (["--range=1e400"], "range: from -inf to inf there is no range"),
        (["--range=-1e308:1e308"], "there is no range"),
        (["--range=0"], "there is no range"),
        (["--range", ""], "range: '' is no range"),
        (["--x", "eigenvector:" + "9" * 5000], "is no direction"),
        (["--grid", "0"], "grid: 0 has an axis of 0 points"),
        (["--grid", "1"], "grid: 1 has an axis of 1 points"),
        (["--grid", "5x1"], "grid: 5x1 has an axis of 1 points"),
        (["--grid=-5"], "grid: '-5' is no grid"),
        (["--grid", "\u0663"], "is no grid"),
        (["--grid", "5x5x5"], "is no grid"),
        (["--grid", "9" * 5000], "is no grid"),
        (["--grid", "1000000000"], "grid: 1,000,000,000,000,000,000 points need 256,000,000,000.0"),
        (["--grid", "9" * 12, "--y", "none"], "grid: 999,999,999,999 points need 256,000.0 GB"),
        (["--batchnorm", "re-estimated"], "keeps no running statistics"),
        (["--y", "none", "--metric", "train_acc", "--picture", "s.png"], "metric: pictures of"),
        (["--adaptive", "-1"], "adaptive: -1 is no tolerance"),
        (["--watch", "none.h5"], "no file none.h5"),
        (["--animation", "a.gif"], "animation: it needs several surfaces"),
        (["--picture", "s.what"], "picture: s.what is of no format here; use .png"),
        (["--draw", "a.h5", "b.h5", "--export", "a.csv"], "export: it writes one surface"),
        (["--along-training", "--export", "a.csv"], "export: it writes one surface"),
        (["--watch", "a.h5", "--html", "a.html"], "html: --watch draws heights only"),
        (["--watch", "a.h5", "--vmax", "3"], "vmax: --watch draws heights only"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_in_one_line(run, call, tmp_path, arguments, told):
    base = ["surface", "--checkpoint", run, "--images", 16, "--grid", 3, "--out", tmp_path / "s.h5"]
    status, _, err = call(*base, *arguments)
    assert status == 2
    assert told in err
    assert err.count("\n") == 1


def test_a_folder_without_a_step_has_no_surface_along_its_training(call, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = call("surface", "--checkpoint", tmp_path / "empty", "--along-training")
    assert (status, err.count("\n")) == (2, 1)
    assert "is not a run folder" in err
    (tmp_path / "empty" / "config.json").write_text('{"schema": 1}')
    for more in (("--along-training",), ("--x", "pca:1", "--y", "pca:2", "--data", "digits")):
        status, _, err = call("surface", "--checkpoint", tmp_path / "empty", *more)
        assert (status, err.count("\n")) == (2, 1)
        assert "has no complete checkpoint yet" in err


def test_other_directions_are_not_mixed_into_a_file(surface, run, call, tmp_path):
    surface()
    arguments = ["--images", 32, "--grid", 3, "--out", tmp_path / "s.h5", "--seed", 7]
    status, _, err = call("surface", "--checkpoint", run, *arguments)
    assert status == 2
    assert "was made with the directions" in err


X = np.linspace(-1, 1, 9)


def stored(name, *, directions=("random", "random"), split="train", plane=True, **places):
    """A bowl, or a line through it, written as a computed surface is."""
    bowl = Objective(lambda w, b: (0.5 * w @ w + 0.1) * b, jnp.zeros(2), [jnp.ones(1)])
    count, path = 2 if plane else 1, Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    origins = dict(zip("xy", directions, strict=True))
    made = Plane(tuple(jnp.eye(2)[:count]), identity=origins, **places)
    compute_surface({split: bowl}, made, *[X] * count, out=path)
    return path


def draw(monkeypatch, **options):
    """The words of the picture that --draw makes."""
    drawn = []
    monkeypatch.setattr(surface_pictures, "_save", lambda figure, *_: drawn.append(figure))
    execute(Options(picture="s.png", quiet=True, **options))
    return [text.get_text() for text in drawn[-1].findobj(Text)]


def test_every_file_that_is_drawn_has_a_title_of_its_own(tmp_path):
    names = [
        ["seed0/ViT/surface.h5", "seed1/ViT/surface.h5"],
        ["a/ViT/s.h5", "a/ViT/t.h5", "b/ViT/s.h5"],
        ["a/s.h5", "a/s.hdf5"],
        ["a/b/s.h5", "b/b/s.h5", "s.h5"],
    ]
    for each in names:
        titles = surface_pictures._titles([tmp_path / name for name in each])
        assert len(set(titles)) == len(each), titles
    assert surface_pictures._titles([Path(name) for name in names[0]]) == ["seed0/ViT", "seed1/ViT"]
    with pytest.raises(RequestError, match="is named twice"):
        surface_pictures._titles([tmp_path / "s.h5", tmp_path / "a" / ".." / "s.h5"])


def test_surfaces_of_the_same_step_are_all_drawn(tmp_path, monkeypatch):
    files = [str(stored(tmp_path / name)) for name in ("a.h5", "b.h5")]
    words = draw(monkeypatch, draw=tuple(files), along_training=True)
    assert {"a", "b"} <= set(words)


@pytest.mark.parametrize("kind", ["surface", "contour"])
def test_panels_of_different_heights_and_directions_say_which_they_show(
    tmp_path, monkeypatch, kind
):
    one = stored(tmp_path / "a.h5", directions=("eigenvector:1", "gradient"))
    other = stored(tmp_path / "b.h5", split="test")
    words = draw(monkeypatch, draw=(str(one), str(other)), kind=kind)
    assert "height: train loss\ndirections: eigenvector:1 and gradient" in words
    assert "height: test loss\ndirections: random and random" in words
    assert "test loss or train loss" in words
    assert "eigenvector 1" not in words
    words = draw(monkeypatch, draw=(str(one),), kind=kind)
    assert {"train loss", "eigenvector 1", "along the gradient"} <= set(words)
    assert not any("height:" in word for word in words)


def test_animations_say_what_their_heights_and_directions_are(tmp_path, monkeypatch):
    files = [stored(tmp_path / f"{n}.h5", directions=("pca:2", "sam")) for n in "ab"]
    made = []
    monkeypatch.setattr("landscape.plots.animation.save_animation", lambda a, _: made.append(a))
    execute(Options(draw=tuple(map(str, files)), animation="a.gif", kind="contour", quiet=True))
    (ax,) = made[0]._func(0)
    made[0]._draw_was_started = True  # or matplotlib warns of an animation nobody saw
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("component 2", "along SAM's gradient")
    assert ax.texts[-1].get_text().splitlines()[0] == "train loss"


def test_a_contour_with_checkpoints_says_what_its_heights_are(tmp_path, monkeypatch):
    path = stored(tmp_path / "s.h5", markers={"SAM": (0.5, 0.5)})
    assert "train loss" in draw(monkeypatch, draw=(str(path),), metric="train_loss")


def test_the_axes_of_a_path_are_named_after_the_components_asked_for(tmp_path, monkeypatch):
    path = stored(tmp_path / "s.h5", directions=("pca:2", "pca:3"), explained=(0.12, 0.03),
                  path=np.array([[0.5, 0.5], [0.0, 0.0]]))  # fmt: skip
    words = draw(monkeypatch, draw=(str(path),))
    assert {"component 2 (12 % of variance)", "component 3 (3 % of variance)"} <= set(words)
    assert "train loss" in words


@pytest.mark.parametrize("failed", [0, 1])
def test_the_status_is_that_of_every_file(tmp_path, failed):
    line, made = [jnp.ones(1)], Objective(lambda w, b: w @ w * b, jnp.ones(1), [jnp.ones(3)])
    files = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in files:
        compute_surface(made, line, [0.0], measures=Measures(lambda_max=0.01), out=path)
    assert summary(files).converged
    with h5py.File(files[failed], "r+", libver=("earliest", "v108")) as file:
        file["max_eig_converged"][...] = 0
    found = execute(Options(draw=tuple(map(str, files)), quiet=True))
    assert not found.converged
    assert found.data["files_not_converged"] == [str(files[failed])]
    console = Console(file=io.StringIO(), width=1000)
    found.show(console)
    assert f"λmax is not certified: {files[failed]}" in console.file.getvalue()
    assert "99.9 %" in console.file.getvalue()


def test_a_watched_surface_is_drawn_as_it_was_asked_for(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(surface_pictures, "_save", lambda figure, *_: drawn.append(figure))
    asked = []
    shown = plots.watch_figure
    monkeypatch.setattr(plots, "watch_figure", lambda s, **k: asked.append(k) or shown(s, **k))
    path = stored(tmp_path / "s.h5")
    execute(Options(watch=str(path), metric="train_loss_population_error", log=True, quiet=True))
    assert asked == [{"metric": "train_loss_population_error", "log": True}]
    with pytest.raises(RequestError, match="there is no 'nothing'"):
        execute(Options(watch=str(path), metric="nothing", quiet=True))
    line = stored(tmp_path / "line.h5", plane=False)
    with pytest.raises(RequestError, match="pictures of lines"):
        execute(Options(watch=str(line), metric="train_loss", quiet=True))


def test_cells_that_an_export_leaves_out_are_counted(tmp_path):
    path = stored(tmp_path / "s.h5")
    with h5py.File(path, "r+", libver=("earliest", "v108")) as file:
        file["train_loss"][0, 0] = np.inf
    names = [str(tmp_path / name) for name in ("s.obj", "s.csv")]
    found = execute(Options(draw=(str(path),), export=tuple(names), quiet=True))
    assert (found.data["written"], found.data["cells_left_out"]) == (names, {names[0]: 1})
    console = Console(file=io.StringIO(), width=1000)
    found.show(console)
    assert "s.obj lacks cells with a corner without a height: 1" in console.file.getvalue()
