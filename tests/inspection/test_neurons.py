import jax.numpy as jnp
import numpy as np
import pytest

from landscape.inspection import active_neurons


def layers(w, batch):
    return {"second": batch * w, "first": jnp.maximum(batch, jnp.zeros_like(batch))}


def test_fractions_errors_and_norms_with_a_ragged_last_batch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 5, 4)).astype("f")
    called = []
    found = active_neurons(
        layers, jnp.float32(-1), [x[:10], x[10:20], x[20:]], progress=lambda: called.append(1)
    )
    per_example = (x > 0).mean((1, 2))
    assert found.layers == ("second", "first")  # network order, not sorted
    np.testing.assert_allclose(found.fraction, [1 - per_example.mean(), per_example.mean()], 1e-5)
    np.testing.assert_allclose(
        found.standard_error, np.full(2, per_example.std(ddof=1) / np.sqrt(23)), rtol=1e-4
    )
    norms = [np.linalg.norm(np.reshape(v, (23, -1)), axis=1).mean() for v in (x, np.maximum(x, 0))]
    np.testing.assert_allclose(found.norm, norms, rtol=1e-5)
    assert found.examples == 23
    assert len(called) == 3


@pytest.mark.parametrize(("value", "fraction"), [(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0)])
def test_zero_is_not_active(value, fraction):
    found = active_neurons(layers, jnp.float32(1), [np.full((4, 3), value, "f")])
    assert found.fraction[1] == fraction
    assert found.standard_error[1] == 0


def test_equal_examples_have_no_standard_error_and_a_single_one_has_none_at_all():
    one = np.array([[[1.0, -1.0, 2.0]]], "f")  # two of three are active: 2/3 is no exact number
    found = active_neurons(
        layers, jnp.float32(1), [np.tile(one, (7, 1, 1)), np.tile(one, (4, 1, 1))]
    )
    assert found.standard_error.tolist() == [0, 0]
    assert found.fraction == pytest.approx([2 / 3] * 2, rel=1e-15)
    alone = active_neurons(layers, jnp.float32(1), [one])
    assert np.isnan(alone.standard_error).all()
    assert alone.examples == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_spread_far_below_the_mean_is_measured(seed):
    rng = np.random.default_rng(seed)
    x = np.ones((64, 4001), "f")  # all active, but for one neuron of some examples
    x[np.arange(64), rng.integers(0, 4001, 64)] = np.where(rng.random(64) < 0.5, 1, -1)
    found = active_neurons(layers, jnp.float32(1), [x[:40], x[40:]])
    per_example = (x > 0).mean(1, dtype=np.float64)
    assert found.fraction[0] == pytest.approx(per_example.mean(), rel=1e-14)
    expected = per_example.std(ddof=1) / 8
    assert found.standard_error[0] == pytest.approx(expected, rel=1e-9)


def test_the_readings_of_a_norm_by_hand():
    x = np.array([[[3.0, 4.0], [0.0, 12.0]], [[0.0, 0.0], [8.0, 6.0]]], "f")
    found = active_neurons(layers, jnp.float32(1), [x])
    assert found.norm[0] == pytest.approx((13 + 10) / 2)  # of 3, 4, 0, 12 and of 0, 0, 8, 6
    assert found.norm_per_token[0] == pytest.approx((5 + 12 + 0 + 10) / 4)
    flat = active_neurons(layers, jnp.float32(1), [np.array([[3.0, 4.0]], "f")])
    assert flat.norm[0] == flat.norm_per_token[0] == pytest.approx(5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_whose_squares_are_no_float32_numbers_are_right(scale):
    found = active_neurons(
        layers, jnp.float32(1), [np.array([[3.0, 4.0]], "f") * np.float32(scale)]
    )
    assert found.norm[0] == pytest.approx(5 * scale, rel=1e-6)
    assert found.norm_per_token[0] == pytest.approx(5 * scale, rel=1e-6)


@pytest.mark.parametrize("values", [[np.nan] * 4, [1.0, np.nan, -1.0, 2.0]])
def test_activations_that_are_no_numbers_are_neither_active_nor_inactive(values):
    batch = jnp.asarray([values, [1.0, 1.0, -1.0, 2.0]], jnp.float32)
    found = active_neurons(lambda w, x: {"layer": w * x}, jnp.float32(1), [batch])
    assert np.isnan(found.fraction[0])
    assert np.isnan(found.standard_error[0])
