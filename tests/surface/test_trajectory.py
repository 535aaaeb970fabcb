import jax.numpy as jnp
import numpy as np
import pytest

from landscape import parameters
from landscape.errors import RequestError
from landscape.objective import Objective
from landscape.surface import compute_surface, cosine, is_ignored, principal_plane


def walk(count=12, seed=0):
    """A trajectory in a plane of a 14-dimensional space, and a little noise."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(14, 14)))[0]
    where = np.stack([np.linspace(5, 0, count), np.linspace(1, 0, count) ** 2], 1)
    points = where @ basis[:2] + 0.01 * rng.normal(size=(count, 14))
    return points.astype("f"), where


def tree(point):
    return {"kernel": jnp.asarray(point[:12].reshape(4, 3)), "bias": jnp.asarray(point[12:])}


def test_the_components_are_those_of_the_singular_value_decomposition():
    points, _ = walk()
    found = principal_plane(tree(points[-1]), [tree(p) for p in points])
    centred = points.astype(float) - points.mean(0)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    for direction, vector in zip(found.directions, vectors, strict=False):
        # the tree's leaves come in alphabetical order: the bias first
        ours = parameters.raveled(direction)
        along = abs(np.concatenate([vector[12:], vector[:12]]) @ ours)
        assert along == pytest.approx(1, abs=1e-5)
    assert found.explained == pytest.approx(values[:2] ** 2 / (values**2).sum(), rel=1e-4)


def test_the_path_is_the_projection_of_every_checkpoint_and_ends_at_the_origin():
    points, _ = walk()
    found = principal_plane(tree(points[-1]), [tree(p) for p in points])
    assert abs(cosine(*found.directions)) < 1e-5
    for point, place in zip(points, found.path, strict=True):
        offset = parameters.raveled(tree(point)) - parameters.raveled(tree(points[-1]))
        expected = [offset @ parameters.raveled(d) for d in found.directions]
        assert place == pytest.approx(expected, abs=1e-4)
    assert found.path[-1] == pytest.approx([0, 0], abs=1e-6)


def test_ignored_parameters_stay_where_they_are():
    points, _ = walk()
    found = principal_plane(tree(points[-1]), [tree(p) for p in points], ignore=is_ignored)
    assert not np.any(found.directions[0]["bias"])


def test_a_trajectory_that_spans_no_plane_is_refused():
    points, _ = walk()
    with pytest.raises(RequestError, match="2 checkpoints span no 2 directions"):
        principal_plane(tree(points[-1]), [tree(p) for p in points[:2]])
    line = [tree(t * points[0]) for t in np.linspace(0, 1, 5, dtype="f")]
    with pytest.raises(RequestError, match="fewer directions"):
        principal_plane(line[-1], line)


def test_the_path_is_stored_with_the_surface(tmp_path):
    points, _ = walk()
    plane = principal_plane(tree(points[-1]), [tree(p) for p in points])

    def loss(params, batch):
        return batch * jnp.sum(params["kernel"] ** 2)

    made = Objective(loss, tree(points[-1]), [jnp.ones(2)])
    found = compute_surface(made, plane, [0.0, 5.0], [-1.0, 1.0], out=tmp_path / "s.h5")
    np.testing.assert_allclose(found.path, plane.path)
    assert found.attributes["explained"] == pytest.approx(plane.explained)
