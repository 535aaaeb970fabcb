import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.ntk import condition_number, kernel_eigenvalues, pair_eigenvalues, summarise


def linear(w, x):
    return x @ w


def test_kappa_of_orthogonal_inputs_is_the_ratio_of_their_squared_lengths():
    x = np.diag([1.0, 10.0, 1000.0]).astype("f")
    found = condition_number(linear, jnp.zeros((3, 2)), [x])
    assert found.kappa == pytest.approx(1e6, rel=1e-5)
    assert found.resolved
    np.testing.assert_allclose(found.eigenvalues[0], [2e6, 200, 2], rtol=1e-5)


def test_condition_numbers_beyond_float32_gram_matrices_are_resolved():
    x = np.diag([1.0, 1e5]).astype("f")
    found = condition_number(linear, jnp.zeros((2, 1)), [x])
    assert found.kappa == pytest.approx(1e10, rel=1e-4)
    assert found.resolved


def test_a_singular_kernel_is_not_passed_off_as_resolved():
    x = np.array([[1.0, 2.0], [1.0, 2.0]], "f")
    found = condition_number(linear, jnp.zeros((2, 1)), [x])
    assert not found.resolved
    assert found.kappa > 1e10


def test_mean_and_standard_error_are_over_batches():
    x = np.diag([1.0, 2.0, 1.0, 4.0]).astype("f")
    batches, called = [x[:2], x[2:]], []
    found = condition_number(linear, jnp.zeros((4, 1)), batches, progress=lambda: called.append(1))
    assert found.per_batch.tolist() == [4, 16]
    assert found.kappa == 10
    assert found.standard_error == pytest.approx(6)
    assert len(called) == 2
    assert np.isnan(condition_number(linear, jnp.zeros((4, 1)), batches[:1]).standard_error)


def test_batches_must_exist_and_be_equal_in_size():
    with pytest.raises(RequestError, match="none"):
        summarise([])
    with pytest.raises(RequestError, match="ragged"):
        summarise([np.ones(3), np.ones(2)])


def test_eigenvalues_descend():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    values = kernel_eigenvalues(linear, jnp.zeros((4, 1)), x)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values[:4], np.linalg.svd(x)[1] ** 2, rtol=1e-4)


