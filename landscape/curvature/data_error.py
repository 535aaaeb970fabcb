"""How far a curvature depends on the examples it was measured over.

The largest eigenvalue of a mean of matrices is at most the mean of their largest eigenvalues, so
λmax over a random sample is too large on average for what the sample was drawn from, several times
for a mini-batch; the Rayleigh quotient of a vector that does not depend on the sample is too small.

What a sample was drawn from is the population only if the parameters do not depend on it: at
initialisation, or over data that had no part in training or in the choice of the checkpoint. A
network fits the examples that it is trained on, and its λmax over them can lie far below λmax over
new ones. For a trained network λmax of the population is enclosed in expectation by two numbers
of the test split: the quotient of the training eigenvector and λmax.
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
        error is that of a mean over independent examples, for vector and parameters held fixed.
        Since both were fitted to these examples, it does not tell how far the population is.
    shards
        (S,) The same over S equal parts of the data, in order.
    held_out
        ``u'Hu`` over data that the vector was not computed from; None without such data. At most
        λmax over the same data. Where the parameters do not depend on these data either, its
        expectation is at most λmax of the population; the standard error is about this expectation.
    held_out_lambda_max
        λmax over the same data with certified bounds, if it was asked for. Where the parameters do
        not depend on these data, its expectation is at least λmax of the population.
    """

    quotient: Estimate
    shards: np.ndarray
    held_out: Estimate | None
    held_out_lambda_max: Eigenvalue | None = None

    @property
    def shard_error(self) -> float:
        """Standard error of the mean from the spread of the shards."""
        return Estimate.of(self.shards).standard_error


def data_error(
    objective: Objective,
    vector: Tree,
    *,
    held_out: Objective | None = None,
    shards: int = 10,
    certify: bool = False,
    width: float = 0.01,
    confidence: float = 0.999,
    seed: int = 0,
    limit: int = DEFAULT_LIMIT,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> DataError:
    """Rayleigh quotients of a vector example by example, at less than the cost of a product.

    A quotient over held-out data above the upper bound on λmax over the training data shows that
    λmax over the held-out data is larger: it is never below the quotient. For other data of the
    same population the standard error says how sure that is.

    Parameters
    ----------
    objective
        What the vector was computed from.
    vector
        A top eigenvector, from ``extremes(..., vectors=True)``; any length.
    held_out
        The same loss and parameters over other data. Conclusions about the population need data
        that the parameters do not depend on: a test split, not more training data.
    shards
        Parts into which the examples are divided in order; at most their number.
    certify
        Also search λmax over ``held_out``, at the cost of a search.
    width, confidence, seed, limit, progress, journal
        Of this search, as for :func:`landscape.extremes`.

    Raises
    ------
    RequestError
        If ``shards`` is below 1, the vector is zero, ``held_out`` has other parameters or is
        missing for ``certify``, and where :func:`landscape.extremes` raises it.
    """
    if shards < 1:
        raise RequestError(f"shards: {shards} is below 1; use 10")
    if certify and held_out is None:
        raise RequestError("certify: there are no held-out data; pass held_out=")
    if held_out is not None and parameters.content_hash(held_out.params) != parameters.content_hash(
        objective.params
    ):
        raise RequestError("held_out: its parameters differ; use objective.with_batches(other)")
    forms = quotients(objective, vector)
    parts = np.array_split(forms, min(shards, len(forms)))
    other = None if held_out is None else Estimate.of(quotients(held_out, vector))
    top = None
    if certify:
        top = extremes(
            held_out,
            width=width,
            confidence=confidence,
            seed=seed,
            limit=limit,
            ends="max",
            progress=progress,
            journal=journal,
        ).lambda_max
    return DataError(Estimate.of(forms), np.array([part.mean() for part in parts]), other, top)


@dataclass(frozen=True)
class Scan:
    """λmax over one of several nested sets of examples, and its vector's quotient on the rest.

    Attributes
    ----------
    examples
        How many.
    lambda_max
        Over these, with certified bounds.
    other_examples
        Rayleigh quotient of its eigenvector over the other examples of the same objective, with
        the standard error over them; None where there are none. These are no held-out data: a
        network that was trained on the objective's data was trained on them as well.
    """

    examples: int
    lambda_max: Eigenvalue
    other_examples: Estimate | None


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

    For any parameters, λmax over a random subset is on average too large for λmax over all the
    examples of the objective, and the quotient of its vector on the other examples too small: it
    tells how far a mini-batch or a part of the data misleads about all of them.

    It tells about the population only where the parameters do not depend on the examples. Then λmax
    over all of them is too large as well, and more so where it still falls with the number. For a
    network trained on them it says nothing about λmax over new examples, which is often larger;
    for that see :func:`data_error`.

    Parameters
    ----------
    objective
        All the examples.
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
        others = order[size:]
        part = objective.subset(order[:size]) if len(others) else objective
        top = extremes(
            part,
            width=width,
            confidence=confidence,
            seed=seed,
            limit=limit,
            ends="max",
            statements=statements or len(sizes),
            vectors=len(others) > 0,
            progress=progress,
            journal=(journal or Journal()).part(f"{size}"),
        )
        rest = None
        if len(others):
            vector = top.vectors["lambda_max"]
            rest = Estimate.of(objective.subset(others).quadratic_forms(vector))
        entries.append(Scan(size, top.lambda_max, rest))
        if found is not None:
            found(entries[-1])
    return entries
