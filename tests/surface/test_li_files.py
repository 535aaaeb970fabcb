from dataclasses import dataclass

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import results
from landscape.errors import RequestError
from landscape.surface.li_files import read_li_directions, read_li_surface, write_li_directions

X, Y = np.linspace(-1, 1, 3), np.linspace(0.5, 2, 2)


def height(x, y):
    return 10 * x + y + 20


def li_surface(path, loss, **more):
    arrays = {"xcoordinates": X, "ycoordinates": Y, "train_loss": loss, "dir_file": "d.h5", **more}
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values
    return path


def crunched(x, y):
    """Values in the order of `crunch` and `get_unplotted_indices`: right places, wrong shape."""
    values = np.empty((len(x), len(y)))
    xs, ys = (mesh.ravel() for mesh in np.meshgrid(x, y))
    for index in range(values.size):
        values.ravel()[index] = height(xs[index], ys[index])
    return values


@dataclass
class Place:
    leaf: str
    axes: tuple[int, ...]


# A convolution HWIO, a dense layer (in, out), in the order and layout of a PyTorch checkpoint.
LAYOUT = [
    Place("conv/kernel", (3, 2, 0, 1)),
    Place("head/kernel", (1, 0)),
    Place("head/bias", (0,)),
]


def params(seed=0, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    shapes = {"conv": {"kernel": (3, 2, 4, 5)}, "head": {"bias": (7,), "kernel": (5, 7)}}
    return {
        layer: {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in leaves.items()}
        for layer, leaves in shapes.items()
    }


@pytest.mark.parametrize(("nx", "ny"), [(3, 2), (2, 5), (4, 4)])
def test_values_of_a_grid_that_is_not_square_get_their_places_back(tmp_path, nx, ny):
    x, y = np.linspace(-1, 1, nx), np.linspace(0, 2, ny)
    stored = crunched(x, y)
    assert stored.shape == (nx, ny)
    path = li_surface(tmp_path / "s.h5", stored, xcoordinates=x, ycoordinates=y)
    found = read_li_surface(path)
    np.testing.assert_array_equal(found.loss, height(x[None, :], y[:, None]))
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, y)
    assert found.attributes == {"dir_file": "d.h5"}
    assert found.done.all()
    assert not found.interpolated.any()
    assert np.isnan([found.cosine, *found.lengths]).all()
    assert len(found.lengths) == 2


def test_a_grid_stored_in_the_right_shape_is_read_too(tmp_path):
    right = height(X[None, :], Y[:, None])
    np.testing.assert_array_equal(read_li_surface(li_surface(tmp_path / "s.h5", right)).loss, right)


def test_minus_one_is_not_computed_while_zero_and_nan_are_results(tmp_path):
    loss = np.array([[0.0, -1.0], [np.nan, np.inf], [2.0, -1.0]])  # (nx, ny)
    accuracy = np.array([[50.0, -1.0], [0.0, 0.0], [-1.0, -1.0]])
    found = read_li_surface(li_surface(tmp_path / "s.h5", loss, train_acc=accuracy))
    np.testing.assert_array_equal(found.done, [[True, False, True], [True, True, False]])
    np.testing.assert_array_equal(found.loss, [[0.0, np.nan, np.nan], [np.inf, 2.0, np.nan]])
    np.testing.assert_array_equal(
        found.metrics["train_acc"], [[50.0, np.nan, 0.0], [0.0, np.nan, np.nan]]
    )


def test_a_line_has_no_y(tmp_path):
    loss = np.array([1.0, -1.0, 3.0])
    path = li_surface(tmp_path / "s.h5", loss, ycoordinates=None, test_loss=2 * np.abs(loss))
    found = read_li_surface(path)
    assert found.is_line
    assert found.done.tolist() == [True, False, True]
    assert found.metrics["test_loss"].tolist() == [2.0, 2.0, 6.0]
    assert len(found.lengths) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"train_loss": None}, "not xcoordinates and train_loss"),
        ({"xcoordinates": None}, "not xcoordinates and train_loss"),
        ({"train_loss": np.ones((3, 3))}, r"train_loss in .* has shape \(3, 3\)"),
        ({"train_acc": np.ones(6)}, r"train_acc in .* has shape \(6,\)"),
        ({"train_loss": "text"}, "/train_loss in .* is no array of numbers"),
        ({"xcoordinates": None, "xcoordinates/group": 1.0}, "/xcoordinates in .* is no array"),
    ],
)
def test_what_is_no_surface_of_li_et_al_is_refused(tmp_path, more, message):
    path = li_surface(tmp_path / "s.h5", **{"loss": crunched(X, Y), **more})
    with pytest.raises(RequestError, match=message) as raised:
        read_li_surface(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("read", [read_li_surface, lambda path: read_li_directions(path, params())])
def test_what_is_no_hdf5_file_is_refused(tmp_path, read):
    with pytest.raises(RequestError, match="no file"):
        read(tmp_path / "none.h5")
    (tmp_path / "pickled.h5").write_bytes(b"\x80\x04\x95" + bytes(100))
    with pytest.raises(RequestError, match="not a whole HDF5 file"):
        read(tmp_path / "pickled.h5")
    whole = li_surface(tmp_path / "s.h5", crunched(X, Y)).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RequestError, match="not a whole HDF5 file"):
        read(tmp_path / "cut.h5")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("layout", [None, LAYOUT], ids=["ours", "torch"])
