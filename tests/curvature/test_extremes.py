import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import SPECTRA, Diagonal, quadratic, rotated

from landscape.curvature import block_extremes, eigenpairs, extremes, trace
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective

PRECISION = {np.float32: 1e-5, np.float64: 1e-10}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


@pytest.mark.parametrize(
    "spectrum",
    [
        [-3.0, -1.0, 0.0, 2.0, 5.0, 9.0],  # indefinite
        [-8.0, -8.0, 1.0, 4.0, 9.0, 9.0],  # degenerate at both ends
        [-20.0, -1.0, 0.0, 0.5, 1.0, 9.0],  # the negative end is larger
        [-5.0, -4.0, -3.0, -2.5, -2.0, -1.0],  # negative definite
    ],
)
def test_prescribed_spectra_are_found_between_their_bounds(dtype, spectrum):
    objective = quadratic(rotated(spectrum, dtype=dtype), np.ones(6))
    found = extremes(objective, limit=30)
    assert found.lambda_max.converged
    assert found.lambda_min.converged
    for eigenvalue, true in ((found.lambda_max, max(spectrum)), (found.lambda_min, min(spectrum))):
        scale = max(map(abs, spectrum))
        assert abs(eigenvalue.estimate - true) <= PRECISION[dtype] * scale
        assert eigenvalue.lower <= true <= eigenvalue.upper
        assert eigenvalue.lower <= eigenvalue.estimate <= eigenvalue.upper


