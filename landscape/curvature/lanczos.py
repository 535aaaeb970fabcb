"""The Lanczos recurrence with three vectors, and bounds on the ends of the spectrum from it.

The coefficients of k products hold everything that is reported: Ritz values (which lie inside the
spectrum), their residuals, and, because the start is random, bounds outside of which the spectrum
ends only with a stated small probability.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from landscape import parameters
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
    alpha, beta
        k numbers each; ``beta[-1]`` couples to the vector that has not been multiplied yet.
    """

    size: int
    epsilon: float
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
    def rounding(self) -> float:
        """Allowance for float arithmetic, ``10 epsilon ||T||``.

        Without reorthogonalisation the extreme Ritz values stay accurate to a few epsilon ``||T||``
        (Paige, Accuracy and effectiveness of the Lanczos algorithm, 1980).
        """
        return 10 * self.epsilon * self.scale

    @property
    def exhausted(self) -> bool:
        """The Krylov space is invariant up to rounding: more products show nothing new."""
        return self.beta[-1] <= 4 * self.epsilon * self.scale

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
        return _ceiling(self.alpha, self.beta, self.size, self.epsilon * self.scale, failure)

    def floor(self, failure: float) -> float:
        """A value that no eigenvalue lies below, except with probability ``failure``."""
        negated = [-a for a in self.alpha]
        return -_ceiling(negated, self.beta, self.size, self.epsilon * self.scale, failure)


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


def lanczos(
    product: Callable[[Tree], Tree], like: Tree, key: jax.Array, *, limit: int
) -> Iterator[Tridiagonal]:
    """Run the recurrence from a random start; yields the growing coefficients after each product.

    Three vectors are kept, in float32 or better, shaped and sharded like the parameters. The start
    is a Gaussian tree scaled to unit length, uniform on the sphere, as the bounds require.

    Parameters
    ----------
    product
        ``v -> A v`` for a symmetric A.
    like
        A tree with the shapes of the vectors.
    key
        Decides the start.
    limit
        Largest number of products.
    """
    leaves = jax.tree.leaves(like)
    epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)
    coefficients = Tridiagonal(parameters.size(like), epsilon)
    vector = previous = parameters.gaussian(key, like, unit=True)
    beta = 0.0
    for _ in range(limit):
        alpha, beta, following = _advance(product(vector), vector, previous, beta)
        coefficients.alpha.append(float(alpha))
        coefficients.beta.append(float(beta))
        yield coefficients
        if coefficients.exhausted:
            return
        previous, vector = vector, following


@jax.jit
def _advance(image: Tree, vector: Tree, previous: Tree, beta: jax.Array | float):
    rest = parameters.add_scaled(image, -jnp.asarray(beta), previous)
    alpha = parameters.dot(vector, rest)
    rest = parameters.add_scaled(rest, -alpha, vector)
    correction = parameters.dot(vector, rest)  # once more: it keeps the error at a few epsilon
    rest = parameters.add_scaled(rest, -correction, vector)
    length = parameters.norm(rest)
    following = parameters.scaled(rest, 1 / jnp.where(length > 0, length, jnp.ones_like(length)))
    return alpha + correction, length, following
