import os
import signal
import subprocess
import sys
import time

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import quadratic, rotated

from landscape import devices
from landscape.errors import RequestError
from landscape.objective import Objective
from landscape.surface import compute_surface, coordinates, random_direction, read_surface

X, Y = np.linspace(-1, 1, 7), np.linspace(-0.5, 1, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_surface_of_a_quadratic_is_that_quadratic(dtype):
    with jax.enable_x64(dtype is np.float64):
        matrix = rotated([-2.0, 0.5, 1.0, 6.0], dtype=dtype)
        w, u, v = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
        found = compute_surface(quadratic(matrix, w), (jnp.asarray(u), jnp.asarray(v)), X, Y)
    for row, y in enumerate(Y):
        for column, x in enumerate(X):
            p = w + x * u + y * v
            assert found.loss[row, column] == pytest.approx(
                0.5 * p @ matrix @ p, abs=1e-5 if dtype is np.float32 else 1e-10
            )
    assert found.loss.shape == (4, 7)


def test_along_an_eigenvector_the_curvature_is_the_eigenvalue(x64):
    matrix = rotated([-2.0, 0.5, 1.0, 6.0])
    values, vectors = np.linalg.eigh(matrix)
    top, bottom = jnp.asarray(vectors[:, -1]), jnp.asarray(vectors[:, 0])
    found = compute_surface(quadratic(matrix, np.zeros(4)), (top, bottom), X, Y)
    expected = 0.5 * (values[-1] * X[None] ** 2 + values[0] * Y[:, None] ** 2)
    np.testing.assert_allclose(found.loss, expected, atol=1e-10)
    assert found.cosine == pytest.approx(0, abs=1e-12)


def model():
    rng = np.random.default_rng(1)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32),
        "head": {"kernel": jnp.asarray(rng.normal(size=(3, 1)), jnp.float32)},
        "bias": jnp.ones(3),
    }
    x, y = rng.normal(size=(11, 4)).astype("f"), rng.normal(size=11).astype("f")
    return params, [(x[:8], y[:8]), (x[8:], y[8:])]


def loss(params, batch):
    hidden = jnp.tanh(batch[0] @ params["kernel"] + params["bias"][None])
    return ((hidden @ params["head"]["kernel"])[:, 0] - batch[1]) ** 2


def accuracy(params, batch):
    return {"accuracy": (loss(params, batch) < 1).astype(jnp.float32)}


def objective(**options):
    params, data = model()
    return Objective(loss, params, data, metrics=accuracy, **options)


def plane(made):
    return [random_direction(made.params, seed) for seed in (0, 1)]


def test_the_centre_is_the_checkpoint():
    made = objective()
    found = compute_surface(made, plane(made), [0.0, 1.0], [-1.0, 0.0])
    assert found.loss[1, 0] == pytest.approx(made.loss(), rel=1e-6)
    assert found.metrics["accuracy"][1, 0] == made.evaluate()["accuracy"]


def test_the_plane_is_the_same_on_eight_devices():
    alone, meshed = objective(), objective(mesh=devices.data_mesh(8))
    a, b = (compute_surface(made, plane(made), X, Y).loss for made in (alone, meshed))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_stored_surface_is_read_back_with_its_directions(tmp_path):
    made = objective()
    directions = plane(made)
    called = []
    stored = compute_surface(
        made, directions, X, Y, out=tmp_path / "s.h5", progress=lambda: called.append(1)
    )
    memory = compute_surface(made, directions, X, Y)
    assert len(called) == 28
    np.testing.assert_array_equal(stored.loss, memory.loss)
    np.testing.assert_array_equal(stored.metrics["accuracy"], memory.metrics["accuracy"])
    assert stored.done.all()
    assert stored.lengths == pytest.approx(memory.lengths)
    assert stored.attributes["examples"] == 11
    with h5py.File(tmp_path / "s.h5") as file:
        assert {"xcoordinates", "ycoordinates", "train_loss", "train_acc"} <= set(file)
        assert file["train_loss"].shape == (4, 7)
        np.testing.assert_array_equal(
            file["directions/y/head/kernel"], directions[1]["head"]["kernel"]
        )


def test_only_missing_points_are_computed_again(tmp_path):
    made = objective()
    path = tmp_path / "s.h5"
    whole = compute_surface(made, plane(made), X, Y, out=path)
    with h5py.File(path, "r+", libver=("earliest", "v108")) as file:
        file["done"][2, 3] = 0
        file["train_loss"][2, 3] = np.nan
        file["train_loss"][0, 0] = 123.0  # marked as done, so it must stay
    called = []
    again = compute_surface(made, plane(made), X, Y, out=path, progress=lambda: called.append(1))
    assert len(called) == 1
    assert again.loss[2, 3] == whole.loss[2, 3]
    assert again.loss[0, 0] == 123.0


def test_other_directions_or_coordinates_are_not_mixed_into_a_file(tmp_path):
    made = objective()
    compute_surface(made, plane(made), X, Y, out=tmp_path / "s.h5")
    with pytest.raises(RequestError, match="directions"):
        compute_surface(made, plane(made)[::-1], X, Y, out=tmp_path / "s.h5")
    with pytest.raises(RequestError, match=r"made with x="):
        compute_surface(made, plane(made), 2 * X, Y, out=tmp_path / "s.h5")


def test_diverged_points_are_kept_as_they_are(tmp_path):
    made = Objective(lambda w, b: jnp.log(w[0]) * b, jnp.ones(2), [np.ones(3, "f")])
    steps = (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    found = compute_surface(made, steps, [-2.0, -1.0, 0.0], [0.0, 1.0], out=tmp_path / "s.h5")
    assert np.isnan(found.loss[0, 0])
    assert np.isneginf(found.loss[0, 1])
    assert found.done.all()


def test_coordinates_contain_an_exact_zero_and_refuse_an_empty_range():
    for points in (3, 25, 51):
        assert 0.0 in coordinates(-1, 1, points)
    assert coordinates(0.5, 2, 4).tolist() == [0.5, 1.0, 1.5, 2.0]
    for wrong in ((1, 1, 5), (2, 1, 5), (0, 1, 1)):
        with pytest.raises(RequestError, match="no grid"):
            coordinates(*wrong)


def test_directions_must_fit():
    made = objective()
    with pytest.raises(RequestError, match="the y direction is no tree"):
        compute_surface(made, (made.params, {"other": jnp.ones(3)}), X, Y)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from test_grid import objective, plane, compute_surface
made = objective()
made.loss()
print("ready", flush=True)
axis = np.linspace(-1, 1, 40)
compute_surface(made, plane(made), axis, axis, out=sys.argv[1])
"""


def test_a_killed_surface_goes_on_and_ends_like_an_uninterrupted_one(tmp_path):
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "s.h5"), os.path.dirname(__file__)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for delay in (0.2, 0.35):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(arguments, check=True, env=environment, capture_output=True)
    arguments[3] = str(tmp_path / "other.h5")
    subprocess.run(arguments, check=True, env=environment, capture_output=True)
    killed, straight = (read_surface(tmp_path / name) for name in ("s.h5", "other.h5"))
    np.testing.assert_array_equal(killed.loss, straight.loss)
    assert killed.done.all()
