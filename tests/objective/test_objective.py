from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from spectra import dense, quadratic, rotated

from landscape import devices, parameters
from landscape.errors import OutOfMemory, RequestError
from landscape.objective import Composite, Objective
from landscape.objective.derivatives import Matrix
from landscape.objective.passes import sum_over_devices

PRECISION = {np.float32: 1e-5, np.float64: 1e-10}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


def regression_data(dtype, examples=23, features=4, batch=8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, features)).astype(dtype)
    y = rng.normal(size=examples).astype(dtype)
    return x, y, [(x[i : i + batch], y[i : i + batch]) for i in range(0, examples, batch)]


def close(found, expected, dtype):
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(found, expected, rtol=0, atol=PRECISION[dtype] * scale)


def test_linear_regression_with_a_ragged_last_batch(dtype):
    x, y, data = regression_data(dtype)
    w = np.arange(4).astype(dtype)
    objective = Objective(lambda w, b: (b[0] @ w - b[1]) ** 2, jnp.asarray(w), data)
    close(objective.loss(), np.mean((x @ w - y) ** 2), dtype)
    close(objective.gradient(), 2 / len(x) * x.T @ (x @ w - y), dtype)
    close(dense(objective), 2 / len(x) * x.T @ x, dtype)
    assert objective.examples == 23


def test_logistic_regression(dtype):
    x, y, data = regression_data(dtype)
    data = [(a, (b > 0).astype(dtype)) for a, b in data]

    def loss(w, batch):
        z = batch[0] @ w
        return jnp.logaddexp(jnp.zeros_like(z), z) - batch[1] * z

    w = np.linspace(-1, 1, 4).astype(dtype)
    s = 1 / (1 + np.exp(-(x @ w)))
    objective = Objective(loss, jnp.asarray(w), data)
    close(objective.gradient(), x.T @ (s - (y > 0)) / len(x), dtype)
    close(dense(objective), x.T @ np.diag(s * (1 - s)) @ x / len(x), dtype)


