"""Vectors and bounds survive products that are noisy, miscompiled, imprecise, or change midway."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from spectra import Diagonal, rotated

from landscape import Objective, data_mesh, eigenpairs, extremes, spectrum
from landscape.curvature import lanczos
from landscape.curvature.lanczos import rayleigh
from landscape.journal import Journal
from landscape.objective.rayleigh import RayleighQuotient

OUTLIERS = np.r_[17.34, 9.0, 8.97, np.linspace(-1, 6, 300)]


class Noisy(Diagonal):
    """Products that differ by half an ulp from call to call, as of non-deterministic kernels."""

    def __init__(self, values, relative=2.0**-24, dtype=jnp.float32):
        super().__init__(values, dtype)
        self.relative, self.calls = relative, 0

    def product(self, vector):
        self.calls += 1
        noise = np.random.default_rng(self.calls).uniform(-1, 1, self.params.shape)
        return self.params * vector * (1 + self.relative * noise).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_vectors_of_products_that_are_not_deterministic_are_eigenvectors(seed):
    matrix = Noisy(np.r_[np.linspace(-1, 1, 2000), np.linspace(1.02, 1.2, 7)])
    found = extremes(matrix, width=1e-5, limit=200, seed=seed, vectors=True)
    for end, eigenvalue in found.as_dict().items():
        vector = found.vectors[end]
        exact = np.asarray(matrix.params, float) * np.asarray(vector, float)
        quotient = np.asarray(vector, float) @ exact
        assert quotient == pytest.approx(eigenvalue["estimate"], abs=1e-5)
        residual = np.linalg.norm(exact - quotient * np.asarray(vector, float))
        assert residual == pytest.approx(eigenvalue["residual"], abs=1e-5)


def test_a_vector_that_its_recurrence_does_not_explain_is_looked_for_anew(monkeypatch):
    """The kept vectors are damaged: the measured product tells, and thick restart finds it."""

    def damaged(self, position):
        return jax.tree.map(lambda x: jnp.asarray(np.roll(x, 1)), self.basis[0]), 0.0

    monkeypatch.setattr(lanczos.Recurrence, "ritz_vector", damaged)
    found = extremes(Diagonal(OUTLIERS), vectors=True)
    assert found.lambda_max.converged
    _assert_is_top(found)
    assert float(np.abs(found.vectors["lambda_min"][3])) > 0.9


def test_without_room_for_the_basis_the_vectors_are_found_all_the_same(monkeypatch):
    monkeypatch.setattr(lanczos, "available_memory", lambda device: 0)
    found = extremes(Diagonal(OUTLIERS), vectors=True)
    assert found.lambda_max.converged
    assert found.lambda_max.products > 15  # two searches
    _assert_is_top(found)
    pairs = eigenpairs(Diagonal(np.r_[9.0, 9.0, 9.0, np.linspace(0, 5, 200)]), 3)
    assert pairs.converged
    np.testing.assert_allclose(pairs.values, 9.0, rtol=1e-5)


def _assert_is_top(found):
    vector = found.vectors["lambda_max"]
    matrix = Diagonal(OUTLIERS)
    quotient, residual = map(float, rayleigh(vector, matrix.product(vector)))
    assert quotient == pytest.approx(17.34, rel=1e-3)
    assert residual == pytest.approx(found.lambda_max.residual, rel=1e-3, abs=1e-5)
    assert found.lambda_max.lower <= 17.34 <= found.lambda_max.upper


def _mlp(dtype=None, offset=0.0, seed=0):
    """A small network whose inputs may have a large mean, and its exact λmax in float64."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(48, 4)) + offset).astype("f4")
    y = rng.normal(size=(48, 2)).astype("f4")
    params = {
        "a": jnp.asarray(rng.normal(size=(4, 6)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=(6, 2)), jnp.float32),
    }

    def loss(w, batch):
        x, y = batch
        if dtype is not None:
            w, x, y = jax.tree.map(lambda leaf: leaf.astype(dtype), (w, x, y))
        out = jnp.tanh(0.1 * (x @ w["a"])) @ w["b"] - y
        return 0.5 * jnp.sum(out**2, axis=1)

    with jax.enable_x64(True):
        flat, unflatten = ravel_pytree(jax.tree.map(lambda p: jnp.asarray(p, "f8"), params))
        own = dtype
        dtype = None
        data = (jnp.asarray(x, "f8"), jnp.asarray(y, "f8"))
        exact = np.linalg.eigvalsh(jax.hessian(lambda p: loss(unflatten(p), data).mean())(flat))
        dtype = own
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 48, 16)]
    return Objective(loss, params, batches), exact


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_the_interval_contains_the_error_of_float32_products(offset, seed):
    objective, exact = _mlp(offset=offset, seed=seed)
    found = extremes(objective, width=1e-7, limit=60)
    assert found.lambda_max.lower <= exact[-1] <= found.lambda_max.upper
    assert found.lambda_min.lower <= exact[0] <= found.lambda_min.upper
    pairs = eigenpairs(objective, 2)
    assert exact[-1] <= pairs.upper[0]


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_contains_the_error_of_bfloat16_products(seed):
    objective, exact = _mlp(jnp.bfloat16, seed=seed)
    found = extremes(objective, width=0.2).lambda_max
    assert found.lower <= exact[-1] <= found.upper
    assert found.product_error > 1e-4 * exact[-1]
    assert found.check == pytest.approx(exact[-1], rel=0.05)


