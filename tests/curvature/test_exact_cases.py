"""Curvature whose values are known in closed form, in single and double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import Diagonal, dense

from landscape import parameters
from landscape.curvature import block_extremes, eigenpairs, extremes, spectrum, trace
from landscape.objective import Composite, Objective

PRECISION = {np.float32: 1e-5, np.float64: 1e-10}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


def holds(objective, eigenvalues, dtype):
    """Both ends with their bounds, the trace and the whole spectrum."""
    eigenvalues = np.sort(np.asarray(eigenvalues, float))
    scale = np.abs(eigenvalues).max()
    found = extremes(objective, limit=200)
    for end, true in ((found.lambda_max, eigenvalues[-1]), (found.lambda_min, eigenvalues[0])):
        assert abs(end.estimate - true) <= PRECISION[dtype] * scale
        assert end.lower <= true <= end.upper
        assert end.converged
    np.testing.assert_allclose(
        np.linalg.eigvalsh(dense(objective)), eigenvalues, atol=PRECISION[dtype] * scale
    )
    pairs = eigenpairs(objective, len(eigenvalues))
    np.testing.assert_allclose(pairs.values, eigenvalues[::-1], atol=10 * PRECISION[dtype] * scale)


def arrays(dtype, *shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def test_linear_regression(dtype):
    x, y, w = arrays(dtype, (21, 4), (21,), (4,))
    data = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 21, 8)]
    objective = Objective(lambda w, b: (b[0] @ w - b[1]) ** 2, jnp.asarray(w), data)
    matrix = 2 / 21 * x.astype(float).T @ x
    holds(objective, np.linalg.eigvalsh(matrix), dtype)
    found = trace(objective, probes=200).trace
    true = 2 / 21 * (x.astype(float) ** 2).sum()
    assert abs(found.estimate - true) <= 4 * found.standard_error


def test_logistic_regression(dtype):
    x, w = arrays(dtype, (21, 4), (4,))
    objective = Objective(lambda w, b: jax.nn.softplus(b @ w), jnp.asarray(w), [x[:8], x[8:]])
    s = 1 / (1 + np.exp(-x.astype(float) @ w))
    holds(objective, np.linalg.eigvalsh((x.T * (s * (1 - s))) @ x / 21), dtype)


def test_softmax_regression_at_zero_has_a_multiple_largest_eigenvalue(dtype):
    x = arrays(dtype, (30, 3))[0]
    labels = np.arange(30, dtype=np.int32) % 4

    def loss(w, batch):
        logits = batch[0] @ w
        picked = jnp.take_along_axis(logits, batch[1][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    objective = Objective(loss, jnp.zeros((3, 4), dtype), [(x, labels)])
    one = np.linalg.eigvalsh(x.astype(float).T @ x / 30) / 4
    holds(objective, np.r_[np.repeat(one, 3), np.zeros(3)], dtype)


def test_a_linear_layer_repeats_its_inputs_for_every_output(dtype):
    """Mean over examples of the summed squares of Linear(4, 2): 2 I ⊗ X'X / N."""
    x, y, w = arrays(dtype, (9, 4), (9, 2), (4, 2))
    objective = Objective(
        lambda w, b: jnp.sum((b[0] @ w - b[1]) ** 2, axis=1), jnp.asarray(w), [(x, y)]
    )
    holds(objective, np.repeat(np.linalg.eigvalsh(2 / 9 * x.astype(float).T @ x), 2), dtype)


def test_a_scalar_chain_at_its_minimum(dtype):
    """Depth five, loss zero: one eigenvalue, the sum of the squared partial products."""
    w = np.array([0.5, 2.0, -1.5, 1.25, 0.8])
    y = np.prod(w)
    objective = Objective(
        lambda w, b: 0.5 * (jnp.prod(w) - b) ** 2,
        jnp.asarray(w, dtype),
        [np.full(3, y, dtype)],
    )
    found = extremes(objective).lambda_max
    true = ((y / w) ** 2).sum()
    assert abs(found.estimate - true) <= 10 * PRECISION[dtype] * true
    assert found.lower <= true * (1 + PRECISION[dtype])
    assert found.upper >= true * (1 - PRECISION[dtype])