def test_softmax_regression_and_its_gauss_newton_matrix(dtype):
    x, _, data = regression_data(dtype)
    classes = 3
    data = [(a, (np.abs(b) * 2).astype(np.int32) % classes) for a, b in data]

    def criterion(logits, batch):
        picked = jnp.take_along_axis(logits, batch[1][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    loss = Composite(lambda w, batch: batch[0] @ w, criterion)
    w = np.random.default_rng(1).normal(size=(4, classes)).astype(dtype)
    objective = Objective(loss, jnp.asarray(w), data)
    p = np.exp(x @ w) / np.exp(x @ w).sum(1, keepdims=True)
    middle = np.einsum("ni,ij->nij", p, np.eye(classes)) - np.einsum("ni,nj->nij", p, p)
    expected = np.einsum("na,nb,nij->aibj", x, x, middle).reshape(12, 12) / len(x)
    close(dense(objective), expected, dtype)
    v = np.random.default_rng(2).normal(size=(4, classes)).astype(dtype)
    close(
        np.ravel(objective.with_curvature("gauss_newton").product(jnp.asarray(v))),
        expected @ v.ravel(),
        dtype,
    )  # equal to the Hessian: the model is linear


def test_softmax_regression_at_zero_has_a_known_largest_eigenvalue(dtype):
    x, _, data = regression_data(dtype)
    data = [(a, (np.abs(b) * 2).astype(np.int32) % 3) for a, b in data]

    def loss(w, batch):
        logits = batch[0] @ w
        picked = jnp.take_along_axis(logits, batch[1][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    values = np.linalg.eigvalsh(dense(Objective(loss, jnp.zeros((4, 3), dtype), data)))
    top = np.linalg.eigvalsh(x.T @ x / len(x))[-1] / 3
    close(values[-2:], [top, top], dtype)


@pytest.mark.parametrize(("a", "b", "y"), [(1.0, 2.0, 2.0), (1.5, -0.5, 3.0), (0.0, 0.0, 1.0)])
def test_the_scalar_two_layer_network(dtype, a, b, y):
    def loss(w, batch):
        return 0.5 * (w["a"] * w["b"] - batch) ** 2

    objective = Objective(
        loss, {"a": jnp.asarray(a, dtype), "b": jnp.asarray(b, dtype)}, [np.full(5, y, dtype)]
    )
    close(objective.loss(), 0.5 * (a * b - y) ** 2, dtype)
    close(dense(objective), [[b * b, 2 * a * b - y], [2 * a * b - y, a * a]], dtype)


def test_gauss_newton_drops_the_curvature_of_the_model(dtype):
    outputs = lambda w, batch: w["a"] * w["b"] * jnp.ones_like(batch)  # noqa: E731
    loss = Composite(outputs, lambda out, batch: 0.5 * (out - batch) ** 2)
    w = {"a": jnp.asarray(1.5, dtype), "b": jnp.asarray(-0.5, dtype)}
    objective = Objective(loss, w, [np.full(5, 3.0, dtype)])
    product = objective.with_curvature("gauss_newton").product(
        {"a": jnp.asarray(1, dtype), "b": jnp.asarray(0, dtype)}
    )
    close([product["a"], product["b"]], [0.25, -0.75], dtype)


def test_gauss_newton_of_a_plain_loss_is_refused():
    with pytest.raises(RequestError, match="Composite"):
        quadratic(np.eye(2, dtype="f"), [1, 1]).with_curvature("gauss_newton")


def test_a_prescribed_indefinite_hessian_is_reproduced(dtype):
    matrix = rotated([-3.0, -1.0, 0.0, 2.0, 2.0, 9.0], dtype=dtype)
    close(dense(quadratic(matrix, np.ones(6))), matrix, dtype)


def test_the_l2_term_shifts_loss_gradient_and_every_eigenvalue(dtype):
    matrix, point = rotated([-3.0, 1.0, 9.0], dtype=dtype), np.array([1.0, 2.0, -1.0], dtype)
    plain, decayed = quadratic(matrix, point), quadratic(matrix, point, l2=0.25)
    close(decayed.loss() - plain.loss(), 0.125 * 6, dtype)
    close(decayed.gradient(), plain.gradient() + dtype(0.25) * point, dtype)
    close(np.linalg.eigvalsh(dense(decayed)), np.array([-2.75, 1.25, 9.25]), dtype)


def network(params, batch):
    hidden = jnp.tanh(batch["x"] @ params["first"]["kernel"] + params["first"]["bias"][None, :])
    return hidden @ params["second"]


LOSS = Composite(network, lambda out, batch: (out - batch["y"]) ** 2)


def network_objective(**options):
    x, y, _ = regression_data(np.float32, examples=37)
    data = [{"x": x[i : i + 10], "y": y[i : i + 10]} for i in range(0, 37, 10)]
    rng = np.random.default_rng(3)
    params = {
        "first": {
            "kernel": jnp.asarray(rng.normal(size=(4, 5)), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=5), jnp.float32),
        },
        "second": jnp.asarray(rng.normal(size=5), jnp.float32),
    }
    return Objective(LOSS, params, data, **options)


def test_blocks_are_sub_matrices_of_the_hessian():
    whole = network_objective(l2=0.1)
    matrix = dense(whole)  # order of leaves: first/bias (5), first/kernel (20), second (5)
    for name, rows in {"first/bias": slice(0, 5), "first/kernel": slice(5, 25)}.items():
        block = whole.block([name])
        np.testing.assert_allclose(dense(block), matrix[rows, rows], atol=1e-5)
        assert block.loss() == pytest.approx(whole.loss(), rel=1e-6)
    with pytest.raises(RequestError, match="no parameter 'third'"):
        whole.block(["third"])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_mesh_of_any_size_gives_the_same_numbers(count):
    alone, meshed = (
        network_objective(l2=0.1),
        network_objective(l2=0.1, mesh=devices.data_mesh(count)),
    )
    vector = jax.tree.map(jnp.ones_like, alone.params)
    assert meshed.loss() == pytest.approx(alone.loss(), rel=1e-6)
    for curvature in get_args(Matrix):
        a, b = (o.with_curvature(curvature).product(vector) for o in (alone, meshed))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5), a, b)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5),
        alone.gradient(),
        meshed.gradient(),
    )


