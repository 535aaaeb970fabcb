"""Parameters, vectors and states as they come: NumPy arrays, other precisions, other devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import curvature, devices, parameters
from landscape.errors import RequestError
from landscape.objective import Composite, Objective

X = np.random.default_rng(0).normal(size=(6, 3)).astype("f4")
DATA = [{"x": X[:4], "y": X[:4, 0]}, {"x": X[4:], "y": X[4:, 0]}]


def tree(seed, dtype="f4"):
    rng = np.random.default_rng(seed)
    return {"a": rng.normal(size=(3, 4)).astype(dtype), "b": rng.normal(size=4).astype(dtype)}


def on_device(values):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, "f4"), values)


def network(w, batch):
    return jnp.tanh(batch["x"] @ w["a"]) @ w["b"]


def objective(**options):
    loss = Composite(network, lambda out, batch: (out - batch["y"]) ** 2)
    return Objective(loss, on_device(tree(1)), DATA, l2=0.1, **options)


OF_PARAMETERS = {
    "loss": lambda made, params: made.loss(params),
    "evaluate": lambda made, params: made.evaluate(params)["loss"],
    "loss in float64": lambda made, params: made.loss_in_float64(params),
    "gradient": lambda made, params: made.gradient(params),
    "with_params": lambda made, params: made.with_params(params).loss(),
    "product there": lambda made, params: made.with_params(params).product(on_device(tree(3))),
}
OF_VECTORS = {
    "product": lambda made, v: made.product(v),
    "product of a block": lambda made, v: made.block(["a"]).product({"a": v["a"]}),
    "linearized": lambda made, v: made.linearized().product(v),
    "central differences": lambda made, v: made.with_second_derivative(
        "central_differences"
    ).product(v),
    "quadratic forms": lambda made, v: made.quadratic_forms(v),
    "quadratic forms of the Gauss-Newton matrix": lambda made, v: made.with_curvature(
        "gauss_newton"
    ).quadratic_forms(v),
    "Rayleigh quotient": lambda made, v: made.rayleigh_quotient(v),
    "Rayleigh quotient of a block": lambda made, v: made.block(["a"]).rayleigh_quotient(
        {"a": v["a"]}
    ),
    "directional sharpness": lambda made, v: curvature.directional_sharpness(made, v).estimate,
    "data error": lambda made, v: curvature.data_error(made, v, shards=2).shards,
    "critical step": lambda made, v: curvature.critical_step(made, v).upper,
}


def same(found, expected):
    leaves = (jax.tree.leaves(values) for values in (found, expected))
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", OF_PARAMETERS)
def test_parameters_may_be_numpy_arrays(name):
    ask, made = OF_PARAMETERS[name], objective()
    same(ask(made, tree(2)), ask(made, on_device(tree(2))))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", OF_VECTORS)
def test_vectors_may_be_numpy_arrays_of_any_precision(name, dtype):
    ask, made = OF_VECTORS[name], objective()
    same(ask(made, tree(2, dtype)), ask(made, on_device(tree(2))))


def test_vectors_of_whole_numbers_and_plain_numbers_will_do():
    made = Objective(lambda w, x: (x * w) ** 2, np.float32(2), [np.ones(3, "f4")])
    for one in (1, 1.0, np.int64(1), np.float64(1), jnp.int32(1)):
        assert made.product(one) == 2
        assert made.linearized().product(one) == 2
        assert made.quadratic_forms(one).tolist() == [2, 2, 2]


def test_float64_that_is_rounded_is_said():
    with pytest.warns(UserWarning, match="'a' is float64, which this session rounds to float32"):
        made = Objective(network, tree(1, "f8"), DATA)
    same(made.params, on_device(tree(1)))
    for ask in (made.loss, made.gradient, made.with_params):
        with pytest.warns(UserWarning, match="set JAX_ENABLE_X64=1"):
            ask(tree(2, "f8"))
    with jax.enable_x64(True):
        assert Objective(network, tree(1, "f8"), DATA).params["a"].dtype == np.float64


@pytest.mark.filterwarnings("ignore")  # NumPy's and ours
def test_what_float32_cannot_hold_is_not_finite():
    with pytest.raises(RequestError, match="12 non-finite"):
        Objective(network, {"a": np.full((3, 4), 1e300), "b": np.ones(4)}, DATA)


@pytest.mark.parametrize("ask", [OF_PARAMETERS[name] for name in ("loss", "gradient")])
def test_parameters_that_are_not_floating_or_of_other_shapes_are_refused(ask):
    made = objective()
    with pytest.raises(RequestError, match="leaf 'a' is int64, not a floating array"):
        ask(made, {"a": np.ones((3, 4), int), "b": np.ones(4, int)})
    with pytest.raises(RequestError, match=r"params: 'b' has shape \(1,\), not \(4,\)"):
        ask(made, tree(2) | {"b": np.ones(1, "f4")})


@pytest.mark.parametrize("placed", ["host", "uncommitted", "first device", "last device"])
def test_an_objective_on_a_mesh_takes_parameters_and_vectors_from_anywhere(placed):
    made = objective(mesh=devices.data_mesh(2))
    where = {"first device": 0, "last device": -1}

    def somewhere(seed):
        if placed in where:
            return jax.device_put(tree(seed), jax.devices()[where[placed]])
        return tree(seed) if placed == "host" else on_device(tree(seed))

    alone = objective()
    asked = {name: OF_PARAMETERS[name] for name in ("loss", "gradient", "product there")}
    asked |= {name: OF_VECTORS[name] for name in ("product", "quadratic forms")}
    asked["Rayleigh quotient"] = lambda made, v: made.rayleigh_quotient(v).value
    for ask in asked.values():
        found, wanted = ask(made, somewhere(2)), ask(alone, tree(2))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted
        )


def test_states_may_be_numpy_arrays_and_others_are_refused():
    def loss(w, state, x):
        return (x * w) ** 2 * state["scale"]

    made = Objective(loss, jnp.ones(()), [np.ones(3, "f4")], state={"scale": np.float32(2)})
    assert made.loss() == 2
    for scale in (np.float32(3), np.float64(3), 3.0, 3):
        assert made.with_state({"scale": scale}).loss() == 3
    with pytest.raises(RequestError, match="state: its tree structure differs"):
        made.with_state({"mean": np.float32(3)})
    with pytest.raises(RequestError, match=r"state: 'scale' has shape \(2,\), not \(\)"):
        made.with_state({"scale": np.ones(2, "f4")})


def test_arithmetic_takes_numpy_trees_of_any_precision():
    one, other = tree(1, "f8"), tree(2, "f8")
    mine, theirs = on_device(one), on_device(other)
    same(parameters.dot(one, other), parameters.dot(mine, theirs))
    same(parameters.norm(one), parameters.norm(mine))
    same(parameters.unit(one), parameters.unit(mine))
    same(parameters.scaled(one, np.float64(2)), parameters.scaled(mine, 2.0))
    added = parameters.add_scaled(one, np.float64(2), other)
    same(added, parameters.add_scaled(mine, 2.0, theirs))


def test_a_block_may_be_named_by_any_sequence():
    made = objective()
    for names in (["a"], ("a",), np.array(["a"]), (name for name in "a")):
        assert list(made.block(names).params) == ["a"]


def test_a_mistake_does_not_hide_behind_the_next_call():
    made = Objective(lambda w, x: jnp.mean(w * x), jnp.ones(()), [np.ones(4, "f4")])
    for _ in range(2):
        with pytest.raises(RequestError, match="do not average over the batch"):
            made.loss()
