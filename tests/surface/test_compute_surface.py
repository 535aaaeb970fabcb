import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import quadratic, rotated

from landscape import devices, parameters
from landscape.errors import OutOfMemory, RequestError
from landscape.objective import Objective
from landscape.results.hdf5 import Hdf5
from landscape.surface import (
    Measures,
    Surface,
    compute_surface,
    coordinates,
    random_direction,
    read_directions,
    read_surface,
)

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
    assert found.metrics["train_acc"][1, 0] == pytest.approx(100 * made.evaluate()["accuracy"])


def test_the_surface_is_the_same_on_eight_devices():
    alone, mesh = objective(l2=0.1), devices.data_mesh(8)
    measures = Measures(gradient_norm=True)
    expected = compute_surface(alone, plane(alone), X, Y, measures=measures)
    divided = objective(l2=0.1, mesh=mesh)
    for found in (
        compute_surface(divided, plane(divided), X, Y, measures=measures),  # examples divided
        compute_surface(alone, plane(alone), X, Y, measures=measures, mesh=mesh),  # points spread
    ):
        assert found.metrics.keys() == expected.metrics.keys()
        for name, values in expected.metrics.items():
            np.testing.assert_allclose(found.metrics[name], values, rtol=1e-5, err_msg=name)


def test_points_and_examples_are_not_both_divided():
    mesh = devices.data_mesh(8)
    made = objective(mesh=mesh)
    with pytest.raises(RequestError, match="not both"):
        compute_surface(made, plane(made), X, Y, mesh=mesh)


def test_every_metric_of_a_point_comes_from_one_pass():
    made = objective(l2=0.3)
    u, v = plane(made)
    found = compute_surface(made, (u, v), X, Y, measures=Measures(gradient_norm=True))
    there = parameters.add_scaled(parameters.add_scaled(made.params, X[2], u), Y[1], v)
    moved = made.with_params(there)
    norm, half = float(parameters.norm(moved.gradient())), 0.15
    expected = {
        "train_loss": moved.loss(),
        "train_data_loss": moved.with_l2(0.0).loss(),
        "train_l2_term": half * float(parameters.dot(there, there)),
        "train_gradient_norm": norm,
        "train_acc": 100 * moved.evaluate()["accuracy"],
    }
    for name, value in expected.items():
        assert found.metrics[name][1, 2] == pytest.approx(value, rel=1e-5), name


def test_two_data_sets_are_evaluated_together():
    train = objective()
    test = train.with_batches([model()[1][1]])
    found = compute_surface({"train": train, "test": test}, plane(train), X, Y)
    for name, made in (("train", train), ("test", test)):
        alone = compute_surface(made, plane(train), X, Y)
        np.testing.assert_array_equal(found.metrics[f"{name}_loss"], alone.loss)


def test_the_largest_eigenvalue_of_every_point_lies_between_its_bounds():
    def quartic(w, batch):
        return jnp.sum(w**4) / 12 * batch  # Hessian diag(w^2)

    made = Objective(quartic, jnp.array([1.0, 0.5, 0.25]), [jnp.ones(3)])
    found = compute_surface(
        made, [jnp.array([1.0, 0.0, 0.0])], [-3.0, 0.0, 2.0], measures=Measures(lambda_max=0.01)
    )
    low, high = found.metrics["max_eig_low"], found.metrics["max_eig_high"]
    assert np.all((low <= [4.0, 1.0, 9.0]) & (high >= [4.0, 1.0, 9.0]))
    np.testing.assert_allclose(found.metrics["max_eig"], [4.0, 1.0, 9.0], rtol=0.01)


def test_the_confidence_of_the_bounds_is_stored_and_used(tmp_path):
    def bowl(w, batch):
        return jnp.sum(jnp.arange(1.0, 21.0) * w**2) / 2 * batch

    made, line = Objective(bowl, jnp.zeros(20), [jnp.ones(3)]), [jnp.ones(20)]
    widths = []
    for confidence in (0.9, 0.999):
        measures = Measures(lambda_max=0.5, confidence=confidence)
        path = tmp_path / f"{confidence}.h5"
        found = compute_surface(made, line, [0.0], measures=measures, out=path)
        assert found.attributes["confidence"] == confidence
        widths.append(found.metrics["max_eig_high"] - found.metrics["max_eig_low"])
    assert widths[0] != widths[1]
    assert "confidence" not in compute_surface(made, line, [0.0], out=tmp_path / "s.h5").attributes


def test_two_checkpoints_of_one_name_are_told_apart_on_the_axes():
    plane = {"x": "to:seed0/ViT", "y": "to:seed1/ViT"}
    nothing = (np.zeros(1), np.zeros(1), {}, np.ones(1), np.ones(1), 0.0, (1.0, 1.0))
    names = Surface(*nothing, attributes={"directions": plane}).axes_names
    assert names == ("towards seed0/ViT", "towards seed1/ViT")


def cusp(w, batch):
    return jnp.sum(jnp.abs(w) ** 1.5) * batch  # at zero its second derivative is infinite


