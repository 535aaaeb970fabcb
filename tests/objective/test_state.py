import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import devices
from landscape.curvature import fisher
from landscape.errors import RequestError
from landscape.objective import Composite, Objective

RNG = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(RNG.normal(size=(3, 2)), jnp.float32), "b": jnp.zeros(2)}
STATE = {"mean": jnp.asarray(RNG.normal(size=2), jnp.float32)}
DATA = [(RNG.normal(size=(n, 3)).astype("f"), RNG.normal(size=(n, 2)).astype("f")) for n in (8, 5)]


def outputs(params, state, batch):
    return jnp.tanh(batch[0] @ params["w"] + (params["b"] - state["mean"])[None])


def criterion(out, batch):
    return jnp.sum((out - batch[1]) ** 2, -1)


def with_state(**options):
    return Objective(Composite(outputs, criterion), PARAMS, DATA, state=STATE, **options)


def closed_over(state):
    return Objective(
        Composite(lambda params, batch: outputs(params, state, batch), criterion), PARAMS, DATA
    )


@pytest.mark.parametrize("mesh", [None, 8])
def test_a_state_is_taken_but_not_differentiated(mesh):
    made = with_state(mesh=mesh and devices.data_mesh(mesh))
    expected = closed_over(STATE)
    vector = jax.tree.map(jnp.ones_like, PARAMS)
    assert made.loss() == pytest.approx(expected.loss(), rel=1e-6)
    for matrix in ("hessian", "gauss_newton", "empirical_fisher"):
        found = made.with_curvature(matrix).product(vector)
        wanted = expected.with_curvature(matrix).product(vector)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, wanted)
    block = made.block(["w"]).product({"w": vector["w"]})
    np.testing.assert_allclose(
        block["w"], expected.block(["w"]).product({"w": vector["w"]})["w"], rtol=1e-4
    )


def test_fisher_targets_are_drawn_with_the_state():
    def sample(key, output, example):
        return example[0], output + jax.random.normal(key, output.shape)

    def fisher_of(outputs, **options):
        made = Objective(Composite(outputs, criterion, sample), PARAMS, DATA, **options)
        return fisher(made, seed=3).product(jax.tree.map(jnp.ones_like, PARAMS))

    found = fisher_of(outputs, state=STATE)
    expected = fisher_of(lambda params, batch: outputs(params, STATE, batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, expected)


def test_another_state_and_other_parameters_give_another_objective():
    other = {"mean": STATE["mean"] + 1.0}
    assert with_state().with_state(other).loss() == pytest.approx(closed_over(other).loss())
    made, there = with_state(), jax.tree.map(lambda p: p + 0.5, PARAMS)
    assert made.with_params(there).loss() == pytest.approx(made.loss(there))
    with pytest.raises(RequestError, match="params: 'b' has shape"):
        made.with_params({**PARAMS, "b": jnp.zeros(3)})


def test_the_state_belongs_to_what_identifies_an_objective():
    made = with_state()
    same, other = made.describe(), made.with_state({"mean": STATE["mean"] + 1.0}).describe()
    assert same["state_hash"] == with_state().describe()["state_hash"] != other["state_hash"]
    assert "state_hash" not in closed_over(STATE).describe()
