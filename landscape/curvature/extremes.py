"""The ends of the Hessian's spectrum, whole and block by block, between certified bounds."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from landscape.curvature.search import Ends, Extremes, Search
from landscape.errors import RequestError, about_block, check_choice
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import Tree

# Enough products for a width of 1 % of λmax - λmin at 99.9 % on 87 million parameters whatever the
# spectrum (Kuczynski and Wozniakowski 1992); real spectra need 10 to 20.
DEFAULT_LIMIT = 84


def extremes(
    objective: Objective,
    *,
    width: float = 0.01,
    confidence: float = 0.999,
    limit: int = DEFAULT_LIMIT,
    seed: int = 0,
    ends: Ends = "both",
    statements: int = 1,
    vectors: bool = False,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> Extremes:
    """Largest and smallest Hessian eigenvalue with two-sided bounds.

    It takes three vectors on the devices, and each product adds one in host memory (and in the
    journal) as long as one takes less than a quarter of what is free there.

    Parameters
    ----------
    objective
        The objective, or anything with ``params`` and a symmetric ``product(vector)``.
    width
        Stop when each interval is narrower than ``width`` times its eigenvalue; for the smallest
        one times the larger of the two magnitudes, since it is often near zero.
    confidence
        Probability with which all bounds hold, over the random start.
    limit
        Largest number of products of the search. The vector of each end takes one more, and up to
        ``limit`` where it must be looked for anew: without room for the vectors, or if products
        are not the same from call to call.
    seed
        Decides the start vector.
    ends
        ``"max"`` stops as soon as the largest eigenvalue is certified; the bounds on the smallest
        one hold all the same, however wide they are then.
    statements
        How many calls share one confidence (union bound); see :func:`block_extremes`.
    vectors
        Also return the measured Ritz vectors, for no further product.
    progress
        Called after each product.
    journal
        Where interim states are kept; a run that finds one there goes on from it. Discard it
        when the outcome is safe.

    Raises
    ------
    RequestError
        For a width, confidence or limit out of range, and for a product that is not finite.

    References
    ----------
    Lanczos (1950); van Dorsselaer, Hochstenbach, van der Vorst (2000) for the bounds.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from landscape import Objective
    >>> curvatures = jnp.array([-1.0, 0.5, 2.0, 8.0])
    >>> def loss(w, batch):
    ...     return 0.5 * jnp.sum(curvatures * w**2) * batch
    >>> found = extremes(Objective(loss, jnp.ones(4), [jnp.ones(3)]))
    >>> print(f"{found.lambda_min.estimate:.3f} {found.lambda_max.estimate:.3f}")
    -1.000 8.000
    """
    check_request(width, confidence, limit)
    check_choice("ends", ends, get_args(Ends))
    settings = _Settings(width, confidence, limit, seed, ends, statements, vectors)
    search = settings.search(objective)
    _lockstep(
        {"": search},
        lambda vectors: {"": objective.product(vectors[""])},
        None if progress is None else lambda _: progress(),
        lambda _: None,
        journal or Journal(),
    )
    return search.found


def block_extremes(
    objective: Objective,
    blocks: Mapping[str, Sequence[str]],
    *,
    width: float = 0.01,
    confidence: float = 0.999,
    limit: int = DEFAULT_LIMIT,
    seed: int = 0,
    ends: Ends = "both",
    statements: int | None = None,
    progress: Callable[[str], object] | None = None,
    found: Callable[[str, Extremes], object] | None = None,
    journal: Journal | None = None,
) -> dict[str, Extremes]:
    """:func:`extremes` of sub-diagonal Hessian blocks, all bounds at one joint confidence.

    The blocks advance together, one product each in every pass over the data; a block that is
    certified takes no more part.

    Parameters
    ----------
    blocks
        ``{block: [leaf names]}``, from :func:`landscape.parameters.blocks`. Each product
        differentiates with respect to its block alone.
    limit
        Largest number of products of each block.
    statements
        How many matrices share the confidence, if more than these blocks.
    progress
        Called with the block's name after each product.
    found
        Called with the name and the outcome of a block that has finished.

    Other parameters, errors and references as for :func:`extremes`.
    """
    check_request(width, confidence, limit)
    check_choice("ends", ends, get_args(Ends))
    settings = _Settings(width, confidence, limit, seed, ends, statements or len(blocks))
    parts = {name: objective.block(leaves) for name, leaves in blocks.items()}
    searches = {name: settings.search(part) for name, part in parts.items()}

    def finish(name: str) -> None:
        if found is not None:
            found(name, searches[name].found)

    def products(vectors):
        return objective.products(parts, vectors)

    _lockstep(searches, products, progress, finish, journal or Journal())
    return {name: search.found for name, search in searches.items()}


def check_request(width: float, confidence: float, limit: int) -> None:
    """Refuse a width, confidence or limit out of range (raises RequestError)."""
    if not 0 < width < 1:
        raise RequestError(f"width: {width} is not between 0 and 1; 0.01 asks for 1 %")
    if not 0 < confidence < 1:
        raise RequestError(f"confidence: {confidence} is not between 0 and 1; try 0.999")
    if limit < 1:
        raise RequestError(f"limit: {limit} products cannot measure anything; use 1 or more")


@dataclasses.dataclass(frozen=True)
class _Settings:
    width: float
    confidence: float
    limit: int
    seed: int
    ends: Ends
    statements: int
    vectors: bool = False

    def search(self, objective: Objective) -> Search:
        return Search(
            objective,
            width=self.width,
            confidence=self.confidence,
            # Two statements a matrix: about its largest and about its smallest eigenvalue.
            failure=(1 - self.confidence) / (2 * self.statements),
            limit=self.limit,
            seed=self.seed,
            ends=self.ends,
            vectors=self.vectors,
        )


def _lockstep(
    searches: Mapping[str, Search],
    products: Callable[[dict], dict],
    progress: Callable[[str], object] | None,
    finish: Callable[[str], object],
    journal: Journal,
) -> None:
    """Advance all searches, one product each in turn, until every one is finished."""
    for name, kept in (journal.load() or {}).items():
        if name in searches:
            with about_block(name):
                searches[name].resume(kept, functools.partial(_kept, journal, name))
            if searches[name].finished:
                finish(name)
    while active := [name for name, search in searches.items() if not search.finished]:
        images = products({name: searches[name].vector for name in active})
        for name in active:
            before = searches[name].spent
            with about_block(name):
                searches[name].advance(images.pop(name))
            for _ in range(searches[name].spent - before if progress is not None else 0):
                progress(name)
            if searches[name].finished:
                finish(name)
        _keep(searches, journal)


def _keep(searches: Mapping[str, Search], journal: Journal) -> None:
    room = journal.room / len(searches)
    states = {name: search.state(room) for name, search in searches.items()}
    vectors = {
        _file(name, vector): tree
        for name, (_, trees) in states.items()
        for vector, tree in trees.items()
    }
    scalars = {name: kept for name, (kept, _) in states.items()}
    journal.save(scalars, vectors.keys(), vectors.__getitem__)


def _kept(journal: Journal, name: str, vector: str, like: Tree) -> Tree:
    return journal.vector(_file(name, vector), like)


def _file(name: str, vector: str) -> str:
    """Block names hold slashes."""
    return f"{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}-{vector}"
