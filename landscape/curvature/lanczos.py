"""The Lanczos recurrence, and bounds on the ends of the spectrum from its coefficients.

The coefficients of k products hold everything that is reported: Ritz values (which lie inside the
spectrum), their residuals, and, because the start is random, bounds outside of which the spectrum
ends only with a stated small probability.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from landscape import parameters
from landscape.devices import available_memory
from landscape.errors import NotFinite
from landscape.parameters import Tree


@dataclass
class Tridiagonal:
    """Coefficients of a Lanczos run, float64 on the host.

    Attributes
    ----------
    size
        Dimension n of the operator.
    epsilon
        Machine epsilon of its products.
    noise
        Their error beyond that, for unit vectors: what the matrix says of itself (central
        differences), or the largest asymmetry ``|v'Hw - w'Hv|`` of two consecutive vectors.
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

    def settled(self, position: int) -> int:
        """Products after which the residual of the first or last Ritz vector was down to rounding.

        ``position`` is 0 or -1; all products where it is not.
        """
        last, floor = self.ritz()[0][position], 64 * self.epsilon * self.scale
        for j in range(1, self.products):
            values, vectors = scipy.linalg.eigh_tridiagonal(self.alpha[:j], self.beta[: j - 1])
            small = self.beta[j - 1] * abs(vectors[-1, position]) <= floor
            if small and abs(values[position] - last) <= self.rounding:
                return j
        return self.products

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
    NotFinite
        With its number.
    """
    if not np.isfinite(values).all():
        raise NotFinite(
            f"product: Hessian-vector product {products} is not finite; "
            "is the loss twice differentiable at these parameters?"
        )


class Recurrence:
    """A Lanczos run that advances product by product and can be kept and continued.

    It needs three vectors, in float32 or better, shaped and sharded like the parameters. The start
    is a Gaussian tree scaled to unit length, uniform on the sphere, as the bounds require. For
    Ritz vectors all vectors are kept in host memory while there is room.

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
    basis
        The vectors that have been multiplied, on the host; None where there was no room for them.
    """

    def __init__(self, matrix: Any, key: jax.Array):
        leaves = jax.tree.leaves(matrix.params)
        epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)
        self.coefficients = Tridiagonal(
            parameters.size(matrix.params), epsilon, getattr(matrix, "noise", 0.0)
        )
        self.vector = parameters.gaussian(key, matrix.params, unit=True)
        self.basis: list[Tree] | None = []
        self._basis_in_journal = True
        self._previous = jax.tree.map(jnp.zeros_like, self.vector)
        self._onward = 0.0  # v'Hw of the next vector v and the one before it, w

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
        numbers, following = _advance(image, self.vector, self._previous, beta)
        *numbers, exponent = map(float, jax.device_get(numbers))
        alpha, length, back, onward = (math.ldexp(number, int(exponent)) for number in numbers)
        self._keep(self.vector)
        self._previous, self.vector = self.vector, following
        done.alpha.append(alpha)
        done.beta.append(length)
        check_finite([alpha, length], done.products)
        done.noise = max(done.noise, abs(back - self._onward))
        self._onward = onward

    def ritz_vector(self, position: int) -> tuple[Tree, float] | None:
        """The unit vector of the first or last Ritz value (position 0 or -1), and its residual.

        Rayleigh and Ritz's procedure in the span of the kept vectors, as many as it takes: once
        a Ritz vector has converged, later vectors are no longer orthogonal to it and copies of its
        value appear (Paige 1980). Inner products are taken into account, since the other end may
        have converged before. The residual norm is what the recurrence says it is. None where the
        vectors were not kept.
        """
        if self.basis is None:
            return None
        k = self.coefficients.settled(position)
        alpha, beta = self.coefficients.alpha[:k], self.coefficients.beta[:k]
        rows = [*self.basis, jax.device_get(self.vector)][: k + 1]
        gram = np.zeros((k + 1, k + 1))
        for leaves in zip(*map(jax.tree.leaves, rows), strict=True):
            stacked = np.stack([leaf.ravel() for leaf in leaves])
            gram += stacked @ stacked.T
        # Column j holds the coordinates of the image of vector j.
        images = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
        images = np.vstack([images, np.r_[np.zeros(k - 1), beta[-1]]])
        inner = gram[:k] @ images
        lengths, axes = scipy.linalg.eigh(gram[:k, :k])
        independent = lengths > 0.01
        axes = axes[:, independent] / np.sqrt(lengths[independent])
        values, vectors = scipy.linalg.eigh(axes.T @ (inner + inner.T) / 2 @ axes)
        coordinates = axes @ vectors[:, position]
        rest = images @ coordinates
        rest[:k] -= values[position] * coordinates
        total = None
        for weight, row in zip(coordinates, rows, strict=False):
            part = jax.tree.map(lambda leaf, weight=weight: leaf * leaf.dtype.type(weight), row)
            total = part if total is None else jax.tree.map(np.add, total, part)
        vector = parameters.unit(parameters.placed_like(jax.tree.leaves(total), self.vector))
        return vector, float(np.sqrt(max(rest @ gram @ rest, 0.0)))

    def _keep(self, vector: Tree) -> None:
        if self.basis is None:
            return
        room = available_memory(jax.local_devices(backend="cpu")[0])
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(vector))
        if room is not None and needed > room / 4:
            self.basis = None
        else:
            self.basis.append(jax.device_get(vector))

    def state(self, room: float = math.inf) -> tuple[dict[str, Any], dict[str, Tree]]:
        """Coefficients and vectors to keep; see :class:`landscape.journal.Journal`.

        From when one vector takes more than a quarter of the ``room`` (bytes) left there, only the
        two that the recurrence needs: a search that goes on from them finds its Ritz vectors anew.
        """
        done, k = self.coefficients, self.coefficients.products
        if sum(leaf.nbytes for leaf in jax.tree.leaves(self.vector)) > room / 4:
            self._basis_in_journal = False
        whole = self.basis is not None and self._basis_in_journal
        earlier = self.basis if whole else [self._previous]
        rows = [*earlier, self.vector] if k else []
        vectors = {f"vector-{k + 1 - len(rows) + i}": row for i, row in enumerate(rows)}
        kept = {name: getattr(done, name) for name in _KEPT}
        return {**kept, "onward": self._onward, "basis": whole}, vectors

    def resume(self, kept: Mapping[str, Any], vector: Callable[[str], Tree] | None) -> None:
        """Take up a kept state; without ``vector`` its coefficients only.

        Products here and now may differ in rounding from those before: another device, another
        version, another precision. The larger error counts.
        """
        done, k = self.coefficients, len(kept["alpha"])
        done.epsilon = max(done.epsilon, kept["epsilon"])
        done.noise = max(done.noise, kept["noise"])
        done.alpha[:], done.beta[:] = kept["alpha"], kept["beta"]
        self._onward, self.basis = kept["onward"], None
        if k and vector is not None:
            like = self.vector

            def row(place: int) -> Tree:
                kept = vector(f"vector-{place}")
                return jax.tree.map(lambda x, own: x.astype(own.dtype), kept, like)

            if kept["basis"]:
                self.basis = [jax.device_get(row(place)) for place in range(k)]
            self._previous, self.vector = row(k - 1), row(k)


# What of the coefficients is kept.
_KEPT = ("alpha", "beta", "noise", "epsilon")


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
    """One step: alpha, the next beta, ``previous'image``, ``following'image``, and an exponent.

    All but the exponent are over two to its power.
    """
    # At its own scale, where no square overflows or vanishes.
    image, exponent = parameters.balanced(image)
    back = parameters.dot(previous, image)
    beta = jnp.ldexp(jnp.asarray(beta, back.dtype), -exponent)
    rest = parameters.add_scaled(image, -beta, previous)
    alpha = parameters.dot(vector, rest)
    rest = parameters.add_scaled(rest, -alpha, vector)
    correction = parameters.dot(vector, rest)  # once more: it keeps the error at a few epsilon
    rest = parameters.add_scaled(rest, -correction, vector)
    length = parameters.norm(rest)
    following = parameters.unit(rest)
    return (alpha + correction, length, back, parameters.dot(following, image), exponent), following


@jax.jit
def rayleigh(vector: Tree, image: Tree) -> tuple[jax.Array, jax.Array]:
    """Rayleigh quotient of a unit vector with this product, and the norm of its residual."""
    image, exponent = parameters.balanced(image)
    value = parameters.dot(vector, image)
    residual = parameters.norm(parameters.add_scaled(image, -value, vector))
    return jnp.ldexp(value, exponent), jnp.ldexp(residual, exponent)