@dataclasses.dataclass
class Miscompiled:
    """Products whose last row is 0.8 % wrong, beside a quotient that is right."""

    values: np.ndarray
    wrong: float = 1.008

    def __post_init__(self):
        self.params = jnp.asarray(self.values, jnp.float32)
        self._factors = jnp.ones_like(self.params).at[-1].set(self.wrong)

    def product(self, vector):
        return self.params * vector * self._factors

    def rayleigh_quotient(self, vector):
        vector = np.asarray(vector, float)
        return RayleighQuotient(float(vector @ (self.values * vector) / (vector @ vector)), 0.0)


def test_a_miscompiled_product_does_not_converge_and_its_interval_holds_the_truth():
    values = np.r_[np.linspace(-1, 4, 200), 9.0]
    for found in (
        extremes(Miscompiled(values), width=0.1).lambda_max,
        spectrum(Miscompiled(values), width=0.1, probes=2, steps=30).lambda_max,
    ):
        assert not found.converged
        assert found.lower <= 9.0 <= found.upper
        assert found.check == pytest.approx(9.0)
        assert found.product_error == pytest.approx(0.072, rel=0.01)
    pairs = eigenpairs(Miscompiled(values), 1)
    assert not pairs.converged
    assert pairs.checks[0] == pytest.approx(9.0)
    assert extremes(Miscompiled(values, 1.0), width=0.1).lambda_max.converged


class Inexact(Diagonal):
    """Of products that float64 shows to be off by a part of their size."""

    def __init__(self, values, part):
        super().__init__(values)
        self._part = part

    def rayleigh_quotient(self, vector):
        value = float(jnp.vdot(vector, self.product(vector)) / jnp.vdot(vector, vector))
        return RayleighQuotient(value, self._part * abs(value))


@pytest.mark.parametrize("seed", range(4))
def test_a_search_makes_up_for_inexact_products_where_it_can(seed):
    values = np.r_[9.0, np.linspace(-2, 3, 2000)]
    exact = extremes(Inexact(values, 0.0), seed=seed, ends="max").lambda_max
    found = extremes(Inexact(values, 1.2e-3), seed=seed, ends="max").lambda_max
    assert found.converged
    assert found.products > exact.products
    assert found.upper - found.lower <= 0.01 * found.estimate
    hopeless = extremes(Inexact(values, 4e-3), seed=seed, ends="max").lambda_max
    assert not hopeless.converged
    assert hopeless.products == exact.products