def kinked(w, batch):
    @jax.custom_vjp
    def half_square(w):
        return jnp.sum(w**2) / 2

    half_square.defvjp(
        lambda w: (half_square(w), w),
        lambda w, g: (jax.pure_callback(lambda w: np.asarray(w), w, w) * g,),
    )
    return half_square(w) * batch


def with_lambda_max(loss, out):
    made = Objective(loss, jnp.array([1.0]), [jnp.ones(3)])
    return compute_surface(
        made, [jnp.array([1.0])], [-1.0, 0.0], measures=Measures(lambda_max=0.01), out=out
    )


def test_lambda_max_is_not_a_number_only_where_a_product_is_not(tmp_path):
    found = with_lambda_max(cusp, tmp_path / "s.h5")
    assert found.done.all()
    assert np.isnan(found.metrics["max_eig"][0])
    assert found.metrics["max_eig"][1] == pytest.approx(0.75, rel=1e-3)
    np.testing.assert_array_equal(found.metrics["max_eig_converged"], [np.nan, 1])


def test_a_loss_without_second_derivatives_ends_the_surface(tmp_path):
    with pytest.raises(RequestError, match="cannot be differentiated twice"):
        with_lambda_max(kinked, tmp_path / "s.h5")


def test_points_for_which_memory_ran_out_are_not_marked_done(tmp_path, monkeypatch):
    products = Objective.product

    def product(self, vector):
        if float(self.params[0]) == 0:
            raise OutOfMemory("batch_size: too large")
        return products(self, vector)

    monkeypatch.setattr(Objective, "product", product)
    with pytest.raises(OutOfMemory):
        with_lambda_max(lambda w, batch: jnp.sum(w**2) * batch, tmp_path / "s.h5")
    assert not read_surface(tmp_path / "s.h5").done[0]


def test_a_line_is_the_middle_row_of_a_plane(tmp_path):
    made = objective()
    u, v = plane(made)
    line = compute_surface(made, [u], X, out=tmp_path / "line.h5")
    whole = compute_surface(made, (u, v), X, [0.0, 1.0])
    assert line.is_line
    assert line.loss.shape == (7,)
    assert len(line.lengths) == 1
    np.testing.assert_allclose(line.loss, whole.loss[0], rtol=1e-6)


