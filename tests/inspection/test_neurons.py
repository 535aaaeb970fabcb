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
