import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import SPECTRA, Diagonal, quadratic, rotated

from landscape.curvature import eigenpairs, lanczos
from landscape.curvature.panel import gram
from landscape.errors import RequestError
from landscape.journal import Journal

CLUSTERED = {
    "a cluster at the top": np.r_[9.0, 9.0 - 1e-2, 9.0 - 2e-2, 5.0, np.linspace(-2, 3, 80)],
    "a cluster across the last place": np.r_[9.0, 7.0, 5.0, 5.0, 5.0, np.linspace(-2, 3, 80)],
    "threefold and twofold": np.r_[8.0, 8.0, 8.0, 6.0, 6.0, 4.0, np.linspace(-9, 2, 80)],
    "negative definite": -np.arange(1.0, 60.0),
    "a ninefold top": np.r_[np.full(9, 3.0), np.linspace(-1, 1, 80)],
    "few distinct values": np.r_[np.full(50, 3.0), np.full(50, 1.0)],
}


@pytest.mark.parametrize("name", [*SPECTRA, *CLUSTERED])
@pytest.mark.parametrize("seed", range(3))
def test_no_eigenvalue_is_missed_or_found_twice(name, seed):
    spectrum = {**SPECTRA, **CLUSTERED}[name]
    found = eigenpairs(Diagonal(spectrum), 5, seed=seed, tolerance=1e-4)
    true = np.sort(spectrum)[::-1][:5]
    scale = max(np.abs(spectrum).max(), 1e-30)
    np.testing.assert_allclose(found.values, true, atol=1e-3 * scale)
    np.testing.assert_allclose(gram(found.vectors, found.vectors), np.eye(5), atol=1e-5)
    assert (found.lower <= np.float64(np.float32(true))).all()
    assert (found.upper >= np.float64(np.float32(true))).all()


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_a_dense_matrix_in_double_precision(x64, seed):
    rng = np.random.default_rng(seed)
    matrix = rotated(np.sort(rng.normal(size=60)) ** 3, seed=seed)
    found = eigenpairs(dense_quadratic(matrix), 8, tolerance=1e-9, seed=seed)
    values, vectors = np.linalg.eigh(matrix)
    np.testing.assert_allclose(found.values, values[::-1][:8], atol=1e-10)
    overlaps = np.abs(np.asarray(found.vectors) @ vectors[:, ::-1][:, :8])
    np.testing.assert_allclose(overlaps, np.eye(8), atol=1e-7)
    assert found.converged


def dense_quadratic(matrix):
    return quadratic(matrix, np.ones(len(matrix)))


def test_residuals_are_measured_and_bounds_hold_for_loose_tolerances():
    spectrum = SPECTRA["no gap"]
    found = eigenpairs(Diagonal(spectrum), 4, tolerance=0.02, width=0.05)
    true = np.sort(spectrum)[::-1][:4]
    image = np.asarray(found.vectors) * spectrum
    residuals = np.linalg.norm(image - found.values[:, None] * np.asarray(found.vectors), axis=1)
    np.testing.assert_allclose(found.residuals, residuals, rtol=1e-2, atol=1e-6)
    assert (found.values <= true + 1e-6).all()
    assert (true <= found.upper).all()
    assert found.converged


def test_bounds_contain_the_rounding_of_the_products():
    above = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        spectrum = np.r_[10.0, 8.0, rng.uniform(-100, 0, 10), np.zeros(68)]
        matrix = rotated(spectrum, seed, np.float32)
        matrix = (matrix + matrix.T) / 2
        true = np.linalg.eigvalsh(matrix.astype("f8"))[::-1][:2]
        found = eigenpairs(Dense(matrix), 2, seed=seed, tolerance=1e-4)
        above += (found.values > true).any()
        assert (found.lower <= true).all()
        assert (true <= found.upper).all()
    assert above  # rounding does put values above their eigenvalues


class Dense:
    def __init__(self, matrix):
        self.matrix, self.params = jnp.asarray(matrix), jnp.zeros(len(matrix), matrix.dtype)

    def product(self, vector):
        return jnp.dot(self.matrix, vector, precision="highest")


