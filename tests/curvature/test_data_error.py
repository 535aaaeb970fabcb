import jax.numpy as jnp
import numpy as np
import pytest

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
def test_in_sample_is_too_large_and_held_out_too_small(seed):
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


def test_a_scan_over_nested_subsets_falls_towards_the_population():
    objective, x = regression(1000, 5)
    seen = []
    found = scan(objective, [40, 200, 1000], found=seen.append)
    values = [entry.lambda_max.estimate for entry in found]
    assert values[0] > values[1] > values[2] > 1
    whole = np.linalg.eigvalsh(x.T @ x / 1000)[-1]
    assert found[2].lambda_max.lower <= whole <= found[2].lambda_max.upper
    assert [entry.examples for entry in seen] == [40, 200, 1000]
    assert found[0].held_out.probes == 960
    assert found[0].held_out.estimate < values[2]
    assert found[2].held_out is None


def test_wrong_requests_are_refused():
    objective, _ = regression(60, 0)
    vector = jnp.ones(FEATURES)
    with pytest.raises(RequestError, match="shards"):
        data_error(objective, vector, shards=0)
    with pytest.raises(RequestError, match="61 examples asked for, there are 60"):
        scan(objective, [61])
    other = Objective(lambda w, x: 0.5 * (x @ w) ** 2, jnp.ones(FEATURES), objective.batches)
    with pytest.raises(RequestError, match="parameters differ"):
        data_error(objective, vector, held_out=other)