def test_softmax_regression_at_zero(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)).astype(dtype)
    labels = rng.integers(0, 3, 40).astype(np.int32)

    def loss(w, batch):
        logits = batch[0] @ w
        picked = jnp.take_along_axis(logits, batch[1][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    found = extremes(Objective(loss, jnp.zeros((5, 3), dtype), [(x, labels)])).lambda_max
    true = np.linalg.eigvalsh(x.T @ x / 40)[-1] / 3
    assert abs(found.estimate - true) <= PRECISION[dtype] * true
    assert found.lower <= true <= found.upper


@pytest.mark.parametrize(("a", "b", "y"), [(1.0, 2.0, 2.0), (1.5, -0.5, 3.0)])
def test_the_scalar_two_layer_network(dtype, a, b, y):
    objective = Objective(
        lambda w, batch: 0.5 * (w[0] * w[1] - batch) ** 2,
        jnp.asarray([a, b], dtype),
        [np.full(4, y, dtype)],
    )
    found = extremes(objective)
    true = np.linalg.eigvalsh([[b * b, 2 * a * b - y], [2 * a * b - y, a * a]])
    scale = np.abs(true).max()
    assert abs(found.lambda_min.estimate - true[0]) <= PRECISION[dtype] * scale
    assert abs(found.lambda_max.estimate - true[1]) <= PRECISION[dtype] * scale


def test_the_l2_term_shifts_both_ends_by_its_coefficient(dtype):
    matrix = rotated([-3.0, 1.0, 2.0, 9.0], dtype=dtype)
    plain, decayed = (extremes(quadratic(matrix, np.ones(4), l2=c)) for c in (0.0, 0.25))
    for end in ("lambda_max", "lambda_min"):
        shift = getattr(decayed, end).estimate - getattr(plain, end).estimate
        assert abs(shift - 0.25) <= PRECISION[dtype] * 9


def test_a_run_without_convergence_says_so():
    found = extremes(Diagonal(np.linspace(-1, 1, 5000)), limit=5)
    assert not found.lambda_max.converged
    assert not found.lambda_min.converged
    assert found.lambda_max.products == 5 + 2  # and one for the vector of each end
    assert found.lambda_max.upper - found.lambda_max.lower > 0.01


def test_intervals_are_as_narrow_as_asked_for():
    for width in (0.1, 0.01, 0.001):
        found = extremes(Diagonal(SPECTRA["an outlier"]), width=width).lambda_max
        assert found.converged
        assert found.upper - found.lower <= width * found.estimate


def test_the_largest_eigenvalue_alone_takes_fewer_products():
    both, top = (extremes(Diagonal(SPECTRA["an outlier"]), ends=ends) for ends in ("both", "max"))
    assert top.lambda_max.converged
    assert not top.lambda_min.converged
    assert top.lambda_max.products < both.lambda_max.products
    assert top.lambda_min.lower <= -2 <= top.lambda_min.upper


def test_an_interval_that_rounding_keeps_wide_has_not_converged():
    spectrum = np.linspace(-1, 3, 300)
    operator = Diagonal(spectrum, jnp.bfloat16)
    operator.product = lambda vector: jnp.asarray(spectrum, jnp.float32) * vector
    found = extremes(operator).lambda_max
    assert found.upper - found.lower > 0.01 * found.estimate
    assert not found.converged
    noisy = Diagonal(spectrum)
    noisy.noise = 0.05
    assert not extremes(noisy).lambda_max.converged


def test_leaves_of_several_precisions_in_double_precision(x64):
    params = {"a": jnp.ones(3), "b": jnp.ones(2, jnp.float32)}
    assert params["a"].dtype == jnp.float64

    def loss(w, batch):
        wide = jnp.concatenate([w["a"], w["b"].astype(jnp.float64)])
        return 0.5 * jnp.vdot(jnp.arange(1.0, 6.0), wide**2) * batch

    objective = Objective(loss, params, [np.ones(3)])
    assert extremes(objective).lambda_max.estimate == pytest.approx(5, rel=1e-6)
    assert eigenpairs(objective, 2).values == pytest.approx([5, 4], rel=1e-5)
    assert trace(objective, probes=2).trace.estimate == pytest.approx(15, rel=1e-6)


def test_central_differences_find_a_sharp_direction_among_many_flat_ones():
    """Curvature 100 with period 1/4 along one of 10,000 coordinates of size one."""

    def loss(w, batch):
        return (0.005 * jnp.sum(w**2) + 100 / 625 * (1 - jnp.cos(25 * w[0]))) * batch

    w = jnp.ones(10_000).at[0].set(0.0)
    data, options = [np.ones(2, "f")], {"second_derivative": "central_differences"}
    objective = Objective(loss, w, data, **options)
    found = extremes(objective, ends="max").lambda_max
    assert found.lower <= 100.01 <= found.upper
    assert found.estimate == pytest.approx(100.01, rel=0.02)


def test_a_vanishing_hessian_is_certified_as_zero():
    found = extremes(Objective(lambda w, b: w @ b.T, jnp.ones(3), [np.ones((4, 3), "f")]))
    assert found.lambda_max.converged
    assert found.lambda_min.converged
    assert found.lambda_max.upper == found.lambda_min.lower == 0


def test_a_product_may_hand_its_argument_back():
    operator = Diagonal(np.ones(30))
    operator.product = lambda vector: vector
    assert extremes(operator).lambda_max.estimate == pytest.approx(1)


def test_the_same_seed_gives_the_same_run():
    runs = [extremes(Diagonal(SPECTRA["no gap"]), seed=s) for s in (1, 1, 2)]
    assert runs[0].runs == runs[1].runs
    assert runs[0].runs != runs[2].runs


def test_blocks_obey_interlacing_and_share_the_confidence():
    spectrum = np.r_[np.linspace(-1, 4, 20), 9.0]
    matrix = jnp.asarray(rotated(spectrum, dtype=np.float32))

    def loss(w, batch):
        v = jnp.concatenate([w["a"], w["b"]])
        return 0.5 * jnp.vdot(v, matrix @ v) * batch

    params = {"a": jnp.ones(8), "b": jnp.ones(13)}
    objective = Objective(loss, params, [np.ones(3, "f")])
    called = []
    found = block_extremes(objective, {"a": ["a"], "b": ["b"]}, progress=called.append)
    whole = extremes(objective)
    for name, rows in {"a": slice(0, 8), "b": slice(8, 21)}.items():
        values = np.linalg.eigvalsh(np.asarray(matrix)[rows, rows])
        block = found[name].lambda_max
        assert block.lower <= values[-1] <= block.upper
        assert block.estimate == pytest.approx(values[-1], rel=1e-4)
        assert block.estimate <= whole.lambda_max.upper
        assert called.count(name) == block.products
    alone = extremes(objective.block(["a"]))
    assert found["a"].lambda_max.products >= alone.lambda_max.products


@pytest.mark.parametrize("wrong", [{"width": 0}, {"width": 1.5}, {"confidence": 1.0}, {"limit": 0}])
def test_requests_out_of_range_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        extremes(Diagonal([1.0, 2.0]), **wrong)


def test_products_that_are_not_finite_are_told():
    objective = Objective(lambda w, b: jnp.sqrt(w) * b, jnp.zeros(()), [np.ones(3, "f")])
    with pytest.raises(RequestError, match="product 1 is not finite"):
        extremes(objective)


@pytest.mark.parametrize(
    ("spectrum", "starts"),
    [
        (np.full(10**6, 7.0), 3),
        (np.r_[np.full(10**6, 1.0), np.full(9, 40.0), -2.0], 1),
    ],
)
def test_few_distinct_eigenvalues_among_a_million_are_certified(spectrum, starts):
    found = extremes(Diagonal(spectrum))
    assert found.lambda_max.converged
    assert found.lambda_min.converged
    assert len(found.runs) == starts
    for end, true in ((found.lambda_max, spectrum.max()), (found.lambda_min, spectrum.min())):
        assert end.lower <= true <= end.upper
        assert end.upper - end.lower <= 0.01 * np.abs(spectrum).max()


@pytest.mark.parametrize("name", ["an outlier", "a dominant negative end", "no gap"])
def test_vectors_have_the_quotient_and_the_residual_of_their_eigenvalue(name):
    found = extremes(Diagonal(SPECTRA[name]), vectors=True, width=1e-3, limit=200)
    for end, vector in found.vectors.items():
        eigenvalue = getattr(found, end)
        assert float(jnp.linalg.norm(vector)) == pytest.approx(1, rel=1e-5)
        image = np.asarray(SPECTRA[name]) * vector
        assert float(vector @ image) == pytest.approx(eigenvalue.estimate, rel=1e-4)
        residual = float(np.linalg.norm(image - eigenvalue.estimate * vector))
        assert residual == pytest.approx(eigenvalue.residual, rel=0.1, abs=1e-3)


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 2, 7, 11])
def test_a_killed_search_goes_on_at_the_last_product(tmp_path, monkeypatch, killed_at):
    monkeypatch.setattr(Journal, "SHARE", np.inf)  # keep every state
    matrix = jnp.asarray(rotated(np.r_[np.linspace(-1, 4, 60), 9.0], dtype=np.float32))

    def loss(w, batch):
        v = jnp.concatenate([w["a"], w["b"]])
        return 0.5 * jnp.vdot(v, matrix @ v) * batch

    objective = Objective(loss, {"a": jnp.ones(20), "b": jnp.ones(41)}, [np.ones(3, "f")])
    blocks = {"a": ["a"], "the/second": ["b"]}
    undisturbed = block_extremes(objective, blocks)
    products = 0

    def die(_):
        nonlocal products
        products += 1
        if products == 2 * killed_at + 1:  # in the round after
            raise Killed

    with pytest.raises(Killed):
        block_extremes(objective, blocks, progress=die, journal=Journal(tmp_path / "kept"))
    again = []
    resumed = block_extremes(
        objective, blocks, progress=again.append, journal=Journal(tmp_path / "kept")
    )
    for name in blocks:
        assert resumed[name].lambda_max == undisturbed[name].lambda_max
        assert resumed[name].runs == undisturbed[name].runs
        assert again.count(name) == max(0, resumed[name].lambda_max.products - killed_at)


