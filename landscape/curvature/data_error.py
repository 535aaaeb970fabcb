"""How far a curvature depends on the examples it was measured over.

The largest eigenvalue of a mean of matrices is at most the mean of their largest eigenvalues, so
λmax over a sample is too large on average, several times for a mini-batch. The Rayleigh quotient of
its eigenvector on other data is too small on average: together they enclose λmax of the population
in expectation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from landscape import parameters
from landscape.curvature.estimate import Estimate
from landscape.curvature.extremes import DEFAULT_LIMIT, extremes
from landscape.curvature.search import Eigenvalue
from landscape.curvature.sharpness import quotients
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import Tree


@dataclass(frozen=True)
class DataError:
    """Rayleigh quotients of one vector on the data and on other data.

    Attributes
    ----------
    quotient
        ``u'Hu`` over the examples of the objective; ``probes`` is their number and the standard
        error is that of a mean over independent examples, for the vector held fixed.
    shards
        (S,) The same over S equal parts of the data, in order.
    held_out
        ``u'Hu`` over data that the vector was not computed from; None without such data.
    """

    quotient: Estimate
    shards: np.ndarray
    held_out: Estimate | None

    @property
    def shard_error(self) -> float:
        """Standard error of the mean from the spread of the shards."""
        return Estimate.of(self.shards).standard_error


def data_error(
    objective: Objective, vector: Tree, *, held_out: Objective | None = None, shards: int = 10
) -> DataError:
    """Rayleigh quotients of a vector example by example, at less than the cost of a product.

    Parameters
    ----------
    objective
        What the vector was computed from.
    vector
        A top eigenvector, from ``extremes(..., vectors=True)``; any length.
    held_out
        The same loss and parameters over other data.
    shards
        Parts into which the examples are divided in order; at most their number.

    Raises
    ------
    RequestError
        If ``shards`` is below 1, the vector is zero, or ``held_out`` has other parameters.
    """
    if shards < 1:
        raise RequestError(f"shards: {shards} is below 1; use 10")
    forms = quotients(objective, vector)
    other = None
    if held_out is not None:
        if parameters.content_hash(held_out.params) != parameters.content_hash(objective.params):
            raise RequestError("held_out: its parameters differ; use objective.with_batches(other)")
        other = Estimate.of(quotients(held_out, vector))
    parts = np.array_split(forms, min(shards, len(forms)))
    return DataError(Estimate.of(forms), np.array([part.mean() for part in parts]), other)


@dataclass(frozen=True)
class Scan:
    """λmax over one of several nested sets of examples, and its vector's quotient on the rest.

    Attributes
    ----------
    examples
        How many.
    lambda_max
        Over these, with certified bounds.
    held_out
        Rayleigh quotient of its eigenvector over the examples that were left out, with the
        standard error over them; None where there are none.
    """

    examples: int
    lambda_max: Eigenvalue
    held_out: Estimate | None


def scan(
    objective: Objective,
    sizes: Sequence[int],
    *,
    width: float = 0.01,
    confidence: float = 0.999,
    seed: int = 0,
    limit: int = DEFAULT_LIMIT,
    statements: int | None = None,
    progress: Callable[[], object] | None = None,
    found: Callable[[Scan], object] | None = None,
    journal: Journal | None = None,
) -> list[Scan]:
    """λmax against the number of examples, over nested random subsets.

    Where it still falls with the number, the value over the largest set is too large as well.

    Parameters
    ----------
    objective
        The whole data.
    sizes
        Numbers of examples.
    width, confidence, seed, limit
        As for :func:`landscape.extremes`; the confidence is shared by all sizes.
    statements
        How many values share the confidence, if more than these.
    progress
        Called after each product.
    found
        Called with each entry as soon as it is known.
    journal
        Where interim states are kept; a run that finds one there goes on from it. Discard it
        when the outcome is safe.

    Raises
    ------
    RequestError
        If a size is out of range.
    """
    order = np.random.default_rng(seed).permutation(objective.examples)
    for size in sizes:
        if not 1 <= size <= len(order):
            raise RequestError(f"scan: {size} examples asked for, there are {len(order)}")
    entries = []
    for size in sizes:
        part = objective if size == len(order) else objective.subset(order[:size])
        top = extremes(
            part,
            width=width,
            confidence=confidence,
            seed=seed,
            limit=limit,
            ends="max",
            statements=statements or len(sizes),
            vectors=True,
            progress=progress,
            journal=(journal or Journal()).part(f"{size}"),
        )
        rest = None
        if size < len(order):
            vector = top.vectors["lambda_max"]
            rest = Estimate.of(objective.subset(order[size:]).quadratic_forms(vector))
        entries.append(Scan(size, top.lambda_max, rest))
        if found is not None:
            found(entries[-1])
    return entries
