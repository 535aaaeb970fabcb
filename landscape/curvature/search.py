"""The search for both ends of one matrix's spectrum: recurrences, bounds, and when to stop."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from landscape import parameters
from landscape.curvature.lanczos import Recurrence, Tridiagonal
from landscape.journal import Journal
from landscape.parameters import Tree

Ends = Literal["both", "max"]


@dataclass(frozen=True)
class Eigenvalue:
    """An extreme eigenvalue between bounds.

    Attributes
    ----------
    estimate
        The Ritz value, a Rayleigh quotient, hence never outside the spectrum (up to rounding).
    lower, upper
        The true eigenvalue lies between them with probability ``confidence``. On the side of the
        Ritz value the bound is certain up to rounding.
    confidence
        Probability that every bound of the same call holds.
    residual
        ``||H u - estimate u||`` for the unit Ritz vector u.
    products
        Hessian-vector products spent.
    converged
        Whether the interval is as narrow as was asked for.
    """

    estimate: float
    lower: float
    upper: float
    confidence: float
    residual: float
    products: int
    converged: bool


@dataclass(frozen=True)
class Extremes:
    """Largest and smallest (algebraic) eigenvalue of one matrix.

    Attributes
    ----------
    lambda_max, lambda_min
        The ends of the spectrum.
    runs
        The coefficients of the Lanczos runs, usually one; every bound can be computed again from
        them.
    vectors
        ``{"lambda_max": u, "lambda_min": u}``, unit trees, if they were asked for.
    """

    lambda_max: Eigenvalue
    lambda_min: Eigenvalue
    runs: tuple[Tridiagonal, ...]
    vectors: dict[str, Tree] | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"lambda_max": asdict(self.lambda_max), "lambda_min": asdict(self.lambda_min)}


def enclosed(
    runs: Sequence[Tridiagonal], ceiling: float, floor: float, width: float, confidence: float
) -> Extremes:
    """Both ends of a spectrum from Lanczos runs of it and the bounds on what they did not see.

    ``width`` says when an interval is narrow enough, see :func:`landscape.extremes`.
    """
    ritz = [run.ritz() for run in runs]
    top, top_residual = max((float(values[-1]), float(r[-1])) for values, r in ritz)
    bottom, bottom_residual = min((float(values[0]), float(r[0])) for values, r in ritz)
    slack = max(run.rounding for run in runs)
    products = sum(run.products for run in runs)
    magnitude = max(abs(top), abs(bottom))

    def eigenvalue(estimate, lower, upper, residual, reference) -> Eigenvalue:
        lower, upper = min(lower, estimate) - slack, max(upper, estimate) + slack
        # An eigenvalue far below the norm of H cannot be known better than rounding allows.
        enough = max(width * reference, min(4 * slack, width * magnitude))
        narrow = bool(upper - lower <= enough)
        return Eigenvalue(estimate, lower, upper, confidence, residual, products, narrow)

    return Extremes(
        eigenvalue(top, top, ceiling, top_residual, abs(top)),
        eigenvalue(bottom, floor, bottom, bottom_residual, magnitude),
        tuple(runs),
    )


class Search:
    """Lanczos runs on one matrix until both bounds are narrow; see :func:`extremes`.

    A matrix with few distinct eigenvalues exhausts the Krylov space of its start before rounding
    lets the bounds become narrow. Then two more starts follow: that the components of all three
    along an eigenvector are small is so improbable that each may be held against a much larger
    failure rate, its third root. Half of the failure allowed is spent on the first run alone, half
    on the three together.

    Attributes
    ----------
    vector
        What is to be multiplied next.
    found
        The outcome so far; None before the first product.
    finished
        Certified, out of products, or out of starts.
    """

    STARTS = 3

    def __init__(
        self,
        matrix: Any,
        *,
        width: float,
        confidence: float,
        failure: float,
        limit: int,
        seed: int,
        ends: Ends,
    ):
        self._matrix, self._seed = matrix, seed
        self._width, self._confidence, self._limit, self._ends = width, confidence, limit, ends
        self._alone, self._together = failure / 2, (failure / 2) ** (1 / self.STARTS)
        self._runs: list[Tridiagonal] = []
        self._ceilings: list[float] = []  # of each start, at the larger failure rate
        self._floors: list[float] = []
        self._ceiling, self._floor = np.inf, -np.inf
        self.found: Extremes | None = None
        self.finished = False
        self._start()

    @property
    def vector(self) -> Tree:
        return self._current.vector

    @property
    def products(self) -> int:
        return sum(run.products for run in self._runs)

    def key(self, start: int) -> jax.Array:
        """Decides the start vector of a run."""
        key = jax.random.key(self._seed)
        return jax.random.fold_in(key, start) if start else key

    def advance(self, image: Tree) -> None:
        """Take the product of :attr:`vector` (``image`` is used up) and update what is found.

        Raises
        ------
        RequestError
            If the product is not finite.
        """
        self._current.advance(image)
        run = self._runs[-1]
        self._tighten(run)
        self._conclude()
        exhausted = run.exhausted and len(self._runs) < self.STARTS
        if not self.finished and exhausted:
            self._start()

    def _start(self) -> None:
        self._current = Recurrence(self._matrix, self.key(len(self._runs)))
        self._runs.append(self._current.coefficients)
        self._ceilings.append(np.inf)
        self._floors.append(-np.inf)

    def _tighten(self, run: Tridiagonal) -> None:
        # Bounds hold for every step of a run, so they may be intersected.
        if len(self._runs) == 1:
            self._ceiling = min(self._ceiling, run.ceiling(self._alone))
            self._floor = max(self._floor, run.floor(self._alone))
        if run.exhausted or len(self._runs) == self.STARTS:
            self._ceilings[-1] = min(self._ceilings[-1], run.ceiling(self._together))
            self._floors[-1] = max(self._floors[-1], run.floor(self._together))
        if len(self._runs) == self.STARTS:
            self._ceiling = min(self._ceiling, max(self._ceilings))
            self._floor = max(self._floor, min(self._floors))

    def _conclude(self) -> None:
        runs = [run for run in self._runs if run.products]
        self.found = enclosed(runs, self._ceiling, self._floor, self._width, self._confidence)
        largest, smallest = self.found.lambda_max, self.found.lambda_min
        certified = largest.converged and (self._ends == "max" or smallest.converged)
        out_of_starts = self._runs[-1].exhausted and len(self._runs) == self.STARTS
        self.finished = certified or out_of_starts or self.products >= self._limit

    # --- kept and continued -----------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Any], dict[str, Tree]]:
        """Scalars to keep, and vectors while the search is not finished."""
        current, vectors = self._current.state()
        vectors = {} if self.finished else vectors
        place = len(self._runs) - 1
        scalars = {
            "runs": [{"alpha": run.alpha, "beta": run.beta} for run in self._runs[:-1]] + [current],
            "ceiling": self._ceiling,
            "floor": self._floor,
            "ceilings": self._ceilings,
            "floors": self._floors,
        }
        return scalars, {f"{place}-{name}": tree for name, tree in vectors.items()}

    def resume(self, scalars: dict[str, Any], vector: Callable[[str, Tree], Tree]) -> None:
        """Continue from a kept state; ``vector(name, like)`` gives the kept vectors."""
        *earlier, current = scalars["runs"]
        self._runs = [dataclasses.replace(self._runs[0], **run) for run in earlier]
        place = len(earlier)
        self._start()
        self._current.coefficients.alpha += current["alpha"]
        self._current.coefficients.beta += current["beta"]
        self._ceiling, self._floor = scalars["ceiling"], scalars["floor"]
        self._ceilings, self._floors = scalars["ceilings"], scalars["floors"]
        self._conclude()
        if not self.finished:
            self._current.resume(lambda name: vector(f"{place}-{name}", self._matrix.params))

    # --- eigenvectors -----------------------------------------------------------------------------

    def eigenvectors(
        self, progress: Callable[[], object] | None = None, journal: Journal | None = None
    ) -> dict[str, Tree]:
        """Ritz vectors of the ends that were asked for, by repeating the runs they are from.

        The same start and the same products give the same Lanczos vectors, so none has to be kept:
        the memory is one vector an end. Ends the search.
        """
        journal = journal or Journal()
        del self._current
        ends = {"lambda_max": -1} | ({"lambda_min": 0} if self._ends == "both" else {})
        sources: dict[int, dict[str, np.ndarray]] = {}
        for end, position in ends.items():
            values = [(1 if position else -1) * run.ritz()[0][position] for run in self._runs]
            start = int(np.argmax(values))
            run = self._runs[start]
            _, ritz = scipy.linalg.eigh_tridiagonal(run.alpha, run.beta[:-1])
            sources.setdefault(start, {})[end] = ritz[:, position]
        vectors: dict[str, Tree] = {}
        for start, weights in sources.items():
            again = Recurrence(self._matrix, self.key(start))
            sums = {end: jax.tree.map(jnp.zeros_like, again.vector) for end in weights}
            part = journal.part(f"{start}")
            if (kept := part.load()) is not None:
                again.coefficients.alpha, again.coefficients.beta = kept["alpha"], kept["beta"]
                place = functools.partial(part.vector, like=self._matrix.params)
                again.resume(place)
                sums = {end: place(f"{end}-{again.coefficients.products}") for end in weights}
            while (step := again.coefficients.products) < self._runs[start].products:
                for end, weight in weights.items():
                    sums[end] = _add(sums[end], float(weight[step]), again.vector)
                again.advance(self._matrix.product(again.vector))
                coefficients, trees = again.state()
                trees |= {f"{end}-{step + 1}": tree for end, tree in sums.items()}
                part.save(coefficients, trees.keys(), trees.__getitem__)
                del trees
                if progress is not None:
                    progress()
            vectors |= sums
        return {
            end: parameters.scaled(vector, 1 / float(parameters.norm(vector)))
            for end, vector in vectors.items()
        }


@functools.partial(jax.jit, donate_argnums=0)
def _add(total: Tree, weight: jax.Array | float, vector: Tree) -> Tree:
    return parameters.add_scaled(total, weight, vector)
