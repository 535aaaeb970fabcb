"""The search for both ends of one matrix's spectrum: recurrences, bounds, and when to stop."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from landscape.curvature.eigenpairs import top_vector
from landscape.curvature.lanczos import Recurrence, Tridiagonal
from landscape.curvature.ritz import Negated, RitzPair, measured
from landscape.parameters import Tree

Ends = Literal["both", "max"]
End = Literal["lambda_max", "lambda_min"]


@dataclass(frozen=True)
class Eigenvalue:
    """An extreme eigenvalue between bounds.

    Attributes
    ----------
    estimate
        The Rayleigh quotient of the Ritz vector, hence never outside the spectrum (up to the error
        of the products).
    lower, upper
        The true eigenvalue lies between them with probability ``confidence``. On the side of the
        Ritz value the bound is certain. Both allow for the error of the products.
    confidence
        Probability that every bound of the same call holds.
    residual
        ``||H u - (u'Hu) u||`` for the unit Ritz vector u, measured with a product of its own; of
        an end that was not asked for, as the recurrence has it.
    products
        Hessian-vector products spent.
    converged
        Whether the end was asked for, the interval is as narrow as was asked for, and the product
        of the vector and its check confirm it.
    check
        ``u'Hu`` by a program of its own, partly in float64 (see
        :meth:`landscape.Objective.rayleigh_quotient`). NaN where it was not measured.
    product_error
        Size of the error of a product with a unit vector: from the precision, the asymmetry of the
        products, and the difference of ``u'Hu`` from ``check`` and of that from float64.
    confirmed
        Whether the vector was measured and is the one of the recurrence, and its check agrees where
        there is one.
    """

    estimate: float
    lower: float
    upper: float
    confidence: float
    residual: float
    products: int
    converged: bool
    check: float = math.nan
    product_error: float = math.nan
    confirmed: bool = False


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
    runs: tuple[Tridiagonal, ...] = field(repr=False)
    vectors: dict[str, Tree] | None = field(default=None, repr=False)

    @property
    def ends(self) -> dict[End, Eigenvalue]:
        return {"lambda_max": self.lambda_max, "lambda_min": self.lambda_min}

    def as_dict(self) -> dict[str, Any]:
        return {end: asdict(found) for end, found in self.ends.items()}


@dataclass(frozen=True)
class MeasuredEnd:
    """The measured vector of an end, and whether it is the one that the recurrence spoke of."""

    pair: RitzPair
    confirmed: bool
    products: int


def enclosed(
    runs: Sequence[Tridiagonal],
    ceiling: float,
    floor: float,
    width: float,
    confidence: float,
    verified: Mapping[End, MeasuredEnd] | None = None,
    *,
    product_errors: Mapping[End, float] | None = None,
    spent: int = 0,
) -> Extremes:
    """Both ends of a spectrum from Lanczos runs of it and the bounds on what they did not see.

    ``width`` says when an interval is narrow enough, see :func:`landscape.extremes`. Without
    ``verified`` vectors this is the state of a search that goes on; with them the last word.
    ``product_errors`` are expected along vectors that will be measured, and ``spent`` products were
    spent beside those of runs and vectors.
    """
    ritz = [run.ritz() for run in runs]
    top, top_residual = max((float(values[-1]), float(r[-1])) for values, r in ritz)
    bottom, bottom_residual = min((float(values[0]), float(r[0])) for values, r in ritz)
    rounding, error = max(run.rounding for run in runs), max(run.error for run in runs)
    products = spent + sum(run.products for run in runs)
    products += sum(one.products for one in (verified or {}).values())
    magnitude = max(abs(top), abs(bottom))
    tolerated = max(rounding, math.sqrt(max(run.epsilon for run in runs)) * magnitude)

    def eigenvalue(end: End, estimate, lower, upper, residual, reference) -> Eigenvalue:
        one = verified.get(end) if verified is not None else None
        seen = [estimate] if one is None else [estimate, one.pair.quotient, one.pair.check]
        lower, upper = np.nanmin([lower, *seen]), np.nanmax([upper, *seen])
        # The error along the vector moves the eigenvalue; other directions may be twice as bad.
        along = one.pair.product_error if one else (product_errors or {}).get(end, 0.0)
        slack = rounding + 2 * along
        lower, upper = float(lower - slack), float(upper + slack)
        # An eigenvalue far below the norm of H cannot be known better than rounding allows.
        enough = max(width * reference, min(4 * rounding, width * magnitude))
        narrow = bool(upper - lower <= enough)
        confirmed = bool(one and one.confirmed and one.pair.agrees(tolerated))
        return Eigenvalue(
            one.pair.quotient if one else estimate,
            lower,
            upper,
            confidence,
            one.pair.residual if one else residual,
            products,
            narrow and (confirmed or verified is None),
            one.pair.check if one else math.nan,
            max(error, along),
            confirmed,
        )

    return Extremes(
        eigenvalue("lambda_max", top, top, ceiling, top_residual, abs(top)),
        eigenvalue("lambda_min", bottom, floor, bottom, bottom_residual, magnitude),
        tuple(runs),
    )


def verify(matrix: Any, runs: Sequence[Recurrence], end: End, limit: int, seed: int) -> MeasuredEnd:
    """The Ritz vector of an end of several runs, measured.

    It is a sum of the vectors that were kept. Where they were not, or where its residual is not
    what the recurrence says (it was continued on another device, a product is not deterministic),
    a thick-restart iteration looks for it anew.

    Raises
    ------
    RequestError
        If a product is not finite.
    """
    position, sign = (-1, 1) if end == "lambda_max" else (0, -1)
    ritz = [run.coefficients.ritz() for run in runs]
    best = int(np.argmax([sign * values[position] for values, _ in ritz]))
    value, predicted = (float(row[position]) for row in ritz[best])
    spent = sum(run.coefficients.products for run in runs)
    rounding = max(run.coefficients.rounding for run in runs)

    def confirmed(pair: RitzPair, predicted: float) -> bool:
        """Whether its residual is what it should be, and its quotient that of the recurrence."""
        moved = abs(pair.quotient - value)
        return pair.residual <= 2 * predicted + rounding and moved <= predicted + rounding

    kept, products = runs[best].ritz_vector(position), 0
    if kept is not None:
        vector, predicted = kept
        pair, products = measured(matrix, vector, spent), 1
        if confirmed(pair, predicted):
            return MeasuredEnd(pair, True, products)
    scale = runs[best].coefficients.scale
    tolerance = float(np.clip(predicted / scale, 1e-4, 1e-2)) if scale else 1e-2
    matrix_of_largest = matrix if sign > 0 else Negated(matrix)
    vector, more = top_vector(matrix_of_largest, tolerance=tolerance, limit=limit, seed=seed)
    pair = measured(matrix, vector, spent + products + more)
    return MeasuredEnd(pair, confirmed(pair, tolerance * scale), products + more + 1)


class Search:
    """Lanczos runs on one matrix until both bounds are narrow; see :func:`extremes`.

    A matrix with few distinct eigenvalues exhausts the Krylov space of its start before rounding
    lets the bounds become narrow. Then two more starts follow: that the components of all three
    along an eigenvector are small is so improbable that each may be held against a much larger
    failure rate, its third root. Half of the failure allowed is spent on the first run alone, half
    on the three together. At the end the vectors of the ends that were asked for are measured.
    Where their products turn out too inexact for the intervals to be narrow, it goes on.

    Attributes
    ----------
    vector
        What is to be multiplied next.
    found
        The outcome so far; None before the first product.
    finished
        Certified, out of products, or out of starts; and the vectors measured.
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
        vectors: bool = False,
    ):
        self._matrix, self._seed, self._with_vectors = matrix, seed, vectors
        self._width, self._confidence, self._limit, self._ends = width, confidence, limit, ends
        self._alone, self._together = failure / 2, (failure / 2) ** (1 / self.STARTS)
        self._runs: list[Recurrence] = []
        self._ceilings: list[float] = []  # of each start, at the larger failure rate
        self._floors: list[float] = []
        self._ceiling, self._floor = np.inf, -np.inf
        self._product_errors: dict[End, float] = {}  # along vectors measured on the way
        self._measuring = 0  # products for these vectors
        self.found: Extremes | None = None
        self.finished = False
        self._start()

    @property
    def vector(self) -> Tree:
        return self._runs[-1].vector

    @property
    def products(self) -> int:
        return sum(run.coefficients.products for run in self._runs)

    @property
    def spent(self) -> int:
        """All products so far, those of measured vectors included."""
        return self.found.lambda_max.products if self.found else 0

    def key(self, start: int) -> jax.Array:
        """Decides the start vector of a run."""
        key = jax.random.key(self._seed)
        return jax.random.fold_in(key, start) if start else key

    def advance(self, image: Tree) -> None:
        """Take the product of :attr:`vector` (``image`` is used up) and update what is found.

        Raises
        ------
        RequestError
            If a product is not finite.
        """
        self._runs[-1].advance(image)
        run = self._runs[-1].coefficients
        self._tighten(run)
        self._conclude()
        exhausted = run.exhausted and len(self._runs) < self.STARTS
        if not self.finished and exhausted:
            self._start()

    @property
    def _certified(self) -> bool:
        largest, smallest = self.found.lambda_max, self.found.lambda_min
        return largest.converged and (self._ends == "max" or smallest.converged)

    def _can_be_certified(self, verified: Mapping[End, MeasuredEnd]) -> bool:
        """Whether more products make intervals narrow whose width came from inexact products."""
        grown, magnitude = False, max(abs(e.estimate) for e in self.found.ends.values())
        for end, one in verified.items():
            found, error = self.found.ends[end], one.pair.product_error
            reference = abs(found.estimate) if end == "lambda_max" else magnitude
            if not found.confirmed or not 5 * error < self._width * reference:
                return False
            grown = grown or error > self._product_errors.get(end, 0.0)
        return grown

    def _start(self) -> None:
        self._runs.append(Recurrence(self._matrix, self.key(len(self._runs))))
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
        runs = [run for run in self._runs if run.coefficients.products]
        coefficients = [run.coefficients for run in runs]
        bounds = (self._ceiling, self._floor, self._width, self._confidence)
        so_far = {"product_errors": self._product_errors, "spent": self._measuring}
        self.found = enclosed(coefficients, *bounds, **so_far)
        out_of_starts = coefficients[-1].exhausted and len(self._runs) == self.STARTS
        last = out_of_starts or self.products >= self._limit
        if not (self._certified or last):
            return
        asked: tuple[End, ...] = ("lambda_max", "lambda_min")[: 1 + (self._ends == "both")]
        limit = max(self._limit, 12)
        verified = {end: verify(self._matrix, runs, end, limit, self._seed) for end in asked}
        self.found = enclosed(coefficients, *bounds, verified, spent=self._measuring)
        if not (self._certified or last) and self._can_be_certified(verified):
            self._product_errors = {end: one.pair.product_error for end, one in verified.items()}
            self._measuring += sum(one.products for one in verified.values())
            return
        if self._with_vectors:
            vectors = {end: one.pair.vector for end, one in verified.items()}
            self.found = dataclasses.replace(self.found, vectors=vectors)
        for run in self._runs:
            run.basis = None
        self.finished = True

    # --- kept and continued -----------------------------------------------------------------------

    def state(self, room: float = math.inf) -> tuple[dict[str, Any], dict[str, Tree]]:
        """Scalars to keep, and vectors: those of the runs, or in the end those that were found.

        ``room`` as for :meth:`landscape.curvature.lanczos.Recurrence.state`.
        """
        kept, vectors = [], dict(self.found.vectors or {})
        for place, run in enumerate(self._runs):
            scalars, rows = run.state(room)
            kept.append(scalars)
            if not self.finished:
                vectors |= {f"{place}-{name}": tree for name, tree in rows.items()}
        scalars = {
            "runs": kept,
            "ceiling": self._ceiling,
            "floor": self._floor,
            "ceilings": self._ceilings,
            "floors": self._floors,
            "product_errors": self._product_errors,
            "measuring": self._measuring,
            "found": self.found.as_dict() if self.finished else None,
        }
        return scalars, vectors

    def resume(self, scalars: dict[str, Any], vector: Callable[[str, Tree], Tree]) -> None:
        """Continue from a kept state; ``vector(name, like)`` gives the kept vectors."""
        like, found = self._matrix.params, scalars["found"]

        def of_run(place: int) -> Callable[[str], Tree] | None:
            return None if found else lambda name: vector(f"{place}-{name}", like)

        for place, kept in enumerate(scalars["runs"]):
            if place:
                self._start()
            self._runs[place].resume(kept, of_run(place))
        self._ceiling, self._floor = scalars["ceiling"], scalars["floor"]
        self._ceilings, self._floors = scalars["ceilings"], scalars["floors"]
        self._product_errors, self._measuring = scalars["product_errors"], scalars["measuring"]
        if found is None:
            self._conclude()
            return
        runs = tuple(run.coefficients for run in self._runs if run.coefficients.products)
        vectors = {end: vector(end, like) for end in found} if self._with_vectors else None
        ends = {end: Eigenvalue(**values) for end, values in found.items()}
        self.found = Extremes(**ends, runs=runs, vectors=vectors)
        self.finished = True
