import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import SPECTRA, Diagonal, quadratic, rotated

from landscape.curvature import Estimate, eigenpairs, hutch_plus_plus, trace, xtrace
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import gaussian

INDEFINITE = rotated(np.r_[50.0, -20.0, np.linspace(-1, 2, 58)], dtype=np.float32)


def dense_operator(matrix=INDEFINITE):
    return quadratic(matrix, np.ones(len(matrix), "f"))


def deflated(objective, seed):
    pairs = eigenpairs(objective, 3, seed=seed)
    return trace(objective, probes=12, deflate=pairs.vectors, seed=seed)


ESTIMATORS = {
    "signs": lambda objective, seed: trace(objective, probes=15, seed=seed),
    "deflated": deflated,
    "hutch++": lambda objective, seed: hutch_plus_plus(objective, products=30, seed=seed),
    "xtrace": lambda objective, seed: xtrace(objective, products=30, seed=seed),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_errors_are_as_large_as_the_standard_error_says(name):
    """Over 40 seeds the normalised errors must look like draws of Student's distribution."""
    matrix = rotated(np.r_[50.0, -20.0, np.linspace(-1, 2, 298)], dtype=np.float32)
    objective, true = dense_operator(matrix), float(np.trace(matrix))
    found = [ESTIMATORS[name](objective, seed).trace for seed in range(40)]
    normalised = [(f.estimate - true) / f.standard_error for f in found]
    assert abs(np.mean(normalised)) <= 4 / np.sqrt(40)
    covered = [low <= true <= high for low, high in (f.interval(0.9) for f in found)]
    # 36 expected; fewer than 29 has probability 1e-3.
    assert sum(covered) >= 29


@pytest.mark.parametrize("seed", range(5))
def test_a_diagonal_matrix_needs_one_probe(seed):
    found = trace(Diagonal(SPECTRA["no gap"]), probes=2, seed=seed)
    assert found.trace.estimate == pytest.approx(SPECTRA["no gap"].sum(), abs=1e-4)
    norm = np.linalg.norm(SPECTRA["no gap"])
    assert found.frobenius.estimate == pytest.approx(norm, rel=1e-5)


def test_the_frobenius_norm_of_a_dense_matrix():
    found = trace(dense_operator(), probes=60).frobenius
    assert abs(found.estimate - np.linalg.norm(INDEFINITE)) <= 4 * found.standard_error


def test_block_traces_cost_nothing_and_add_up_to_the_trace():
    matrix = jnp.asarray(INDEFINITE)

    def loss(w, batch):
        v = jnp.concatenate([w["a"], w["b"]])
        return 0.5 * jnp.vdot(v, matrix @ v) * batch

    objective = Objective(loss, {"a": jnp.ones(20), "b": jnp.ones(40)}, [np.ones(3, "f")])
    found = trace(objective, probes=80)
    parts = found.blocks({"first": ["a"], "second": ["b"], "both": ["a", "b"]})
    assert found.products == 80
    assert parts["both"] == found.trace
    total = parts["first"].estimate + parts["second"].estimate
    assert total == pytest.approx(found.trace.estimate, rel=1e-9)
    for part, rows in (("first", slice(0, 20)), ("second", slice(20, 60))):
        true = np.trace(INDEFINITE[rows, rows])
        assert abs(parts[part].estimate - true) <= 4 * parts[part].standard_error
    with pytest.raises(RequestError, match="deflated"):
        deflated(objective, 0).blocks({"a": ["a"]})


def test_deflation_leaves_less_to_chance():
    plain, better = (ESTIMATORS[name](dense_operator(), 0) for name in ("signs", "deflated"))
    assert better.trace.standard_error < plain.trace.standard_error


def test_a_low_rank_matrix_is_exact_for_sketches():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(80, 4))
    objective = dense_operator((factor @ factor.T).astype(np.float32))
    for found in (hutch_plus_plus(objective, products=30), xtrace(objective, products=30)):
        assert found.trace.estimate == pytest.approx((factor**2).sum(), rel=1e-4)


def test_leave_one_out_agrees_with_its_definition(x64):
    """Against an estimate for every left-out probe with a basis made anew."""
    matrix = INDEFINITE.astype(np.float64)
    count, size = 6, len(matrix)
    keys = [jax.random.fold_in(jax.random.key(3), i) for i in range(count)]
    probes = np.stack([np.asarray(gaussian(key, jnp.zeros(size))) for key in keys])
    samples = []
    for i in range(count):
        others = np.delete(probes, i, axis=0)
        basis, _ = np.linalg.qr(matrix @ others.T)
        rest = probes[i] - basis @ (basis.T @ probes[i])
        scale = (size - count + 1) / (rest @ rest)
        samples.append(np.trace(basis.T @ matrix @ basis) + scale * rest @ matrix @ rest)
    found = xtrace(dense_operator(matrix), products=2 * count, seed=3).trace
    expected = Estimate.of(np.array(samples))
    assert found.estimate == pytest.approx(expected.estimate, rel=1e-9)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=1e-9)


def test_probes_stop_at_the_asked_for_error():
    found = trace(dense_operator(), probes=1000, relative_error=0.3)
    assert 8 <= found.trace.probes < 1000
    assert found.trace.standard_error <= 0.3 * abs(found.trace.estimate)


def test_a_single_probe_has_no_standard_error():
    found = trace(dense_operator(), probes=1).trace
    assert found.standard_error == np.inf
    assert found.interval() == (-np.inf, np.inf)


class Killed(Exception):
    pass


def test_a_killed_run_keeps_its_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    calls = []

    def die():
        calls.append(1)
        if len(calls) == 7:
            raise Killed

    with pytest.raises(Killed):
        trace(dense_operator(), probes=10, progress=die, journal=Journal(tmp_path / "kept"))
    again = []
    resumed = trace(
        dense_operator(),
        probes=10,
        progress=lambda: again.append(1),
        journal=Journal(tmp_path / "kept"),
    )
    assert len(again) == 3
    assert resumed.trace == trace(dense_operator(), probes=10).trace


def test_wrong_requests_are_refused():
    with pytest.raises(RequestError, match="probes"):
        trace(dense_operator(), probes=0)
    for method in (hutch_plus_plus, xtrace):
        with pytest.raises(RequestError, match="products"):
            method(dense_operator(), products=3)
