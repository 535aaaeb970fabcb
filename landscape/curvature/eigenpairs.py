"""The largest eigenvalues with their vectors, none missed: thick-restart Lanczos and a check."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from landscape import parameters
from landscape.curvature import panel
from landscape.curvature.lanczos import Recurrence, check_finite
from landscape.curvature.ritz import measured
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import Tree


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest (algebraic) eigenvalues, descending, with their eigenvectors.

    Attributes
    ----------
    values
        (k,) Rayleigh-Ritz values; but for the error of the products the i-th is at most the i-th
        eigenvalue.
    residuals
        (k,) ``||H u - value u||``, each from a product of its own.
    lower, upper
        (k,) The i-th eigenvalue lies between ``lower[i]`` and ``upper[i]`` with probability
        ``confidence``. Both allow for the error of the products.
    confidence
        Probability that all bounds hold; the upper ones also say that no eigenvalue was missed.
    checks
        (k,) ``u'Hu`` by a program of its own, partly in float64 (see
        :meth:`landscape.Objective.rayleigh_quotient`); NaN for a matrix that has none.
    vectors
        A panel: a tree shaped like the parameters with a leading axis of k, orthonormal.
    products
        Products spent, the check and the residuals included.
    converged
        Residuals within twice the tolerance, checks that agree with the products within it, and
        nothing missed above the smallest value, up to ``width`` times the largest magnitude.
        If not, there may be fewer pairs than k.
    """

    values: np.ndarray
    residuals: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    confidence: float
    checks: np.ndarray
    vectors: panel.Panel
    products: int
    converged: bool


