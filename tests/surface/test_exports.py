import base64
import csv
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.surface.exports import export, save_csv, save_obj, save_vtp, save_vts
from landscape.surface.result import Surface

X, Y = np.array([-1.0, 0.0, 1 / 3]), np.array([0.5, 2.0])
LOSS = np.array([[1.0, 0.1, 1e-17], [3.0, 7.25, 2 / 3]])
MESHES = (".vts", ".vtp", ".obj")


def plane(loss=LOSS):
    done = np.ones(loss.shape, bool)
    done[1, 0] = False
    return Surface(
        x=X,
        y=Y,
        metrics={"train_loss": loss, "train_acc": 10 * loss},
        done=done,
        interpolated=~done,
        cosine=0.0,
        lengths=(1.0, 1.0),
    )


def transposed(surface):
    """The same values with x and y exchanged."""
    turned = {name: values.T for name, values in surface.metrics.items()}
    flags = {"done": surface.done.T, "interpolated": surface.interpolated.T}
    return replace(surface, x=surface.y, y=surface.x, metrics=turned, **flags)


def line():
    flags = np.ones(3, bool)
    return Surface(X, None, {"train_loss": LOSS[0]}, flags, ~flags, float("nan"), (1.0,))


def with_value(value, row=1, column=0):
    loss = LOSS.copy()
    loss[row, column] = value
    return plane(loss)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def vtk_arrays(path):
    """{(section, name): array} of a VTK XML file."""
    found = {}
    types = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}
    for section in ElementTree.parse(path).getroot().find("./*/Piece"):
        for array in section.iter("DataArray"):
            dtype = types[array.get("type")]
            if array.get("format") == "binary":
                raw = base64.b64decode(array.text)
                assert int.from_bytes(raw[:8], "little") == len(raw) - 8
                values = np.frombuffer(raw[8:], dtype)
            else:
                values = np.array(array.text.split(), dtype)
            shape = (-1, 3) if array.get("NumberOfComponents") == "3" else -1
            found[section.tag, array.get("Name")] = values.reshape(shape)
    return found


def obj_elements(path):
    """Vertices and faces; the indices of the faces begin at 0."""
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = [[float(v) for v in line[1:]] for line in lines if line[0] == "v"]
    faces = [[int(v) - 1 for v in line[1:]] for line in lines if line[0] == "f"]
    return np.array(vertices), faces


def mesh_points(path):
    return obj_elements(path)[0] if path.suffix == ".obj" else vtk_arrays(path)["Points", "Points"]


def mesh_cells(path):
    if path.suffix == ".obj":
        return obj_elements(path)[1]
    return vtk_arrays(path)["Polys", "connectivity"].reshape(-1, 4).tolist()


def test_a_table_gives_every_number_back_exactly(tmp_path):
    save_csv(with_value(np.inf), tmp_path / "s.csv")
    found = rows(tmp_path / "s.csv")
    assert list(found[0]) == ["x", "y", "train_loss", "train_acc", "done", "interpolated"]
    assert [(float(r["x"]), float(r["y"])) for r in found] == [(x, y) for y in Y for x in X]
    assert [float(r["train_loss"]) for r in found] == [1.0, 0.1, 1e-17, np.inf, 7.25, 2 / 3]
    assert [r["done"] for r in found] == ["1", "1", "1", "0", "1", "1"]
    assert [r["interpolated"] for r in found] == ["0", "0", "0", "1", "0", "0"]


def test_a_line_is_a_table_without_y(tmp_path):
    assert export(line(), tmp_path / "s.csv") == 0
    found = rows(tmp_path / "s.csv")
    assert list(found[0]) == ["x", "train_loss", "done", "interpolated"]
    assert [float(r["train_loss"]) for r in found] == LOSS[0].tolist()