def test_a_deep_linear_network_at_its_minimum_has_its_gauss_newton_matrix(dtype):
    a, b = arrays(dtype, (3, 4), (4, 2))
    x = np.linalg.qr(arrays(np.float64, (12, 3))[0])[0] * np.sqrt(12)  # whitened
    x = x.astype(dtype)
    data = [(x, (x @ a @ b).astype(dtype))]
    loss = Composite(
        lambda p, batch: batch[0] @ p["a"] @ p["b"],
        lambda out, batch: 0.5 * jnp.sum((out - batch[1]) ** 2, axis=1),
    )
    objective = Objective(loss, {"a": jnp.asarray(a), "b": jnp.asarray(b)}, data)
    # With whitened inputs J'J has the blocks I ⊗ BB', A'A ⊗ I and their coupling.
    jacobian = np.concatenate(
        [np.einsum("im,nk->ikmn", np.eye(3), b).reshape(6, 12),
         np.einsum("im,kn->ikmn", a, np.eye(2)).reshape(6, 8)],
        axis=1,
    )  # fmt: skip
    eigenvalues = np.linalg.eigvalsh(jacobian.astype(float).T @ jacobian)
    for matrix in (objective, objective.with_curvature("gauss_newton")):
        found = np.linalg.eigvalsh(dense(matrix))
        np.testing.assert_allclose(found, eigenvalues, atol=30 * PRECISION[dtype] * eigenvalues[-1])


@pytest.mark.parametrize("point", [(1.0, 1.0), (-1.2, 1.0), (0.3, -0.5)])
def test_rosenbrock(dtype, point):
    x, y = point
    objective = Objective(
        lambda w, b: ((1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2) * b,
        jnp.asarray(point, dtype),
        [np.ones(2, dtype)],
    )
    matrix = [[1200 * x**2 - 400 * y + 2, -400 * x], [-400 * x, 200.0]]
    holds(objective, np.linalg.eigvalsh(matrix), dtype)


MILLION = {
    "indefinite": np.r_[195.6, 105.7, -60.0, np.linspace(-2, 3, 10**6 - 3)],
    "degenerate": np.r_[np.full(5, 50.0), np.full(7, -9.0), np.linspace(-1, 1, 10**6 - 12)],
    "no gap": np.linspace(-1, 2, 10**6),
}


@pytest.mark.parametrize("name", MILLION)
def test_quadratics_with_a_million_parameters(name):
    true = MILLION[name]
    found = extremes(Diagonal(true), limit=120)
    for end, value in ((found.lambda_max, true.max()), (found.lambda_min, true.min())):
        assert end.lower <= value <= end.upper
        assert end.converged
        assert end.upper - end.lower <= 0.0101 * np.abs(true).max()
    several = spectrum(Diagonal(true), probes=3, steps=30)
    assert several.lambda_max.lower <= true.max() <= several.lambda_max.upper
    error = several.trace.standard_error
    assert abs(several.trace.estimate - true.sum()) <= 20 * error  # two degrees of freedom


def test_blocks_obey_their_identities():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)).astype("f"), rng.normal(size=(40, 2)).astype("f")
    sizes = {"a": (5, 6), "b": (6, 4), "c": (4, 2)}
    params = {name: jnp.asarray(rng.normal(size=s).astype("f")) for name, s in sizes.items()}
    loss = Composite(
        lambda p, batch: jnp.tanh(jnp.tanh(batch[0] @ p["a"]) @ p["b"]) @ p["c"],
        lambda out, batch: jnp.sum((out - batch[1]) ** 2, axis=1),
    )
    objective = Objective(loss, params, [(x[:16], y[:16]), (x[16:], y[16:])])
    blocks = parameters.blocks(params, "tensors")
    for matrix in (objective, objective.with_curvature("gauss_newton")):
        whole = extremes(matrix).lambda_max
        found = block_extremes(matrix, blocks)
        largest = [part.lambda_max for part in found.values()]
        assert max(part.lower for part in largest) <= whole.upper
        if matrix.curvature == "gauss_newton":  # positive semi-definite
            assert whole.lower <= sum(part.upper for part in largest)
        traces = [np.trace(dense(matrix.block(names))) for names in blocks.values()]
        np.testing.assert_allclose(sum(traces), np.trace(dense(matrix)), rtol=1e-5)
        estimated = trace(matrix, probes=100).blocks(blocks)
        for one, true in zip(estimated.values(), traces, strict=True):
            assert abs(one.estimate - true) <= 5 * one.standard_error


def test_gradient_descent_ends_where_its_step_is_stable():
    """At convergence λmax lies below 2/step, however sharp the start (½(ab−1)²)."""
    step, w = 0.25, np.array([3.0, 0.2])
    assert (w**2).sum() > 2 / step
    for _ in range(2000):
        w = w - step * (w[0] * w[1] - 1) * w[::-1]
    objective = Objective(
        lambda w, b: 0.5 * (w[0] * w[1] - 1) ** 2 * b,
        jnp.asarray(w, jnp.float32),
        [np.ones(2, "f")],
    )
    assert objective.loss() < 1e-6
    found = extremes(objective).lambda_max
    assert found.upper < 2 / step
    assert found.estimate == pytest.approx((w**2).sum(), rel=1e-4)