def test_a_product_communicates_once():
    mesh = devices.data_mesh(8)
    objective = network_objective(mesh=mesh)
    vector = jax.tree.map(jnp.ones_like, objective.params)
    objective.product(vector)
    step = objective._step("product")
    weight = objective._scalar(1.0)
    program = step.program(
        objective.params, objective._fixed, vector, weight, next(iter(objective._data))
    )
    assert "all-reduce" not in program.compiled.as_text()
    reduction = sum_over_devices(mesh).lower(program.zeros()).compile().as_text()
    assert reduction.count(" all-reduce(") == 1


def test_metrics_come_with_the_loss():
    objective = network_objective(metrics=lambda p, b: {"sign": (b["y"] > 0).astype(jnp.float32)})
    _, y, _ = regression_data(np.float32, examples=37)
    assert objective.evaluate()["sign"] == pytest.approx(float((y > 0).mean()))


def test_products_are_linear_symmetric_and_repeatable():
    objective = network_objective()
    u, v = (
        jax.tree.map(
            lambda x, s=seed: jnp.asarray(np.random.default_rng(s).normal(size=x.shape), "f"),
            objective.params,
        )
        for seed in (0, 1)
    )
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])  # noqa: E731
    hu, hv = flat(objective.product(u)), flat(objective.product(v))
    assert flat(u) @ hv == pytest.approx(flat(v) @ hu, rel=1e-4)
    summed = objective.product(jax.tree.map(jnp.add, u, v))
    np.testing.assert_allclose(flat(summed), hu + hv, atol=1e-4)
    assert (flat(objective.product(u)) == hu).all()


def test_shuffled_data_are_refused():
    class Shuffled:
        passes = 0

        def __iter__(self):
            rng = np.random.default_rng(self.passes)
            self.passes += 1
            yield rng.permutation(np.arange(8, dtype="f"))

    objective = Objective(lambda w, b: w * b, jnp.ones(()), Shuffled())
    with pytest.raises(RequestError, match=r"two passes gave different data.*shuffled"):
        objective.loss()


def test_passes_of_different_length_are_refused():
    class Shrinking:
        left = 4

        def __iter__(self):
            self.left -= 1
            return iter([np.ones(4, "f")] * self.left)

    with pytest.raises(RequestError, match="2 batches, then 1"):
        Objective(lambda w, b: w * b, jnp.ones(()), Shrinking()).loss()


def test_iterators_are_refused():
    with pytest.raises(RequestError, match="iterator"):
        Objective(lambda w, b: w * b, jnp.ones(()), iter([np.ones(4, "f")]))


def test_dropout_is_refused_with_its_reason():
    def loss(w, batch):
        keep = jax.random.bernoulli(jax.random.key(0), 0.5, batch.shape)
        return w * jnp.where(keep, batch, jnp.zeros_like(batch))

    objective = Objective(loss, jnp.ones(()), [np.linspace(1, 2, 16).astype("f")])
    with pytest.raises(RequestError, match="place in the batch: dropout"):
        objective.loss()


def test_random_losses_are_refused():
    rng = np.random.default_rng(0)

    def loss(w, batch):
        noise = jax.pure_callback(
            lambda b: rng.normal(size=b.shape).astype("f"),
            jax.ShapeDtypeStruct(batch.shape, "float32"),
            batch,
        )
        return w * (batch + noise)

    with pytest.raises(RequestError, match="two passes over the same data"):
        Objective(loss, jnp.ones(()), [np.ones(16, "f")]).loss()


def test_batch_statistics_are_refused_with_their_reason():
    def loss(w, batch):
        return (w * (batch - jnp.mean(batch)) / jnp.std(batch)) ** 3

    objective = Objective(loss, jnp.ones(()), [np.linspace(1, 2, 16).astype("f") ** 2])
    with pytest.raises(RequestError, match="BatchNorm"):
        objective.loss()


def test_losses_must_be_per_example():
    with pytest.raises(RequestError, match=r"shape \(4,\), got \(\)"):
        Objective(lambda w, b: jnp.mean(w * b), jnp.ones(()), [np.ones(4, "f")]).loss()