def kinked(scale=1.0):
    """Finite everywhere, without a second derivative along ``b``."""

    def loss(w, batch):
        return (w["a"] ** 2 + jnp.sqrt(jnp.abs(w["b"])) + w["c"] ** 2 * scale) * batch

    return Objective(loss, {name: jnp.float32(name != "b") for name in "abc"}, [jnp.ones(3)])


@pytest.mark.parametrize("order", ["abc", "bca", "cab"])
def test_an_error_names_the_block_that_it_is_of(order):
    finished = []
    with pytest.raises(RequestError, match=r"block 'the b': product: .* 1 is not finite"):
        block_extremes(
            kinked(),
            {f"the {name}": [name] for name in order},
            found=lambda name, _: finished.append(name),
        )
    assert "the b" not in finished


def test_an_error_of_the_shared_product_names_the_block_that_cannot_be_differentiated():
    def twice(x):  # no derivative of it
        return jax.pure_callback(lambda x: 2 * x, jax.ShapeDtypeStruct((), "f4"), x)

    def loss(w, batch):
        return (w["a"] ** 2 + twice(w["b"]) + w["c"] ** 2) * batch

    objective = Objective(loss, {name: jnp.ones(()) for name in "abc"}, [jnp.ones(3)])
    with pytest.raises(RequestError, match="block 'middle': loss: no hessian product"):
        block_extremes(objective, {"first": ["a"], "middle": ["b"], "last": ["c"]})


def test_the_whole_matrix_has_no_name_in_errors():
    with pytest.raises(RequestError, match=r"^product: "):
        extremes(kinked())