def test_refinement_leaves_out_what_it_can_predict_and_says_so(tmp_path):
    matrix = rotated([1.0, 2.0])
    made = quadratic(np.asarray(matrix, np.float32), np.zeros(2, np.float32))
    steps, axis = (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])), coordinates(-1, 1, 33)
    whole = compute_surface(made, steps, axis, axis)
    called = []
    found = compute_surface(
        made, steps, axis, axis, adaptive=0.05, out=tmp_path / "s.h5",
        progress=lambda steps=1: called.append(steps),
    )  # fmt: skip
    assert found.done.all()
    assert 0.1 < found.interpolated.mean() < 0.9
    assert sum(called) == found.done.size
    np.testing.assert_array_equal(found.loss[~found.interpolated], whole.loss[~found.interpolated])
    error = np.abs(found.loss - whole.loss) / (whole.loss + 1e-3)
    assert error.max() < 0.05
    again = compute_surface(made, steps, axis, axis, adaptive=0.05, out=tmp_path / "s.h5")
    np.testing.assert_array_equal(again.interpolated, found.interpolated)
    # A kill while the interpolated points are marked as done.
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        done = file["done"][...]
        places = np.argwhere(found.interpolated)
        done[tuple(places[: len(places) // 2].T)] = 0
        file["done"][...] = done
    again = compute_surface(made, steps, axis, axis, adaptive=0.05, out=tmp_path / "s.h5")
    assert again.done.all()
    measured = ~again.interpolated
    np.testing.assert_array_equal(again.loss[measured], whole.loss[measured])


def test_the_picture_exists_coarsely_from_the_start(tmp_path):
    made, seen = objective(), []

    def stop():
        seen.append(1)
        if len(seen) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_surface(made, plane(made), X, X, out=tmp_path / "s.h5", progress=stop)
    done = read_surface(tmp_path / "s.h5").done
    assert done[np.ix_([0, 3, 6], [0, 3, 6])].all()
    assert done.sum() == 9


def normalised(params, state, batch):
    x = (batch[0] @ params["kernel"] - state["mean"][None]) / jnp.sqrt(state["var"][None] + 1e-5)
    return (x[:, 0] - batch[1]) ** 2


def statistics(params, batch, mask):
    x, weight = batch[0] @ params["kernel"], mask.astype(jnp.float32)[:, None]
    weight = weight / jnp.sum(weight)
    mean = jnp.sum(weight * x, 0)
    return {"mean": mean, "var": jnp.sum(weight * (x - mean[None]) ** 2, 0)}


def with_statistics(**options):
    params, batches = model()
    params = {"kernel": params["kernel"]}
    state = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    return Objective(normalised, params, batches, state=state, estimate_state=statistics, **options)


def test_running_statistics_stay_frozen_or_are_estimated_again_at_every_point(tmp_path):
    made = with_statistics()
    (u, v), (_, batches) = plane(made), model()
    frozen = compute_surface(made, (u, v), X, Y)
    again = compute_surface(
        made, (u, v), X, Y, measures=Measures(batchnorm="re-estimated"), out=tmp_path / "s.h5"
    )
    assert again.attributes["batchnorm"] == "re-estimated"
    there = parameters.add_scaled(parameters.add_scaled(made.params, X[2], u), Y[1], v)
    each = [statistics(there, batch, jnp.ones(len(batch[1]), bool)) for batch in batches]
    state = jax.tree.map(lambda a, b: (8 * a + 3 * b) / 11, *each)
    for found, statistic in ((frozen, made.state), (again, state)):
        losses = [normalised(there, statistic, batch) for batch in batches]
        expected = float(jnp.mean(jnp.concatenate(losses)))
        assert found.loss[1, 2] == pytest.approx(expected, rel=1e-5)
    spread = compute_surface(
        made, (u, v), X, Y, measures=Measures(batchnorm="re-estimated"), mesh=devices.data_mesh(8)
    )
    np.testing.assert_allclose(spread.loss, again.loss, rtol=1e-5)


def test_statistics_are_not_estimated_from_parts_of_batches():
    divided = with_statistics(mesh=devices.data_mesh(8))
    with pytest.raises(RequestError, match="whole batches"):
        compute_surface(divided, plane(divided), X, Y, measures=Measures(batchnorm="re-estimated"))
    with pytest.raises(RequestError, match="no running statistics"):
        compute_surface(
            objective(), plane(objective()), X, Y, measures=Measures(batchnorm="re-estimated")
        )


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
    np.testing.assert_array_equal(stored.metrics["train_acc"], memory.metrics["train_acc"])
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


def test_a_file_with_other_metrics_is_refused_by_name(tmp_path):
    made, path = objective(), tmp_path / "s.h5"
    compute_surface(made, plane(made), X, Y, out=path)
    with h5py.File(path, "r+", libver=("earliest", "v108")) as file:
        file["done"][2, 3] = 0
        renamed = "train_loss_population_error", "train_loss_error"
        file.attrs["metrics"] = file.attrs["metrics"].replace(*renamed)
        file.move(*renamed)
    with pytest.raises(RequestError, match=r"do not measure the same \(train_loss_error\)"):
        compute_surface(made, plane(made), X, Y, out=path)


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


def test_directions_must_fit():
    made = objective()
    with pytest.raises(RequestError, match="the y direction is no tree"):
        compute_surface(made, (made.params, {"other": jnp.ones(3)}), X, Y)


def test_directions_of_other_shapes_are_refused_not_broadcast():
    made = Objective(lambda w, b: b * jnp.sum(w**2), jnp.ones((2, 3)), [jnp.ones(2)])
    with pytest.raises(RequestError, match=r"x direction: 'params' has shape \(\), not \(2, 3\)"):
        compute_surface(made, [jnp.ones(())], [0.0, 1.0])


def test_directions_are_read_only_where_they_are_asked_for(tmp_path, monkeypatch):
    """They are as large as the network."""
    made, path, read = objective(), tmp_path / "s.h5", []
    compute_surface(made, plane(made), X, Y, out=path)
    whole = Hdf5.read

    def counted(self, name):
        read.append(name)
        return whole(self, name)

    monkeypatch.setattr(Hdf5, "read", counted)
    read_surface(path)
    compute_surface(made, plane(made), X, Y, out=path)
    assert "train_loss" in read
    assert not any(name.startswith("directions/") for name in read)
    assert len(read_directions(path, made.params)) == 2
    assert any(name.startswith("directions/") for name in read)


FAULTS = {
    "done has shape": {"done": np.ones((4, 7, 1), "u1")},
    "metrics names no loss": {"metrics": "[]"},
    "'train_loss' is no numbers": {"train_loss": np.ones((7, 4))},
    "'xcoordinates' is no numbers": {"xcoordinates": np.array([b"a"] * 7)},
    "coordinates are not finite": {"xcoordinates": np.full(7, np.nan)},
    "markers are no places": {"markers": '{"a": [1.0]}'},
    "not described by numbers": {"cosine": "text"},
    "its path is no places": {"path/x": np.ones(3)},
}


@pytest.mark.parametrize("told", FAULTS)
def test_a_file_that_is_no_surface_is_told_in_one_line(tmp_path, told):
    made, path = objective(), tmp_path / "s.h5"
    compute_surface(made, plane(made), X, Y, out=path)
    with h5py.File(path, "r+") as file:
        for name, value in FAULTS[told].items():
            if isinstance(value, str):
                file.attrs[name] = value
                continue
            if name in file:
                del file[name]
            file[name] = value
    with pytest.raises(RequestError, match=rf"surface: .*s\.h5 is damaged \(.*{told}.*\); move it"):
        read_surface(path)