def test_parameters_must_be_finite_and_floating():
    with pytest.raises(RequestError, match="non-finite"):
        Objective(lambda w, b: w * b, jnp.asarray(jnp.nan), [np.ones(4, "f")])
    with pytest.raises(RequestError, match="int32"):
        Objective(lambda w, b: w * b, jnp.asarray(1, "int32"), [np.ones(4, "f")])


def test_vectors_must_fit_the_parameters():
    objective = network_objective()
    with pytest.raises(RequestError, match="structure"):
        objective.product({"other": jnp.ones(3)})
    vector = jax.tree.map(jnp.ones_like, objective.params) | {"second": jnp.ones(4)}
    with pytest.raises(RequestError, match=r"'second' has shape \(4,\), not \(5,\)"):
        objective.product(vector)


def test_batches_must_be_aligned_and_not_empty():
    loss = lambda w, b: w * b["x"]  # noqa: E731
    with pytest.raises(RequestError, match="share one leading axis"):
        Objective(loss, jnp.ones(()), [{"x": np.ones(3, "f"), "y": np.ones(4, "f")}]).loss()
    with pytest.raises(RequestError, match="no examples"):
        Objective(loss, jnp.ones(()), []).loss()


def test_a_pass_that_cannot_fit_is_refused_before_it_runs(monkeypatch):
    monkeypatch.setattr(devices, "available_memory", lambda: 1000)
    objective = Objective(
        lambda w, b: b @ jnp.outer(w, w) @ w, jnp.ones(64), [np.ones((9, 64), "f")]
    )
    with pytest.raises(RequestError, match=r"of 9 examples at a time needs .* use --batch-size"):
        objective.loss()


def test_operations_without_a_second_derivative_are_named():
    @jax.custom_vjp
    def kernel(x):
        return x**2

    def backward(x, cotangent):
        shape = jax.ShapeDtypeStruct((), "float32")
        return (2 * cotangent * jax.pure_callback(lambda x: x, shape, x),)

    kernel.defvjp(lambda x: (kernel(x), x), backward)
    objective = Objective(lambda w, b: kernel(w) * b, jnp.ones(()), [np.ones(4, "f")])
    assert objective.gradient() == 2
    with pytest.raises(RequestError, match="cannot be differentiated twice"):
        objective.product(jnp.ones(()))


def test_descriptions_identify_data_and_parameters():
    a, b = network_objective(record={"loss_name": "mse"}), network_objective()
    assert a.describe()["data_hash"] == b.describe()["data_hash"]
    assert a.describe()["loss_name"] == "mse"
    assert a.describe()["examples"] == 37
    assert a.describe() == network_objective(record={"loss_name": "mse"}).describe()


def test_large_data_are_streamed_and_give_the_same(monkeypatch):
    kept = network_objective()
    monkeypatch.setattr("landscape.objective.batches.KEEP_BYTES", 0)
    streamed = network_objective()
    vector = jax.tree.map(jnp.ones_like, kept.params)
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x, y),
        kept.product(vector),
        streamed.product(vector),
    )


def per_example(objective, vector, curvature):
    """v'A_n v example by example, from an objective for each."""
    alone = (objective.subset([n]).with_curvature(curvature) for n in range(objective.examples))
    return [float(parameters.dot(vector, one.product(vector))) for one in alone]


@pytest.mark.parametrize("curvature", get_args(Matrix))
@pytest.mark.parametrize("mesh", [None, 3])
def test_quadratic_forms_are_those_of_each_example(curvature, mesh):
    mesh = None if mesh is None else devices.data_mesh(mesh)
    objective = network_objective(l2=0.1, mesh=mesh)
    vector = parameters.gaussian(jax.random.key(1), objective.params)
    forms = objective.with_curvature(curvature).quadratic_forms(vector)
    np.testing.assert_allclose(forms, per_example(objective, vector, curvature), rtol=1e-4)
    product = objective.with_curvature(curvature).product(vector)
    assert np.mean(forms) == pytest.approx(float(parameters.dot(vector, product)), rel=1e-5)