@pytest.mark.parametrize("bits", [7, 10])
def test_bounds_contain_the_error_of_products_that_nothing_else_checks(bits):
    """Vectors rounded on the way in: 9 of 10 lower bounds lay above their eigenvalue."""
    for seed in range(4):
        spectrum = np.r_[10, 9, 5, np.random.default_rng(seed).normal(size=57) / 2]
        operator = Dense(rotated(spectrum, seed, np.float32))
        exact = operator.product
        operator.product = lambda v, exact=exact: exact(jax.lax.reduce_precision(v, 8, bits))
        found = eigenpairs(operator, 3, limit=200, tolerance=0.01, seed=seed)
        assert (found.lower <= [10, 9, 5]).all()
        assert (found.upper >= [10, 9, 5]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_missed_eigenvalue_is_added_without_room_for_the_vectors(monkeypatch, seed):
    monkeypatch.setattr(lanczos, "available_memory", lambda device: 0)
    for multiple in ([5, 5], [5, 5, 5, 5]):
        spectrum = np.r_[multiple, 4, 3, np.linspace(-2, 2, 34)]
        operator, k = Dense(rotated(spectrum, seed, np.float32)), len(multiple)
        found = eigenpairs(operator, k, seed=seed, limit=300)
        np.testing.assert_allclose(found.values, multiple, rtol=1e-5)
        assert found.converged


def test_all_eigenvalues_of_a_small_matrix():
    found = eigenpairs(Diagonal([3.0, -1.0, 2.0]), 3)
    np.testing.assert_allclose(found.values, [3, 2, -1], rtol=1e-5)
    assert found.converged


def test_twenty_of_a_million_parameters():
    spectrum = np.concatenate(
        [np.linspace(10, 100, 20), np.random.default_rng(0).normal(size=10**6)]
    )
    found = eigenpairs(Diagonal(spectrum), 20)
    np.testing.assert_allclose(found.values, np.linspace(100, 10, 20), rtol=1e-3)
    assert found.converged


def test_running_out_of_products_is_told():
    found = eigenpairs(Diagonal(np.linspace(-1, 1, 5000)), 5, limit=20)
    assert not found.converged
    assert found.products <= 20 + 5


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [3, 18, 30, 33])
def test_a_killed_run_goes_on_at_the_last_product(tmp_path, monkeypatch, killed_at):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    operator = Diagonal(np.r_[np.linspace(4, 9, 8), np.linspace(-2, 3, 80)])
    undisturbed = eigenpairs(operator, 6, memory=12)
    assert undisturbed.products == 40
    products = 0

    def die():
        nonlocal products
        products += 1
        if products > killed_at:
            raise Killed

    with pytest.raises(Killed):
        eigenpairs(operator, 6, memory=12, progress=die, journal=Journal(tmp_path / "kept"))
    again = []
    resumed = eigenpairs(
        operator,
        6,
        memory=12,
        progress=lambda: again.append(1),
        journal=Journal(tmp_path / "kept"),
    )
    np.testing.assert_allclose(resumed.values, undisturbed.values, rtol=1e-5)
    assert resumed.products == undisturbed.products
    assert len(again) == undisturbed.products - killed_at


@pytest.mark.parametrize("killed_at", [6, 12, 13, 15, 18, 21, 24, 27])
@pytest.mark.parametrize("share", [np.inf, 0.5])
def test_a_kill_between_rounds_of_the_check_changes_nothing(
    tmp_path, monkeypatch, killed_at, share
):
    """A threefold eigenvalue takes several rounds; throttled, their states are far between."""
    monkeypatch.setattr(Journal, "SHARE", share)
    operator = Diagonal(np.r_[10.0, 10.0, 10.0, 8.0, 6.0, np.linspace(-1, 1, 60)])
    calls = []

    def die():
        calls.append(1)
        if len(calls) > killed_at:
            raise Killed

    with pytest.raises(Killed):
        eigenpairs(operator, 4, progress=die, journal=Journal(tmp_path / "kept"))
    found = eigenpairs(operator, 4, journal=Journal(tmp_path / "kept"))
    np.testing.assert_allclose(found.values, [10, 10, 10, 8], rtol=1e-4)
    assert (found.upper >= [10 - 1e-4, 10 - 1e-4, 10 - 1e-4, 8 - 1e-4]).all()
    assert found.converged


def test_wrong_requests_are_refused():
    for k, options in [(0, {}), (4, {}), (2, {"tolerance": 0}), (1, {"confidence": 1.0})]:
        with pytest.raises(RequestError):
            eigenpairs(Diagonal([1.0, 2.0, 3.0]), k, **options)
    with pytest.raises(RequestError, match="memory"):
        eigenpairs(Diagonal(np.arange(50.0)), 5, memory=6)


def test_trees_keep_their_structure():
    matrix = jnp.asarray(rotated([9.0, 5.0, 1.0, 0.5, -1.0], dtype=np.float32))

    class Blocks:
        def __init__(self):
            self.params = {"a": jnp.zeros((1, 2)), "b": [jnp.zeros(3)]}

        def product(self, vector):
            image = matrix @ jnp.concatenate([vector["a"][0], vector["b"][0]])
            return {"a": image[None, :2], "b": [image[2:]]}

    found = eigenpairs(Blocks(), 2)
    assert jax.tree.map(jnp.shape, found.vectors) == {"a": (2, 1, 2), "b": [(2, 3)]}
    np.testing.assert_allclose(found.values, [9, 5], rtol=1e-4)
