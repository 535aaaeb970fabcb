"""Evaluation in float64, and the quotient that a search checks its product with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Objective, extremes
from landscape.objective.float64 import InFloat64, NoFloat64, coarsest_epsilon
from landscape.objective.rayleigh import RayleighQuotient

INDEX = np.array([0, 2, 1], np.int32)

FUNCTIONS = {
    "scan": lambda x: jax.lax.scan(lambda c, r: (c * r + 1, c), jnp.ones((), x.dtype), x)[1],
    "while": lambda x: jax.lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 1.1), (0, x)
    )[1],
    "cond": lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "scatter": lambda x: jnp.zeros(5, x.dtype).at[jnp.array([0, 2, 2])].add(x),
    "casts": lambda x: jnp.sin(x.astype(jnp.bfloat16)).astype(jnp.float32),
    "remat": jax.checkpoint(jnp.sin),
    "custom derivative": jax.nn.relu,
    "closed-over integers": lambda x: jnp.take(x, INDEX) * 1.1,
    "fft": lambda x: jnp.abs(jnp.fft.fft(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_operation_is_carried_out_in_float64(name):
    function = FUNCTIONS[name]
    x = jnp.array([0.3, -0.7, 1.9], jnp.float32)
    precise = InFloat64(function).trace(x)
    with jax.enable_x64(True):
        found = jax.jit(precise)(x)
        wide = jnp.asarray(x, "f8")
        expected = jnp.sin(wide) if name == "casts" else function(wide)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=3e-7)  # constants stay float32's


def test_operations_on_bits_are_refused():
    x = jnp.ones(2, jnp.float32)
    bits = InFloat64(lambda x: jax.lax.bitcast_convert_type(x, jnp.int32)).trace(x)
    with pytest.raises(NoFloat64), jax.enable_x64(True):
        bits(x)


def _objective(function):
    """0.5 w'w per example, through the function of the data."""
    data = [np.linspace(0.5, 1.5, 4).astype("f4")]
    return Objective(lambda w, batch: 0.5 * jnp.sum(w**2) * function(batch), jnp.ones(3), data)


LOSSES = {
    "bits": lambda b: jax.lax.bitcast_convert_type(
        jax.lax.bitcast_convert_type(b, jnp.int32), jnp.float32
    ),
    "closed-over integers": lambda b: b[..., None][..., np.array([0])][..., 0],
    "updates at integers": lambda b: b + jnp.zeros_like(b).at[np.array([0])].add(0.0),
    "values that float64 makes infinite": lambda b: b + 0 * jnp.exp(-b),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_float64_refuses_loses_no_search(name):
    objective = _objective(LOSSES[name])
    found = extremes(objective).lambda_max
    assert found.lower <= 1.0 <= found.upper
    assert found.check == pytest.approx(1.0, rel=1e-5)


def test_a_quotient_that_vanishes_in_its_own_precision_has_all_of_its_error():
    """exp(-110) is no number of float32, and one of float64."""
    objective = Objective(
        lambda w, batch: batch * jnp.exp(w[0] - 110), jnp.zeros(1), [np.ones(4, "f4")]
    )
    quotient = objective.rayleigh_quotient(jnp.ones(1))
    assert quotient.value == pytest.approx(np.exp(-110), rel=1e-6)
    assert quotient.error == 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_where_float64_is_refused_the_error_is_that_of_the_networks_own_precision(dtype):
    def loss(w, x):
        bits = jax.lax.bitcast_convert_type(x, jnp.int32)
        x = jax.lax.bitcast_convert_type(bits, jnp.float32)
        return jnp.tanh(x.astype(dtype) @ w.astype(dtype)).astype(jnp.float32) ** 2

    x = np.random.default_rng(0).normal(size=(16, 5)).astype("f4")
    w, v = jnp.full(5, 0.1), jnp.ones(5)
    quotient = Objective(loss, w, [x]).rayleigh_quotient(v)
    with jax.enable_x64(True):
        hessian = jax.hessian(lambda w: jnp.mean(jnp.tanh(x.astype("f8") @ w) ** 2))(w.astype("f8"))
    true = float(np.asarray(hessian).sum()) / 5
    assert quotient.error >= abs(quotient.value - true)
    assert quotient.error < 40 * float(jnp.finfo(dtype).eps) * abs(true)


def test_a_quotient_that_overflows_confirms_nothing():
    class Overflowing:
        params = jnp.ones(4)

        def product(self, vector):
            return vector * jnp.arange(4.0)

        def rayleigh_quotient(self, vector):
            return RayleighQuotient(np.inf, 0.0)

    found = extremes(Overflowing()).lambda_max
    assert found.upper == np.inf
    assert not found.confirmed
    assert not found.converged


def test_a_step_tells_the_coarsest_type_it_computes_in_at_any_depth():
    def half(x):
        return jax.lax.map(lambda row: jnp.sum(row.astype(jnp.bfloat16)).astype(jnp.float32), x)

    assert coarsest_epsilon(half, jnp.ones((2, 2))) == 2.0**-7
    assert coarsest_epsilon(jnp.sin, jnp.ones(2)) == 2.0**-23
    rounded = functools.partial(jax.lax.reduce_precision, exponent_bits=8, mantissa_bits=7)
    assert coarsest_epsilon(rounded, jnp.ones(2)) == 2.0**-7
    algorithm = jax.lax.DotAlgorithmPreset.TF32_TF32_F32
    product = functools.partial(jnp.dot, precision=algorithm)
    assert coarsest_epsilon(product, jnp.ones(2), jnp.ones(2)) == 2.0**-10