def test_the_empirical_fisher_matrix_is_the_mean_outer_product_of_gradients(dtype):
    x, y, data = regression_data(dtype)
    w = np.arange(4).astype(dtype)
    objective = Objective(lambda w, b: (b[0] @ w - b[1]) ** 2, jnp.asarray(w), data)
    gradients = 2 * (x @ w - y)[:, None] * x
    close(dense(objective.with_curvature("empirical_fisher")), gradients.T @ gradients / 23, dtype)


def test_a_subset_holds_the_chosen_examples_in_order():
    x, y, data = regression_data(np.float32)
    objective = Objective(lambda w, b: (b[0] @ w - b[1]) ** 2, jnp.ones(4), data)
    chosen = [20, 3, 11, 0, 7, 8, 22, 15, 1]
    part = objective.subset(chosen)
    assert part.examples == 9
    assert part.loss() == pytest.approx(np.mean((x[chosen].sum(axis=1) - y[chosen]) ** 2), rel=1e-6)
    np.testing.assert_array_equal(np.concatenate([b[1] for b in part.batches]), y[chosen])
    with pytest.raises(RequestError, match="from 0 to 22"):
        objective.subset([23])


def test_products_can_be_traced_by_solvers():
    matrix = rotated([1.0, 2.0, 5.0, 9.0], dtype=np.float32)
    objective = quadratic(matrix, np.ones(4))
    solve = jax.jit(lambda b: jax.scipy.sparse.linalg.cg(objective.product, b, tol=1e-7)[0])
    np.testing.assert_allclose(solve(jnp.ones(4)), np.linalg.solve(matrix, np.ones(4)), rtol=1e-4)


def test_scipy_finds_the_eigenvalues():
    objective = network_objective(l2=0.1)
    operator, matrix = objective.as_scipy(), dense(objective)
    largest = scipy.sparse.linalg.eigsh(operator, k=2, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(largest), np.linalg.eigvalsh(matrix)[-2:], rtol=1e-4)


def with_inner_kernel(derivative):
    """x**2 as a kernel whose backward pass calls another kernel, which has no forward rule."""

    @jax.custom_vjp
    def inner(x, cotangent):
        return derivative(x, cotangent)

    inner.defvjp(lambda x, c: (inner(x, c), (x, c)), lambda r, g: (2 * r[1] * g, 2 * r[0] * g))

    @jax.custom_vjp
    def kernel(x):
        return x**2

    kernel.defvjp(lambda x: (kernel(x), x), lambda x, cotangent: (inner(x, cotangent),))
    return kernel


@pytest.mark.parametrize("curvature", get_args(Matrix))
def test_kernels_without_a_forward_rule_are_differentiated_in_reverse(curvature):
    kernel = with_inner_kernel(lambda x, cotangent: 2 * x * cotangent)
    composites = [
        Composite(lambda w, b, f=f: b[0] @ f(w), lambda out, b: 0.5 * (out - b[1]) ** 2)
        for f in (kernel, jnp.square)
    ]
    _, _, data = regression_data(np.float32)
    w = jnp.asarray([0.5, -1.0, 2.0, 1.0])
    ours, plain = (Objective(loss, w, data).with_curvature(curvature) for loss in composites)
    np.testing.assert_allclose(dense(ours), dense(plain), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.quadratic_forms(w), plain.quadratic_forms(w), rtol=1e-4)


def test_central_differences_come_with_their_error():
    exact = network_objective(l2=0.1)
    central = network_objective(l2=0.1, second_derivative="central_differences")
    assert exact.noise == 0
    assert 0 < central.noise < 1e-2
    for seed in range(5):
        vector = parameters.gaussian(jax.random.key(seed), exact.params, unit=True)
        difference = parameters.add_scaled(central.product(vector), -1.0, exact.product(vector))
        assert float(parameters.norm(difference)) <= 10 * central.noise
    part = central.block([parameters.leaf_names(exact.params)[0]])
    vector = jax.tree.map(jnp.ones_like, part.params)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(part.product(vector)))
    with pytest.raises(RequestError, match="no curvature per example"):
        central.quadratic_forms(exact.params)