@pytest.mark.parametrize("suffix", MESHES)
def test_points_lie_x_fastest_at_the_height_of_the_metric(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    assert export(plane(), path) == 0
    expected = [[x, y, LOSS[i, j]] for i, y in enumerate(Y) for j, x in enumerate(X)]
    np.testing.assert_array_equal(mesh_points(path), expected)


@pytest.mark.parametrize("suffix", [".vtp", ".obj"])
def test_cells_turn_counter_clockwise_around_neighbouring_points(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    export(plane(), path)
    assert mesh_cells(path) == [[0, 1, 4, 3], [1, 2, 5, 4]]
    export(transposed(plane()), path)
    assert mesh_cells(path) == [[0, 1, 3, 2], [2, 3, 5, 4]]


@pytest.mark.parametrize("suffix", MESHES)
def test_heights_are_cut_before_the_logarithm_of_the_loss_plus_a_tenth(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    export(with_value(np.inf), path, log=True, cut=2.0)
    expected = np.log(np.minimum([1.0, 0.1, 1e-17, np.inf, 7.25, 2 / 3], 2.0) + 0.1)
    np.testing.assert_allclose(mesh_points(path)[:, 2], expected, rtol=1e-15)


@pytest.mark.parametrize("suffix", MESHES)
@pytest.mark.parametrize(
    ("value", "drawn"), [(np.inf, 7.25), (np.nan, 7.25), (-np.inf, 1e-17)], ids=str
)
def test_a_point_that_is_not_finite_lies_at_the_end_of_the_heights(tmp_path, suffix, value, drawn):
    path = tmp_path / f"s{suffix}"
    assert export(with_value(value), path) == 1
    assert mesh_points(path)[3].tolist() == [-1.0, 2.0, drawn]


@pytest.mark.parametrize("suffix", [".vtp", ".obj"])
def test_cells_at_a_point_that_is_not_finite_are_left_out(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    assert export(with_value(np.inf), path) == 1
    assert mesh_cells(path) == [[1, 2, 5, 4]]
    assert export(with_value(np.inf, column=1), path) == 2
    assert mesh_cells(path) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_structured_grid_hides_what_is_not_finite(tmp_path, value):
    assert save_vts(with_value(value), tmp_path / "s.vts") == 1
    found = vtk_arrays(tmp_path / "s.vts")
    assert found["PointData", "vtkGhostType"].tolist() == [0, 0, 0, 2, 0, 0]
    assert found["CellData", "vtkGhostType"].tolist() == [32, 0]
    expected = with_value(np.nan).loss.ravel()
    np.testing.assert_array_equal(found["PointData", "train_loss"], expected)


def test_a_structured_grid_holds_every_metric_and_the_size_of_the_grid(tmp_path):
    save_vts(plane(), tmp_path / "s.vts", height="train_acc")
    grid = ElementTree.parse(tmp_path / "s.vts").getroot().find("StructuredGrid")
    assert grid.get("WholeExtent") == "0 2 0 1 0 0"
    found = vtk_arrays(tmp_path / "s.vts")
    np.testing.assert_array_equal(found["Points", "Points"][:, 2], 10 * LOSS.ravel())
    np.testing.assert_array_equal(found["PointData", "zvalue"], 10 * LOSS.ravel())
    np.testing.assert_array_equal(found["PointData", "train_loss"], LOSS.ravel())
    np.testing.assert_array_equal(found["PointData", "done"], [1, 1, 1, 0, 1, 1])


def test_poly_data_holds_heights_and_their_means_as_li_et_al_name_them(tmp_path):
    save_vtp(plane(), tmp_path / "s.vtp")
    found = vtk_arrays(tmp_path / "s.vtp")
    np.testing.assert_array_equal(found["PointData", "zvalue"], LOSS.ravel())
    means = [(1 + 0.1 + 3 + 7.25) / 4, (0.1 + 1e-17 + 7.25 + 2 / 3) / 4]
    np.testing.assert_allclose(found["CellData", "averaged zvalue"], means, rtol=1e-15)
    assert found["Polys", "offsets"].tolist() == [4, 8]


def test_an_object_says_what_its_height_is_and_what_is_left_out(tmp_path):
    save_obj(with_value(np.nan), tmp_path / "s.obj", log=True, cut=5)
    text = (tmp_path / "s.obj").read_text()
    assert "z = log(min(train_loss, 5) + 0.1)" in text
    assert "1 of 2 cells left out" in text


@pytest.mark.parametrize("suffix", MESHES)
@pytest.mark.parametrize(
    ("surface", "options", "message"),
    [
        (line(), {}, "it is a line"),
        (plane(), {"height": "test_loss"}, "use one of train_loss, train_acc"),
        (plane(np.full((2, 3), np.nan)), {}, "no value of train_loss is finite"),
    ],
)
def test_what_has_no_mesh_is_refused(tmp_path, suffix, surface, options, message):
    with pytest.raises(RequestError, match=message):
        export(surface, tmp_path / f"s{suffix}", **options)
    assert not list(tmp_path.iterdir())


def test_a_grid_with_one_row_has_no_area(tmp_path):
    flags = np.ones((1, 3), bool)
    row = Surface(X, Y[:1], {"train_loss": LOSS[:1]}, flags, ~flags, 0.0, (1.0, 1.0))
    with pytest.raises(RequestError, match="3 x 1 points has no area"):
        export(row, tmp_path / "s.obj")
    export(row, tmp_path / "s.csv")
    assert len(rows(tmp_path / "s.csv")) == 3


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"none of \.vts, \.vtp, \.obj, \.csv"):
        export(plane(), tmp_path / "s.stl")


@pytest.mark.parametrize("suffix", [*MESHES, ".csv"])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    path.mkdir()
    with pytest.raises(RequestError, match="cannot be written"):
        export(plane(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "s.csv"
    export(plane(), path)
    before = path.read_bytes()
    broken = plane()
    broken.metrics["train_acc"] = np.zeros(2)  # too few values: the writer stops half way
    with pytest.raises(ValueError, match="shorter"):
        export(broken, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]