def features(rows, width, rank, seed=0):
    """Inputs (rows, width) that span ``rank`` dimensions."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, width))).astype("f")


@pytest.mark.parametrize("seed", range(3))
def test_as_many_inputs_as_the_kernel_has_rank_are_said_to_limit_kappa(seed):
    x = features(24, 9, 6, seed)
    found = condition_number(linear, jnp.zeros((9, 2)), [x[:6], x[6:12], x[12:18]])
    assert (found.resolved, found.rank, found.attainable_rank) == (True, 6, 6)
    assert found.rank_limited
    assert "at the edge of singularity" in found.statement
    assert "no more than rank 6" in repr(found)
    assert found.kappa == found.per_batch.min()  # a mean of these would mean nothing
    assert np.isnan(found.standard_error)


@pytest.mark.parametrize("seed", range(3))
def test_more_inputs_than_rank_give_a_singular_kernel_and_fewer_give_a_measurement(seed):
    x = features(24, 9, 6, seed)
    singular = condition_number(linear, jnp.zeros((9, 2)), [x[:8], x[8:16]])
    assert (singular.resolved, singular.rank, singular.attainable_rank) == (False, 6, 6)
    assert "singular to rounding, rank 6 of 8" in singular.statement
    x = features(24, 12, 9, seed)
    measured = condition_number(linear, jnp.zeros((12, 2)), [x[:5], x[5:10], x[10:15]])
    assert not measured.rank_limited
    assert (measured.rank, measured.attainable_rank) == (5, 9)
    assert measured.kappa == pytest.approx(measured.per_batch.mean())
    assert measured.standard_error > 0
    assert "two batches together have 9" in measured.statement


def test_a_rank_that_two_batches_do_not_exhaust_is_a_lower_bound():
    x = features(24, 9, 9)
    found = condition_number(linear, jnp.zeros((9, 2)), [x[:4], x[4:8]])
    assert "two batches together have 8" in found.statement
    alone = condition_number(linear, jnp.zeros((9, 2)), [x[:4]])
    assert alone.attainable_rank is None
    assert "one batch does not tell which rank" in alone.statement


def test_a_head_of_zeros_behind_a_norm_gives_as_much_rank_as_its_width():
    def network(params, x):
        hidden = x @ params["a"]
        hidden = hidden - jnp.mean(hidden, axis=1, keepdims=True)
        hidden = hidden / jnp.sqrt(jnp.mean(hidden**2, axis=1, keepdims=True))
        return hidden @ params["head"] + params["bias"][None]

    rng = np.random.default_rng(0)
    params = {"a": jnp.asarray(rng.normal(size=(12, 8)), "f"), "head": jnp.zeros((8, 3)),
              "bias": jnp.zeros(3)}  # fmt: skip
    x = rng.normal(size=(32, 12)).astype("f")
    found = condition_number(network, params, [x[:8], x[8:16]])
    assert found.attainable_rank == 8  # 8 features, less 1 for the norm, 1 more for the bias
    assert found.rank_limited


def test_kernels_in_bfloat16_resolve_only_what_bfloat16_holds():
    x = np.diag([1.0, 64.0]).astype("f")
    precise = condition_number(linear, jnp.zeros((2, 1)), [x])
    coarse = condition_number(linear, jnp.zeros((2, 1), jnp.bfloat16), [jnp.asarray(x, "bfloat16")])
    assert precise.resolved
    assert not coarse.resolved


def test_singular_kernels_in_float64_are_not_resolved(x64):
    """The eigenvalues themselves are no better than float64: 31 of 60 were called resolved."""
    for seed in range(10):
        x = features(16, 9, 7, seed).astype("f8")
        found = condition_number(linear, jnp.zeros((9, 1)), [x[:8], x[8:]])
        assert not found.resolved
        assert (found.rank, found.attainable_rank) == (7, 7)


def test_what_a_network_closes_over_counts_at_the_time_of_the_call():
    gain = {}

    def network(w, x):
        return gain["of first"] * x[:, :1] @ w[:1] + x[:, 1:] @ w[1:]

    found = []
    for gain["of first"] in (1.0, 10.0):
        found.append(condition_number(network, jnp.zeros((2, 1)), [np.eye(2, dtype="f")]).kappa)
    assert found == pytest.approx([1.0, 100.0])


def test_a_kernel_of_zeros_has_no_condition_number():
    found = condition_number(lambda w, x: 0 * x @ w, jnp.zeros((2, 1)), [np.eye(2, dtype="f")] * 2)
    assert not found.resolved
    assert "not defined over 2 kernels of 2 inputs: the kernel is zero" in found.statement


@pytest.mark.parametrize("rank", [7, 8, 9, 10])
def test_as_many_inputs_as_nearly_the_rank_have_no_mean(rank):
    """The inverse of the smallest eigenvalue of so square a random matrix has no variance."""
    x = features(24, 12, rank)
    found = condition_number(linear, jnp.zeros((12, 2)), [x[:6], x[6:12], x[12:18]])
    assert found.resolved
    assert found.rank_limited == (rank < 10)
    assert np.isnan(found.standard_error) == (rank < 10)


def test_a_network_that_computes_in_bfloat16_resolves_only_what_bfloat16_holds():
    def coarse(w, x):
        return (x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(jnp.float32)

    x = np.diag([1.0, 64.0]).astype("f")
    assert condition_number(linear, jnp.zeros((2, 1)), [x]).resolved
    assert not condition_number(coarse, jnp.zeros((2, 1)), [x]).resolved


def test_the_two_first_batches_have_the_kernels_they_have_alone():
    x = features(12, 5, 5)
    found = condition_number(linear, jnp.zeros((5, 1)), [x[:4], x[4:8], x[8:]])
    alone = [kernel_eigenvalues(linear, jnp.zeros((5, 1)), part) for part in (x[:4], x[4:8], x[8:])]
    np.testing.assert_allclose(found.eigenvalues, alone, rtol=1e-6)
    first, second, both = pair_eigenvalues(linear, jnp.zeros((5, 1)), x[:4], x[4:8])
    assert (len(first), len(second), len(both)) == (4, 4, 8)