@pytest.mark.parametrize("curvature", get_args(Matrix))
def test_kept_linearizations_give_the_same_products(curvature):
    objective = network_objective(l2=0.1).with_curvature(curvature)
    vector = parameters.gaussian(jax.random.key(1), objective.params)
    for one in (objective, objective.block(parameters.leaf_names(objective.params)[:1])):
        v = jax.tree.map(lambda p: jnp.full_like(p, 0.5), one.params)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5),
            one.linearized().product(v),
            one.product(v),
        )
    changed = objective.linearized().with_batches(objective.subset(range(5)).batches)
    other = objective.subset(range(5)).product(vector)
    jax.tree.map(np.testing.assert_array_equal, changed.product(vector), other)


def test_linearizations_that_do_not_fit_are_refused(monkeypatch):
    objective = network_objective()
    objective.prepare("product")
    monkeypatch.setattr("landscape.objective.linearized.available_memory", lambda: 10)
    with pytest.raises(OutOfMemory, match="micro-batches need"):
        objective.linearized()
    with pytest.raises(RequestError, match="mesh"):
        network_objective(mesh=devices.data_mesh(2)).linearized()


def test_central_differences_can_be_traced():
    options = {"second_derivative": "central_differences"}
    objective = network_objective(**options)
    vector = jax.tree.map(jnp.ones_like, objective.params)
    traced, eager = jax.jit(objective.product)(vector), network_objective().product(vector)
    difference = parameters.norm(parameters.add_scaled(traced, -1.0, eager))
    assert float(difference) <= 0.02 * float(parameters.norm(eager))


def test_central_differences_work_where_there_is_no_second_derivative():
    kernel = with_inner_kernel(lambda x, c: jax.pure_callback(lambda x, c: 2 * x * c, x, x, c))
    options = {"second_derivative": "central_differences"}
    objective = Objective(lambda w, b: kernel(w) * b, jnp.ones(()), [np.ones(4, "f")], **options)
    assert float(objective.product(jnp.ones(()))) == pytest.approx(2, rel=1e-3)


def test_misspelt_choices_and_single_batches_are_refused():
    def make(batches=None, **options):
        batches = [np.ones(3, "f4")] if batches is None else batches
        return Objective(lambda w, x: (x * w) ** 2, np.float32(2), batches, **options)

    with pytest.raises(RequestError, match="'Exact' is none of exact, central_differences"):
        make(second_derivative="Exact")
    with pytest.raises(RequestError, match="second_derivative: 'central' is none of"):
        make().with_second_derivative("central")
    with pytest.raises(RequestError, match=r"this is one batch; pass a list of batches, \[batch\]"):
        make({"x": np.ones(3, "f4")})


def test_own_facts_are_described_whatever_a_record_calls_so():
    names = ("examples", "data_hash", "parameters_hash", "l2", "curvature", "split_size")
    record = {**dict.fromkeys(names, "many"), "draws": 0, "drawn_targets": 1, "loss_name": "mse"}
    plain = network_objective(l2=0.1, split_size=50)
    made = network_objective(l2=0.1, split_size=50, record=record)
    facts = plain.describe()
    assert {name: made.describe()[name] for name in facts} == facts
    assert made.describe()["loss_name"] == "mse"
    assert made.with_params(made.params).loss() == plain.loss()  # no targets were drawn


def test_the_size_of_the_split_belongs_to_the_data():
    made = network_objective(split_size=np.int64(50))
    assert made.describe()["split_size"] == made.split_size == 50
    for kept in (made.with_l2(0.1), made.with_params(made.params), made.subset(range(5))):
        assert kept.split_size == 50
    assert made.block(["second"]).split_size == 50
    other = made.with_batches(made.subset(range(5)).batches)
    assert other.split_size is None
    assert "split_size" not in other.describe()


@pytest.mark.parametrize("size", ["many", 0, -3, 40.5, True, [50]])
def test_a_split_size_that_is_none_is_refused(size):
    with pytest.raises(RequestError, match=r"split_size: .* is no number of examples"):
        network_objective(split_size=size)


def test_a_split_is_no_smaller_than_the_examples_from_it():
    assert network_objective(split_size=37).examples == 37
    with pytest.raises(RequestError, match="split_size: 36, and there are 37 examples"):
        network_objective(split_size=36).loss()
