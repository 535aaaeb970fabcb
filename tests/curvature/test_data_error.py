import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import dense

from landscape.curvature import data_error, extremes, scan
from landscape.errors import RequestError
from landscape.objective import Objective

FEATURES = 30


def regression(examples, seed):
    """Hessian X'X/N with X standard normal: one for the population."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, FEATURES)).astype(np.float32)
    data = [x[i : i + 50] for i in range(0, examples, 50)]
    return Objective(lambda w, x: 0.5 * (x @ w) ** 2, jnp.zeros(FEATURES), data), x


def fitted(seed, examples=20, margin=8.0):
    """Logistic regression that fits its examples: every margin is the same, so their curvature is
    small, and that of other examples is not. The objective, and the same over ``n`` new ones.
    """
    rng = np.random.default_rng(seed)

    def draw(n):
        x = rng.normal(size=(n, FEATURES)).astype("f")
        y = rng.choice([-1.0, 1.0], n).astype("f")
        return [y[i : i + 50, None] * x[i : i + 50] for i in range(0, n, 50)]

    signed = draw(examples)
    w = jnp.asarray(np.linalg.lstsq(signed[0], np.full(examples, margin), rcond=None)[0], "float32")
    objective = Objective(lambda w, x: jax.nn.softplus(-(x @ w)), w, signed)
    return objective, lambda n: objective.with_batches(draw(n))


def test_quotients_are_means_of_squares_with_their_standard_error():
    objective, x = regression(230, 0)
    vector = jnp.arange(1.0, FEATURES + 1)
    found = data_error(objective, vector, shards=7)
    squares = (x @ np.asarray(vector / jnp.linalg.norm(vector))) ** 2
    assert found.quotient.estimate == pytest.approx(squares.mean(), rel=1e-5)
    error = squares.std(ddof=1) / np.sqrt(230)
    assert found.quotient.standard_error == pytest.approx(error, rel=1e-5)
    np.testing.assert_allclose(found.shards, [p.mean() for p in np.array_split(squares, 7)], 1e-5)
    assert found.held_out is None
    assert found.shard_error > 0


@pytest.mark.parametrize("seed", range(3))
def test_over_examples_independent_of_the_parameters_the_sample_is_too_large(seed):
    objective, _ = regression(60, seed)
    other, _ = regression(600, 100 + seed)
    found = extremes(objective, vectors=True, ends="max")
    error = data_error(
        objective,
        found.vectors["lambda_max"],
        held_out=objective.with_batches(other.batches),
    )
    assert error.quotient.estimate == pytest.approx(found.lambda_max.estimate, rel=1e-3)
    assert found.lambda_max.estimate > 1.5
    assert error.held_out.estimate < 1.5
    assert error.held_out.probes == 600
    assert error.held_out_lambda_max is None


@pytest.mark.parametrize("seed", range(3))
def test_parameters_fitted_to_the_sample_leave_the_population_above_its_upper_bound(seed):
    objective, new = fitted(seed)
    found, test = extremes(objective, vectors=True, ends="max"), new(100)
    vector = found.vectors["lambda_max"]
    error = data_error(objective, vector, held_out=test, certify=True, limit=40)
    population = np.linalg.eigvalsh(dense(new(20_000)))[-1]
    assert population > 2 * found.lambda_max.upper
    assert error.held_out.estimate > found.lambda_max.upper
    # The two numbers of the test split enclose it.
    top = error.held_out_lambda_max
    assert error.held_out.estimate - 3 * error.held_out.standard_error < population < top.estimate
    assert top.converged
    assert top.lower <= np.linalg.eigvalsh(dense(test))[-1] <= top.upper
    assert error.held_out.estimate <= top.upper


def test_a_scan_over_nested_subsets_falls_towards_the_population():
    objective, x = regression(1000, 5)
    seen = []
    found = scan(objective, [40, 200, 1000], found=seen.append)
    values = [entry.lambda_max.estimate for entry in found]
    assert values[0] > values[1] > values[2] > 1
    whole = np.linalg.eigvalsh(x.T @ x / 1000)[-1]
    assert found[2].lambda_max.lower <= whole <= found[2].lambda_max.upper
    assert [entry.examples for entry in seen] == [40, 200, 1000]
    assert found[0].other_examples.probes == 960
    assert found[0].other_examples.estimate < values[2]
    assert found[2].other_examples is None


@pytest.mark.parametrize("make", [lambda: regression(200, 3)[0], lambda: fitted(3)[0]])
def test_a_scan_tells_about_all_its_examples_whatever_the_parameters(make):
    objective = make()
    count = objective.examples
    whole = np.linalg.eigvalsh(dense(objective))[-1]
    # λmax of a random subset is no smaller on average; weighted, the two never exceed the whole.
    found = [scan(objective, [count // 4], seed=seed)[0] for seed in range(6)]
    assert np.mean([entry.lambda_max.estimate for entry in found]) > whole
    for entry in found:
        both = (entry.lambda_max.estimate + 3 * entry.other_examples.estimate) / 4
        assert both <= whole * (1 + 1e-4)


def test_wrong_requests_are_refused():
    objective, _ = regression(60, 0)
    vector = jnp.ones(FEATURES)
    with pytest.raises(RequestError, match="shards"):
        data_error(objective, vector, shards=0)
    with pytest.raises(RequestError, match="certify: there are no held-out data"):
        data_error(objective, vector, certify=True)
    with pytest.raises(RequestError, match="61 examples asked for, there are 60"):
        scan(objective, [61])
    other = Objective(lambda w, x: 0.5 * (x @ w) ** 2, jnp.ones(FEATURES), objective.batches)
    with pytest.raises(RequestError, match="parameters differ"):
        data_error(objective, vector, held_out=other)