def eigenpairs(
    objective: Objective,
    k: int,
    *,
    tolerance: float = 1e-3,
    width: float = 0.01,
    confidence: float = 0.999,
    memory: int | None = None,
    limit: int = 1000,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> Eigenpairs:
    """The k largest eigenvalues and their eigenvectors.

    A Lanczos basis with full reorthogonalisation is restarted with its best Ritz vectors whenever
    it is full. A single start sees one vector of a multiple eigenvalue, so afterwards a second,
    random start on the complement of what was found either bounds everything that is left, or
    shows what was missed, which is then added.

    Parameters
    ----------
    objective
        The objective, or anything with ``params`` and a symmetric ``product(vector)``.
    k
        Number of eigenpairs.
    tolerance
        Largest residual, relative to the largest magnitude found.
    width
        How far above the smallest value the bound on the rest may lie, relative likewise.
    confidence
        Probability that no eigenvalue was missed.
    memory
        Vectors kept, ``2 k + 10`` if not given (at least ``k + 3``); twice as many for the moment
        of a restart.
    limit
        Products after which the search ends; the residuals take k more.
    seed
        Decides the start vectors.
    progress
        Called after each product.
    journal
        Where interim states are kept; a run that finds one there goes on from it. Discard it
        when the outcome is safe.

    Raises
    ------
    RequestError
        For a k, memory, tolerance, width or confidence out of range.

    References
    ----------
    Wu and Simon, Thick-restart Lanczos method for large symmetric eigenvalue problems, SIAM J.
    Matrix Anal. 22 (2000); for the bounds see :class:`landscape.curvature.lanczos.Tridiagonal`.
    """
    size = parameters.size(objective.params)
    if not 1 <= k <= size:
        raise RequestError(f"top: {k} eigenvalues asked for, the matrix has {size}")
    memory = min(size, 2 * k + 10 if memory is None else memory)
    if memory < min(size, k + 3):
        raise RequestError(f"memory: {memory} vectors are too few; use k + 3 = {k + 3} or more")
    if limit < 1:
        raise RequestError(f"limit: {limit} products cannot measure anything; use 1000")
    for name, value in {"tolerance": tolerance, "width": width, "confidence": confidence}.items():
        if not 0 < value < 1:
            raise RequestError(f"{name}: {value} is not between 0 and 1")
    journal = journal or Journal()
    run = _Run(objective, k, tolerance, memory, limit, seed, progress, journal)
    run.fill()
    rest, complete = run.check(width, 1 - confidence)
    found = run.residuals()
    error = run.slack + 2 * run.product_error
    upper = np.fmax(np.maximum(found.values, rest), found.checks)
    agreed = not (np.abs(found.values - found.checks) > tolerance * run.scale).any()
    accurate = agreed and bool((found.residuals <= 2 * tolerance * run.scale).all())
    return dataclasses.replace(
        found,
        lower=np.fmin(found.values, found.checks) - error,
        upper=upper + np.linalg.norm(found.residuals) + error,
        confidence=confidence,
        converged=complete and accurate,
    )


def top_vector(
    matrix: Any, *, tolerance: float, limit: int, seed: int, memory: int = 12
) -> tuple[Tree, int]:
    """A unit vector near the eigenvector of the largest eigenvalue, and the products it took.

    By the thick-restart iteration of :func:`eigenpairs`, without its bounds: to be measured before
    it is used.

    Parameters
    ----------
    matrix
        Anything with ``params`` and a symmetric ``product(vector)``.
    tolerance
        Residual relative to the largest magnitude found.
    limit
        Largest number of products; the vector is as good as it is then.
    seed, memory
        As for :func:`eigenpairs`.
    """
    memory = min(parameters.size(matrix.params), memory)
    run = _Run(matrix, 1, tolerance, memory, limit, seed, None, Journal())
    run.fill()
    run._truncate(1)
    return panel.take(run.basis, 0), run.products


class _Outside:
    """The matrix of a run with the eigenvalues that were found moved to ``bottom``."""

    def __init__(self, run: "_Run", bottom: float):
        self.params, self.noise = run.objective.params, getattr(run.objective, "noise", 0.0)
        self._run, self._bottom = run, bottom

    def product(self, vector: Tree) -> Tree:
        outside, inside = panel.split(self._run.basis, vector)
        image, _ = panel.split(self._run.basis, self._run.product(outside))
        return parameters.add_scaled(image, self._bottom, inside)


class _Run:
    """The basis V (``memory`` rows, the unused ones zero) and its projection T = V'HV.

    The products of the first ``known`` rows are known; ``pending`` is the next vector.
    """

    def __init__(self, objective, k, tolerance, memory, limit, seed, progress, journal):
        self.objective, self.k, self.tolerance, self.memory = objective, k, tolerance, memory
        self.limit, self.seed, self.progress, self.journal = limit, seed, progress, journal
        like = objective.params
        self.epsilon = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(like))
        self.size = parameters.size(like)
        self.products = self.starts = self.generation = self.rounds = 0
        self.projection, self.known = np.zeros((memory, memory)), 0
        self.converged = False
        self.product_error = 0.0  # measured at the end
        # Their asymmetry |v'Hw - w'Hv| shows the error of the products.
        self.noise = getattr(objective, "noise", 0.0)
        self.expected: np.ndarray | None = np.zeros(0)  # of the pending vector with the basis
        self.basis = panel.zeros(like, memory)
        self.pending: Tree | None = None
        kept = journal.load()
        if kept is None:
            self.pending = self._start()
        else:
            self._resume(kept)

    @property
    def scale(self) -> float:
        return float(np.max(np.abs(self._ritz()[0])))

    @property
    def slack(self) -> float:
        """Allowance for the products' errors, as for the bounds of a recurrence."""
        return 10 * max(self.epsilon * self.scale, self.noise)

    def product(self, vector: Tree) -> Tree:
        image = self.objective.product(vector)
        self._count()
        return image

    def _count(self) -> None:
        self.products += 1
        if self.progress is not None:
            self.progress()

    # --- the thick-restart iteration --------------------------------------------------------------

    def fill(self) -> None:
        """Iterate until the k largest Ritz pairs have converged."""
        while not self.converged and self.products < self.limit:
            self.basis = panel.put(self.basis, self.known, self.pending)
            image = self.product(self.pending)
            self.pending, column, coupling = panel.orthogonalise(self.basis, image)
            coupling = float(coupling)
            check_finite([coupling], self.products)
            self.known += 1
            column = np.asarray(column, np.float64)[: self.known]
            if self.expected is not None:
                asymmetry = np.abs(column[:-1] - self.expected)
                self.noise = max(self.noise, float(np.max(asymmetry, initial=0.0)))
            self.projection[: self.known, self.known - 1] = column
            self.projection[self.known - 1, : self.known] = column
            if coupling <= 4 * self.slack / 10:  # an invariant space: look outside of it
                coupling = 0.0
                if self.known < self.size:
                    self.pending = self._start()
            _, vectors = self._ritz()
            couplings = coupling * vectors[-1]
            residuals = np.abs(couplings[: self.k])
            self.expected = np.r_[np.zeros(self.known - 1), coupling]
            enough = self.known >= self.k and residuals.max() <= self.tolerance * self.scale
            self.converged = bool(enough) or self.known == self.size
            if self.known == self.memory and not self.converged:
                # Keep the best Ritz vectors; the pending vector couples to all of them.
                self._truncate(self.k + (self.memory - self.k) // 3)
                self.expected = couplings[: self.known]
            self._keep()

    def _ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values, descending, and their coordinates in the basis."""
        values, vectors = scipy.linalg.eigh(self.projection[: self.known, : self.known])
        return values[::-1], vectors[:, ::-1]

    def _truncate(self, count: int) -> None:
        """Make the best Ritz vectors the basis."""
        values, vectors = self._ritz()
        weights = np.zeros((self.memory, self.memory))
        weights[: self.known, :count] = vectors[:, :count]
        self.basis = panel.combine(self.basis, weights)
        self.projection = np.zeros((self.memory, self.memory))
        np.fill_diagonal(self.projection[:count, :count], values[:count])
        self.known = count
        self.generation += 1

    def _start(self) -> Tree:
        """A random vector orthogonal to the basis."""
        key = jax.random.fold_in(jax.random.key(self.seed), self.starts)
        self.starts += 1
        vector = parameters.gaussian(key, self.objective.params, unit=True)
        return panel.orthogonalise(self.basis, vector)[0]

    # --- was anything missed? ---------------------------------------------------------------------

    def check(self, width: float, failure: float) -> tuple[float, bool]:
        """An upper bound on every eigenvalue that was not found, and whether it is low enough.

        Every round is a statement of its own; the i-th may fail with ``failure / 2^(i+1)``.
        """
        if self.known < self.k:
            return np.inf, False
        if self.known == self.size:
            return -np.inf, True
        self._truncate(self.k)
        bottom = min(0.0, float(self._ritz()[0][-1]))
        while True:
            values, _ = self._ritz()
            outside = _Outside(self, bottom)
            recurrence = Recurrence(self.objective, self._round_key())
            ceiling, verdict = self._look(
                recurrence,
                outside,
                values[-1],
                width * self.scale,
                failure / 2 ** (self.rounds + 1),
            )
            self.noise = max(self.noise, recurrence.coefficients.noise)
            if verdict != "missed":
                return ceiling, verdict == "complete"
            self._insert(recurrence, outside)
            self.rounds += 1
            self._keep()

    def _round_key(self) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.seed), 2**20 + self.rounds)

    def _look(
        self,
        recurrence: Recurrence,
        outside: "_Outside",
        least: float,
        width: float,
        failure: float,
    ) -> tuple[float, Literal["complete", "missed", "unknown"]]:
        """One round: a bound on the complement, and whether an eigenvalue above ``least`` shows."""
        journal, seen = self.journal.part("check"), recurrence.coefficients
        ceiling, missed = np.inf, False
        if (kept := journal.load()) is not None and kept["rounds"] == self.rounds:
            recurrence.resume(kept["recurrence"], functools.partial(self._kept, journal))
            self.products, ceiling, missed = kept["products"], kept["ceiling"], kept["missed"]
        while self.products < self.limit:
            recurrence.advance(outside.product(recurrence.vector))
            ceiling = min(ceiling, seen.ceiling(failure) + max(self.slack, seen.rounding))
            ritz, residuals = seen.ritz()
            # What lies above the smallest value by more than its own error was missed.
            missed = missed or bool(ritz[-1] > least + 2 * self.tolerance * self.scale)
            if not missed and ceiling <= least + width:
                return ceiling, "complete"
            if missed and (seen.exhausted or residuals[-1] <= self.tolerance * self.scale):
                return ceiling, "missed"
            if seen.exhausted:
                break
            coefficients, vectors = recurrence.state(journal.room)
            progress = {"rounds": self.rounds, "products": self.products}
            progress |= {"ceiling": ceiling, "missed": missed}
            # A name stands for one value, so it tells the round.
            vectors = {f"{self.rounds}-{name}": tree for name, tree in vectors.items()}
            scalars = {"recurrence": coefficients, **progress}
            journal.save(scalars, vectors.keys(), vectors.__getitem__)
        return ceiling, "unknown"

    def _kept(self, journal: Journal, name: str) -> Tree:
        return journal.vector(f"{self.rounds}-{name}", self.objective.params)

    def _insert(self, recurrence: Recurrence, outside: "_Outside") -> None:
        """Rayleigh-Ritz with the largest Ritz vector of the check, looked for anew if not kept."""
        kept = recurrence.ritz_vector(-1)
        if kept is None:
            limit = max(1, self.limit - self.products)
            # Not the start of the first search: what that one has of an eigenspace was found.
            seed = self.seed + 1 + self.rounds
            kept = top_vector(outside, tolerance=self.tolerance, limit=limit, seed=seed)
        vector, _, _ = panel.orthogonalise(self.basis, kept[0])
        self.basis = panel.put(self.basis, self.known, vector)
        column = np.asarray(panel.coefficients(self.basis, self.product(vector)), np.float64)
        self.known += 1
        self.projection[: self.known, self.known - 1] = column[: self.known]
        self.projection[self.known - 1, : self.known] = column[: self.known]
        self._truncate(self.k)

    # --- the outcome ------------------------------------------------------------------------------

    def residuals(self) -> Eigenpairs:
        """Rayleigh-Ritz in the final basis with a product of every vector."""
        count = min(self.k, self.known)
        self._truncate(count)
        vectors = jax.tree.map(lambda leaf: leaf[:count], self.basis)
        pairs = []
        for i in range(count):
            pairs.append(measured(self.objective, panel.take(vectors, i), self.products))
            self._count()
        values = np.array([pair.quotient for pair in pairs])
        self.product_error = max((pair.product_error for pair in pairs), default=0.0)
        order = np.argsort(values)[::-1]
        vectors = jax.tree.map(lambda leaf: leaf[order], vectors)
        return Eigenpairs(
            values=values[order],
            residuals=np.array([pair.residual for pair in pairs])[order],
            checks=np.array([pair.check for pair in pairs])[order],
            lower=np.full(count, -np.inf),
            upper=np.full(count, np.inf),
            confidence=0.0,
            vectors=vectors,
            products=self.products,
            converged=False,
        )

    # --- kept and continued -----------------------------------------------------------------------

    def _keep(self) -> None:
        rows = [f"{self.generation}-{row}" for row in range(self.known)]
        pending = f"{self.generation}-{self.known}"  # where it will be put

        def vector(name: str) -> Tree:
            row = int(name.rpartition("-")[2])
            return self.pending if row == self.known else panel.take(self.basis, row)

        self.journal.save(
            {
                "projection": self.projection[: self.known, : self.known].tolist(),
                "converged": self.converged,
                "noise": self.noise,
                "generation": self.generation,
                "products": self.products,
                "starts": self.starts,
                "rounds": self.rounds,
            },
            [*rows, pending],
            vector,
        )

    def _resume(self, kept: dict) -> None:
        projection = np.array(kept["projection"])
        self.known = len(projection)
        self.projection[: self.known, : self.known] = projection
        for name in ("converged", "noise", "generation", "products", "starts", "rounds"):
            setattr(self, name, kept[name])
        like = self.objective.params
        for row in range(self.known):
            vector = self.journal.vector(f"{self.generation}-{row}", like)
            self.basis = panel.put(self.basis, row, vector)
        self.pending = self.journal.vector(f"{self.generation}-{self.known}", like)
        self.expected = None  # other devices may round otherwise