@pytest.mark.parametrize("name", ["ten values", "rank three", "an outlier"])
def test_lost_orthogonality_is_no_asymmetry_of_the_product(name):
    rng = np.random.default_rng(0)
    values = {
        "ten values": rng.normal(size=10),
        "rank three": np.r_[rng.normal(size=3), np.zeros(197)],
        "an outlier": np.r_[195.6, 105.0, 40.0, np.linspace(-2, 3, 197)],
    }[name]
    found = spectrum(Diagonal(values), probes=4).lambda_max
    assert found.converged
    assert found.product_error <= 1e-4 * found.estimate


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e25, 1e30])
def test_spectra_of_any_scale_are_found_as_well_as_others(scale):
    ordinary = extremes(Diagonal(OUTLIERS))
    found = extremes(Diagonal(OUTLIERS * scale))
    assert found.lambda_max.products == ordinary.lambda_max.products
    assert found.lambda_max.converged
    for end in ("lambda_max", "lambda_min"):
        mine, other = getattr(found, end), getattr(ordinary, end)
        assert mine.estimate == pytest.approx(other.estimate * scale, rel=1e-5)
        assert mine.upper == pytest.approx(other.upper * scale, rel=1e-2)
    pairs = eigenpairs(Diagonal(OUTLIERS * scale), 2)
    np.testing.assert_allclose(pairs.values, [17.34 * scale, 9.0 * scale], rtol=1e-3)
    assert pairs.converged


class Killed(Exception):
    pass


def dying_at(product):
    """A callback for progress that raises at this product."""
    calls = itertools.count(1)

    def die():
        if next(calls) == product:
            raise Killed

    return die


@pytest.mark.parametrize("room", [0, 10**9])
def test_where_the_disk_is_nearly_full_the_journal_keeps_two_vectors(tmp_path, monkeypatch, room):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    monkeypatch.setattr(Journal, "room", room)
    with pytest.raises(Killed):
        extremes(Diagonal(OUTLIERS), progress=dying_at(8), journal=Journal(tmp_path))
    assert len(list(tmp_path.glob("*.npz"))) == (8 if room else 2)
    found = extremes(Diagonal(OUTLIERS), journal=Journal(tmp_path)).lambda_max
    assert found.confirmed
    assert found.estimate == pytest.approx(OUTLIERS.max(), rel=1e-5)


@pytest.mark.parametrize("vectors", [True, False])
def test_a_search_goes_on_with_other_devices_and_its_vector_is_one(tmp_path, monkeypatch, vectors):
    monkeypatch.setattr(Journal, "SHARE", np.inf)  # keep every state
    matrix = jnp.asarray(rotated(OUTLIERS[:60], dtype=np.float32))

    def loss(w, batch):
        return 0.5 * jnp.vdot(w, matrix @ w) * batch

    data = [np.linspace(0.5, 1.5, 8).astype("f4")]
    journal, alone = Journal(tmp_path), Objective(loss, jnp.ones(60), data)
    with pytest.raises(Killed):
        extremes(alone, progress=dying_at(6), journal=journal, vectors=vectors)
    assert len(journal.load()[""]["runs"][0]["alpha"]) == 5
    two = Objective(loss, jnp.ones(60), data, mesh=data_mesh(2))
    found = extremes(two, journal=journal, vectors=vectors)
    assert found.lambda_max.converged
    assert found.lambda_max.lower <= 17.34 <= found.lambda_max.upper
    assert found.lambda_max.residual < 1e-2
    if vectors:
        vector = found.vectors["lambda_max"]
        quotient, _ = rayleigh(vector, two.product(vector))
        assert float(quotient) == pytest.approx(17.34, rel=1e-4)


def test_a_search_goes_on_in_double_precision_with_the_errors_of_single(tmp_path, monkeypatch):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    journal, count = Journal(tmp_path), 0

    def die():
        nonlocal count
        count += 1
        if count == 8:
            raise Killed

    with pytest.raises(Killed):
        extremes(Diagonal(OUTLIERS, jnp.float32), progress=die, journal=journal)
    with jax.enable_x64(True):
        exact = np.max(OUTLIERS)
        found = extremes(Diagonal(OUTLIERS, jnp.float64), width=1e-9, journal=journal)
    assert found.lambda_max.product_error >= 1e-7 * exact
    assert found.lambda_max.lower <= exact <= found.lambda_max.upper
    assert not found.lambda_max.upper - found.lambda_max.lower < 1e-6 * exact
