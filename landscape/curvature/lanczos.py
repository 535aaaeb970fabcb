"""The Lanczos recurrence with three vectors, and bounds on the ends of the spectrum from it.

The coefficients of k products hold everything that is reported: Ritz values (which lie inside the
spectrum), their residuals, and, because the start is random, bounds outside of which the spectrum
ends only with a stated small probability.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from landscape import parameters
from landscape.errors import RequestError
from landscape.parameters import Tree


@dataclass
class Tridiagonal:
    """Coefficients of a Lanczos run, float64 on the host.

    Attributes
    ----------
    size
        Dimension n of the operator.
    epsilon
        Unit roundoff of its products.
    noise
        Their error beyond rounding, for unit vectors (central differences).
    alpha, beta
        k numbers each; ``beta[-1]`` couples to the vector that has not been multiplied yet.
    """

    size: int
    epsilon: float
    noise: float = 0.0
    alpha: list[float] = field(default_factory=list)
    beta: list[float] = field(default_factory=list)

    @property
    def products(self) -> int:
        return len(self.alpha)

    @property
    def scale(self) -> float:
        """Infinity norm of T, an estimate of the operator's norm."""
        coupling = np.abs(self.beta[:-1])
        return float(np.max(np.abs(self.alpha) + np.r_[0.0, coupling] + np.r_[coupling, 0.0]))

    @property
    def error(self) -> float:
        """Size of the products' errors, ``epsilon ||T||`` unless they carry more noise."""
        return max(self.epsilon * self.scale, self.noise)

    @property
    def rounding(self) -> float:
        """Allowance for those errors, ten times their size.

        Without reorthogonalisation the extreme Ritz values stay accurate to a few epsilon ``||T||``
        (Paige, Accuracy and effectiveness of the Lanczos algorithm, 1980).
        """
        return 10 * self.error

    @property
    def exhausted(self) -> bool:
        """The Krylov space is invariant up to rounding: more products show nothing new."""
        return bool(self.beta) and self.beta[-1] <= 4 * self.error

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values (k,), ascending, and their residual norms (k,)."""
        values, vectors = scipy.linalg.eigh_tridiagonal(self.alpha, self.beta[:-1])
        return values, self.beta[-1] * np.abs(vectors[-1])

    def ceiling(self, failure: float) -> float:
        """A value that no eigenvalue exceeds, except with probability ``failure``.

        The last Lanczos vector is ``p_k(A)`` times the start and has unit length, so an eigenvalue
        whose eigenvector has component g in the start obeys ``|p_k(eigenvalue)| <= 1/|g|``. For a
        uniformly random start in n dimensions ``P(|g| < d) <= d sqrt(2n/pi)``. Hence the
        eigenvalues lie below the t with ``|p_k(t)| = sqrt(2n/pi) / failure``, found by bisection.
        The statement holds for all k of one run at once: it is about the start alone.

        References
        ----------
        van Dorsselaer, Hochstenbach, van der Vorst, Computing probabilistic bounds for extreme
        eigenvalues of symmetric matrices with the Lanczos method, SIAM J. Matrix Anal. 22 (2000).
        """
        return _ceiling(self.alpha, self.beta, self.size, self.error, failure)

    def history(self, failure: float) -> tuple[np.ndarray, np.ndarray]:
        """Largest Ritz value and the ceiling so far after each product, both (k,)."""
        estimates, ceilings = [], []
        for k in range(1, self.products + 1):
            early = dataclasses.replace(self, alpha=self.alpha[:k], beta=self.beta[:k])
            estimates.append(early.ritz()[0][-1])
            ceilings.append(early.ceiling(failure) + early.rounding)
        return np.array(estimates), np.minimum.accumulate(ceilings)

    def floor(self, failure: float) -> float:
        """A value that no eigenvalue lies below, except with probability ``failure``."""
        negated = [-a for a in self.alpha]
        return -_ceiling(negated, self.beta, self.size, self.error, failure)


def _ceiling(
    alpha: Sequence[float], beta: Sequence[float], size: int, noise: float, failure: float
) -> float:
    top = float(scipy.linalg.eigh_tridiagonal(alpha, beta[:-1], eigvals_only=True)[-1])
    if noise == 0:  # the zero operator
        return top
    target = math.log(max(1.0, math.sqrt(2 * size / math.pi)) / failure)
    # A coupling below the noise of the products is known no better than the noise.
    couplings = np.maximum(beta, noise)

    def log_polynomial(t: float) -> float:
        total, ratio, previous = 0.0, math.inf, 0.0
        for a, b in zip(alpha, couplings, strict=True):
            ratio = (t - a - previous / ratio) / b  # p_j / p_(j-1), positive above every Ritz value
            if ratio <= 0:
                return -math.inf
            total, previous = total + math.log(ratio), b
        return total

    step = noise
    while log_polynomial(top + step) < target:
        step *= 2
    low, high = top + step / 2 * (step > noise), top + step
    while high - low > 0.25 * noise and low < (low + high) / 2 < high:
        middle = (low + high) / 2
        low, high = (middle, high) if log_polynomial(middle) < target else (low, middle)
    return high


def check_finite(values: ArrayLike, products: int) -> None:
    """Refuse what came of a product that is not finite, the last of ``products``.

    Raises
    ------
    RequestError
        With its number.
    """
    if not np.isfinite(values).all():
        raise RequestError(
            f"product: Hessian-vector product {products} is not finite; "
            "is the loss twice differentiable at these parameters?"
        )


class Recurrence:
    """A Lanczos run that advances product by product and can be kept and continued.

    Three vectors are kept, in float32 or better, shaped and sharded like the parameters. The start
    is a Gaussian tree scaled to unit length, uniform on the sphere, as the bounds require.

    Parameters
    ----------
    matrix
        Anything with ``params``, which the vectors are shaped like; its ``noise``, if it has one,
        is the error of products with unit vectors beyond rounding.
    key
        Decides the start.

    Attributes
    ----------
    vector
        What is to be multiplied next.
    coefficients
        The recurrence so far.
    """

    def __init__(self, matrix: Any, key: jax.Array):
        leaves = jax.tree.leaves(matrix.params)
        epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)
        self.coefficients = Tridiagonal(
            parameters.size(matrix.params), epsilon, getattr(matrix, "noise", 0.0)
        )
        self.vector = parameters.gaussian(key, matrix.params, unit=True)
        self._previous = jax.tree.map(jnp.zeros_like, self.vector)

    def advance(self, image: Tree) -> None:
        """Take the product of :attr:`vector`; ``image`` is used up.

        Raises
        ------
        RequestError
            If it is not finite.
        """
        done = self.coefficients
        beta = done.beta[-1] if done.beta else 0.0
        if any(map(operator.is_, jax.tree.leaves(image), jax.tree.leaves(self.vector))):
            image = jax.tree.map(jnp.copy, image)  # an identity may hand its argument back
        alpha, beta, following = _advance(image, self.vector, self._previous, beta)
        self._previous, self.vector = self.vector, following
        done.alpha.append(float(alpha))
        done.beta.append(float(beta))
        check_finite([done.alpha[-1], done.beta[-1]], done.products)

    def state(self) -> tuple[dict[str, list[float]], dict[str, Tree]]:
        """Coefficients and vectors to keep; see :class:`landscape.journal.Journal`."""
        done, k = self.coefficients, self.coefficients.products
        vectors = {f"vector-{k - 1}": self._previous, f"vector-{k}": self.vector} if k else {}
        return {"alpha": done.alpha, "beta": done.beta}, vectors

    def resume(self, vector: Callable[[str], Tree]) -> None:
        """Take up the kept vectors that go with the coefficients."""
        k = self.coefficients.products
        if k:
            self._previous, self.vector = vector(f"vector-{k - 1}"), vector(f"vector-{k}")


def lanczos(matrix: Any, key: jax.Array, *, limit: int) -> Iterator[Tridiagonal]:
    """Run the recurrence from a random start; yields the growing coefficients after each product.

    It ends after ``limit`` products, or when the Krylov space is exhausted.

    Parameters
    ----------
    matrix
        Anything with ``params`` and a symmetric ``product(vector)``.
    key
        Decides the start.
    limit
        Largest number of products.
    """
    run = Recurrence(matrix, key)
    for _ in range(limit):
        run.advance(matrix.product(run.vector))
        yield run.coefficients
        if run.coefficients.exhausted:
            return


@functools.partial(jax.jit, donate_argnums=0)
def _advance(image: Tree, vector: Tree, previous: Tree, beta: jax.Array | float):
    rest = parameters.add_scaled(image, -jnp.asarray(beta), previous)
    alpha = parameters.dot(vector, rest)
    rest = parameters.add_scaled(rest, -alpha, vector)
    correction = parameters.dot(vector, rest)  # once more: it keeps the error at a few epsilon
    rest = parameters.add_scaled(rest, -correction, vector)
    length = parameters.norm(rest)
    following = parameters.scaled(rest, 1 / jnp.where(length > 0, length, jnp.ones_like(length)))
    return alpha + correction, length, following