def test_directions_come_back_as_they_were_written(tmp_path, count, layout):
    written = [params(seed) for seed in range(1, count + 1)]
    write_li_directions(tmp_path / "d.h5", written, layout)
    found = read_li_directions(tmp_path / "d.h5", params(), layout)
    assert len(found) == count
    for a, b in zip(found, written, strict=True):
        for layer, name in (("conv", "kernel"), ("head", "kernel"), ("head", "bias")):
            assert a[layer][name].dtype == jnp.float32
            np.testing.assert_array_equal(a[layer][name], b[layer][name])


def test_a_layout_gives_the_tensors_of_the_other_framework(tmp_path):
    direction = params(1)
    write_li_directions(tmp_path / "d.h5", [direction], LAYOUT)
    with h5py.File(tmp_path / "d.h5") as file:
        assert set(file) == {"xdirection"}
        tensors = [file["xdirection"][str(i)][...] for i in range(len(file["xdirection"]))]
    assert [t.shape for t in tensors] == [(5, 4, 3, 2), (7, 5), (7,)]
    kernel = np.asarray(direction["conv"]["kernel"])
    for out in range(5):  # a filter of a PyTorch convolution is an entry of its first axis
        np.testing.assert_array_equal(tensors[0][out], np.moveaxis(kernel[..., out], -1, 0))


def test_directions_of_half_precision_parameters_are_float32(tmp_path):
    halves = params(1, jnp.bfloat16)
    write_li_directions(tmp_path / "d.h5", [halves])
    found = read_li_directions(tmp_path / "d.h5", halves)[0]["head"]["kernel"]
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, halves["head"]["kernel"].astype(jnp.float32))


def direction_file(path, tensors):
    with h5py.File(path, "w") as file:
        for group in ("xdirection", "ydirection"):
            for position, tensor in enumerate(tensors):
                file[f"{group}/{position}"] = tensor
    return path


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 2, 4, 5), (7,), (5, 7), (5,), (5,)], "5 tensors for 3 parameters.*dir_type weights"),
        ([(3, 2, 4, 5), (7,)], r"2 tensors \(0, 1\) for 3 parameters; use the checkpoint"),
        ([(3, 2, 4, 5), (7,), (7, 5)], r"tensor 2 .* shape \(7, 5\), 'head/kernel' has \(5, 7\)"),
    ],
    ids=["states", "fewer", "transposed"],
)
def test_directions_that_do_not_fit_are_refused(tmp_path, shapes, message):
    path = direction_file(tmp_path / "d.h5", [np.ones(shape, "f") for shape in shapes])
    with pytest.raises(RequestError, match=message):
        read_li_directions(path, params())


def test_a_file_without_directions_is_refused(tmp_path):
    path = li_surface(tmp_path / "s.h5", crunched(X, Y))
    with pytest.raises(RequestError, match=r"holds dir_file, train_loss.*not xdirection"):
        read_li_directions(path, params())


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (LAYOUT[:2], r"2 tensors do not stand for the 3 parameters \(head/bias\)"),
        ([*LAYOUT, LAYOUT[0]], "one of them twice"),
        ([Place("conv/kernel", (0, 1)), *LAYOUT[1:]], "do not permute its 4 axes"),
    ],
)
def test_a_layout_of_another_network_is_refused(tmp_path, layout, message):
    with pytest.raises(RequestError, match=message):
        write_li_directions(tmp_path / "d.h5", [params()], layout)
    assert not list(tmp_path.iterdir())


def test_three_directions_are_refused(tmp_path):
    with pytest.raises(RequestError, match="3 were given"):
        write_li_directions(tmp_path / "d.h5", [params()] * 3)


def own_file(path, coordinates):
    """A result file with the fields of a computed surface, filled."""
    dims = ("ycoordinates", "xcoordinates")[-len(coordinates) :]
    shape = tuple(len(coordinates[name]) for name in dims)
    fields = {name: results.Field(shape, dims=dims) for name in ("train_loss", "train_acc")}
    with results.ResultFile(
        path,
        "surface",
        request={},
        fields=fields | {"interpolated": results.Field(shape, "u1")},
        done=shape,
        constants={**coordinates, "directions/x/kernel": np.ones(4, "f")},
        origin={"metrics": list(fields), "markers": {}, "cosine": 0.0, "lengths": [1.0]},
    ) as file:
        loss = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        file.write(..., train_loss=loss, train_acc=loss / 2)
    return loss


@pytest.mark.parametrize(
    "coordinates",
    [{"xcoordinates": X, "ycoordinates": Y}, {"xcoordinates": X}],
    ids=["plane", "line"],
)
def test_our_files_answer_to_the_names_that_their_plots_ask_for(tmp_path, coordinates):
    loss = own_file(tmp_path / "s.h5", coordinates)
    with h5py.File(tmp_path / "s.h5", "r") as f:  # as plot_2D.py and plot_1D.py open it
        for name, values in coordinates.items():
            np.testing.assert_array_equal(np.array(f[name][:]), values)
        assert "train_loss" in f.keys()  # noqa: SIM118  # their test
        assert ("ycoordinates" in f) == ("ycoordinates" in coordinates)
        np.testing.assert_array_equal(np.array(f["train_loss"][:]), loss)
        np.testing.assert_array_equal(100 - f["train_acc"][:], 100 - loss / 2)
        if "ycoordinates" in f:
            mesh = np.meshgrid(f["xcoordinates"][:], f["ycoordinates"][:])
            assert mesh[0].shape == f["train_loss"].shape  # what contour asks for


def test_our_own_surface_is_not_taken_for_one_of_theirs(tmp_path):
    own_file(tmp_path / "s.h5", {"xcoordinates": X})
    with pytest.raises(RequestError, match="use read_surface"):
        read_li_surface(tmp_path / "s.h5")
