import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spectra import SPECTRA, Diagonal

from landscape import parameters
from landscape.curvature.lanczos import lanczos


def run(operator, products, seed=0):
    *_, last = lanczos(operator, jax.random.key(seed), limit=products)
    return last


def test_coefficients_are_those_of_a_dense_tridiagonalisation(x64):
    spectrum = np.linspace(-1, 3, 12)
    found = run(Diagonal(spectrum, jnp.float64), 8)
    like = jnp.asarray(spectrum)
    basis = [np.asarray(parameters.gaussian(jax.random.key(0), like, unit=True))]
    for _ in range(8):  # Gram-Schmidt of the Krylov space
        v = spectrum * basis[-1]
        for _ in range(2):
            v = v - np.stack(basis).T @ (np.stack(basis) @ v)
        basis.append(v / np.linalg.norm(v))
    basis = np.stack(basis[:8])
    tridiagonal = basis @ np.diag(spectrum) @ basis.T
    np.testing.assert_allclose(found.alpha, np.diag(tridiagonal), atol=1e-10)
    np.testing.assert_allclose(found.beta[:-1], np.diag(tridiagonal, 1), atol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_all_products_give_the_whole_spectrum(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        found = run(Diagonal([1.0, 2.0, 4.0, 8.0], dtype), 4)
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-10
    np.testing.assert_allclose(found.ritz()[0], [1, 2, 4, 8], rtol=tolerance)


def test_residuals_are_those_of_the_ritz_vectors(x64):
    spectrum = np.linspace(0, 1, 50) ** 2
    found = run(Diagonal(spectrum, jnp.float64), 10)
    values, residuals = found.ritz()
    # An eigenvalue lies within the residual of every Ritz value (Krylov-Weinstein).
    distances = np.abs(spectrum[:, None] - values[None]).min(axis=0)
    assert (distances <= residuals + 1e-12).all()


@pytest.mark.parametrize("name", SPECTRA)
def test_ceiling_and_floor_enclose_the_spectrum_at_every_step(name):
    spectrum = np.asarray(SPECTRA[name], np.float32)
    for seed in range(5):
        operator = Diagonal(spectrum)
        for found in lanczos(operator, jax.random.key(seed), limit=40):
            assert found.floor(1e-3) - found.rounding <= spectrum.min()
            assert spectrum.max() <= found.ceiling(1e-3) + found.rounding
            values, _ = found.ritz()
            assert spectrum.min() - found.rounding <= values[0]
            assert values[-1] <= spectrum.max() + found.rounding


def test_the_ceiling_solves_its_equation(x64):
    found = run(Diagonal(np.linspace(-1, 1, 100), jnp.float64), 12)
    ceiling, previous, current = found.ceiling(0.01), 0.0, 1.0
    for j, (a, b) in enumerate(zip(found.alpha, found.beta, strict=True)):
        before = found.beta[j - 1] if j else 0.0
        previous, current = current, ((ceiling - a) * current - before * previous) / b
    assert current == pytest.approx(np.sqrt(2 * 100 / np.pi) / 0.01, rel=1e-6)


def test_bounds_tighten_with_the_accepted_failure():
    found = run(Diagonal(np.linspace(-1, 1, 100)), 12)
    assert found.ceiling(1e-6) > found.ceiling(1e-3) > found.ceiling(0.1) > found.ritz()[0][-1]


def test_an_invariant_space_ends_the_run():
    found = run(Diagonal(np.r_[np.full(50, 2.0), np.full(50, 5.0)]), 30)
    assert found.products == 2
    assert found.exhausted
    zero = run(Diagonal(np.zeros(10)), 30)
    assert zero.products == 1
    assert zero.ceiling(1e-3) == zero.floor(1e-3) == 0
