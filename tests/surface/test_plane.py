import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import quadratic, rotated

from landscape import parameters
from landscape.errors import RequestError
from landscape.surface import compute_surface, cosine, difference, orthogonal, through
from landscape.surface.plane import coordinates_of


def trees(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"a": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32),
         "b": {"c": jnp.asarray(rng.normal(size=4), jnp.float32)}}
        for _ in range(count)
    ]  # fmt: skip


def test_the_cosine_is_that_of_the_raveled_trees():
    a, b = trees(2)
    u, v = parameters.raveled(a), parameters.raveled(b)
    expected = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    assert cosine(a, b) == pytest.approx(expected, rel=1e-5)


def test_an_orthogonal_direction_has_nothing_left_of_the_other():
    a, b = trees(2)
    assert abs(cosine(orthogonal(b, a), a)) < 1e-6
    with pytest.raises(RequestError, match="parallel"):
        orthogonal(parameters.scaled(a, -3.0), a)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_directions_whose_squares_are_no_numbers_have_an_angle(scale):
    a, b = jnp.array([3.0, 4.0]) * scale, jnp.array([1.0, 0.0]) * scale
    assert cosine(a, b) == pytest.approx(0.6)
    assert cosine(orthogonal(a, b), b) == pytest.approx(0, abs=1e-6)


def test_the_line_to_another_checkpoint_reaches_it_at_one():
    matrix, (w, other) = rotated([1.0, 4.0]), np.random.default_rng(1).normal(size=(2, 2))
    made = quadratic(np.asarray(matrix, "f"), w.astype("f"))
    line = through(made.params, {"other": jnp.asarray(other, jnp.float32)})
    found = compute_surface(made, line, [0.0, 0.5, 1.0])
    for where, loss in zip((0.0, 0.5, 1.0), found.loss, strict=True):
        p = w + where * (other - w)
        assert loss == pytest.approx(0.5 * p @ matrix @ p, rel=1e-4)
    assert found.markers == {"checkpoint": (0.0,), "other": (pytest.approx(1.0),)}


@pytest.mark.parametrize("orthogonalize", [True, False])
def test_the_plane_through_three_checkpoints_holds_all_three(orthogonalize):
    a, b, c = trees(3)
    found = through(a, {"b": b, "c": c}, orthogonalize=orthogonalize)
    for name, tree in (("b", b), ("c", c)):
        at = a
        for where, direction in zip(found.markers[name], found.directions, strict=True):
            at = parameters.add_scaled(at, where, direction)
        np.testing.assert_allclose(parameters.raveled(at), parameters.raveled(tree), atol=1e-5)
    assert found.markers["b"] == pytest.approx((1, 0), abs=1e-5)
    if orthogonalize:
        assert abs(cosine(*found.directions)) < 1e-6
    else:
        assert found.markers["c"] == pytest.approx((0, 1), abs=1e-5)


def test_the_nearest_point_of_a_plane_is_found_although_its_directions_are_skew():
    origin, u, v, noise = trees(4)
    inside = parameters.add_scaled(parameters.add_scaled(origin, 2.0, u), -0.5, v)
    outside = parameters.add_scaled(inside, 1.0, orthogonal(orthogonal(noise, u), orthogonal(v, u)))
    assert coordinates_of(outside, origin, (u, v)) == pytest.approx((2.0, -0.5), abs=1e-4)


def test_checkpoints_of_another_network_or_the_same_one_again_are_refused():
    (a,) = trees(1)
    with pytest.raises(RequestError, match="same parameters"):
        difference(a, a)
    with pytest.raises(RequestError, match=r"has no 'b/c'|another parameter, 'd'"):
        difference(a, {"a": a["a"], "d": a["a"]})
    with pytest.raises(RequestError, match="'a' has shape"):
        difference(a, {**a, "a": jnp.zeros(3)})
    with pytest.raises(RequestError, match="1 or 2 others"):
        through(a, {})


def test_a_plane_is_stored_with_its_places(tmp_path):
    a, b, c = trees(3)

    def loss(params, batch):
        return batch * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    from landscape import Objective

    found = compute_surface(
        Objective(loss, a, [jnp.ones(2)]), through(a, {"b": b, "c": c}), [0.0, 1.0], [0.0, 1.0],
        out=tmp_path / "s.h5",
    )  # fmt: skip
    assert set(found.markers) == {"checkpoint", "b", "c"}
    assert found.markers["b"] == pytest.approx((1, 0), abs=1e-5)
