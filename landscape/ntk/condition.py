"""The condition number of the neural tangent kernel, a measure of trainability."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np

from landscape.errors import RequestError
from landscape.ntk.empirical import Apply, Jacobians, empirical_ntk
from landscape.objective.float64 import coarsest_epsilon
from landscape.parameters import Tree
from landscape.results import Stored


@dataclass(frozen=True, repr=False)
class ConditionNumber:
    """κ of the kernel on several batches of m inputs.

    A kernel of m inputs is singular where m exceeds the rank that the network can give it: with a
    head of zeros, the width of what the head sees plus one for its bias, less one after LayerNorm.
    Where m comes near that rank the smallest eigenvalue is that of a random, nearly square matrix,
    whose inverse has no variance unless the rank is larger by 4 (Edelman). Both say how large the
    batch is and nothing of the network: ``rank_limited``.

    Attributes
    ----------
    kappa
        Mean over the batches. Where ``rank_limited`` or not ``resolved`` no mean has a meaning:
        then the smallest, of which no batch has less.
    standard_error
        Of that mean, from the spread over batches; NaN for a single batch and where there is no
        mean.
    per_batch
        (batches,) condition numbers.
    eigenvalues
        (batches, m), descending.
    resolved
        False where a smallest eigenvalue drowns in rounding: that κ is only a lower bound.
    rank
        Smallest numerical rank of the batches' kernels.
    attainable_rank
        Numerical rank of one kernel on two batches together; None if there was only one.
    rank_limited
        Whether a kernel has not full rank, or the attainable one is below m + 4.
    """

    kappa: float
    standard_error: float
    per_batch: np.ndarray
    eigenvalues: np.ndarray
    resolved: bool
    rank: int
    attainable_rank: int | None
    rank_limited: bool

    @property
    def statement(self) -> str:
        """What was found, and what keeps it from being a measure of trainability."""
        count, inputs = self.eigenvalues.shape
        over = f"over {count} kernel{'s' * (count > 1)} of {inputs} inputs"
        if not self.rank:
            return f"κ is not defined {over}: the kernel is zero, no output depends on a parameter"
        if not self.resolved:
            return (
                f"κ ≥ {_shown(self.kappa)} {over}: singular to rounding, rank {self.rank} of "
                f"{inputs}; use fewer inputs or a wider network"
            )
        if self.rank_limited:
            return (
                f"κ ≥ {_shown(self.kappa)} {over}: at the edge of singularity, since two batches "
                f"together have no more than rank {self.attainable_rank}; use fewer inputs, at "
                "best half as many"
            )
        known, text = self.attainable_rank, f"κ = {_shown(self.kappa)}"
        if not np.isnan(self.standard_error):
            text += f" ± {_shown(self.standard_error)}"
        if known is None:
            return f"{text} {over}; one batch does not tell which rank the network can give"
        return f"{text} {over}; the rank does not limit it: two batches together have {known}"

    def __repr__(self) -> str:
        return f"<ConditionNumber: {self.statement}>"


def condition_number(
    apply: Apply,
    params: Tree,
    batches: Iterable[jax.Array],
    *,
    progress: Callable[[], object] | None = None,
) -> ConditionNumber:
    """``κ = λ1 / λm`` of the empirical NTK, averaged over batches, in float64.

    The first two batches share one kernel, which tells the rank that the network can give.

    Parameters
    ----------
    apply
        ``(params, inputs) -> (B, outputs)``, deterministic.
    params
        The parameters, in the paper those of the initialisation.
    batches
        Arrays of inputs, each (m, ...); the paper uses m = 48.
    progress
        Called after each batch.

    Raises
    ------
    RequestError
        If there are no batches, they differ in size, or a kernel cannot be computed.

    References
    ----------
    Xiao, Pennington, Schoenholz, arXiv:1912.13053; Chen, Hsieh, Gong, arXiv:2106.01548,
    Appendix D. Edelman, Eigenvalues and condition numbers of random matrices, SIAM J. Matrix Anal.
    9 (1988).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> inputs = jnp.array([[1.0, 0.0], [0.0, 10.0]])
    >>> condition_number(lambda w, x: x @ w, jnp.zeros((2, 1)), [inputs]).kappa
    100.0
    """
    apply, batches, spectra, both = Jacobians(apply), iter(batches), [], None

    def keep(values):
        spectra.append(values)
        if progress is not None:
            progress()

    first_two = list(islice(batches, 2))
    if len(first_two) == 2:
        *values, both = pair_eigenvalues(apply, params, *first_two)
        for each in values:
            keep(each)
    for batch in first_two[len(spectra) :]:
        keep(kernel_eigenvalues(apply, params, batch))
    for batch in batches:
        keep(kernel_eigenvalues(apply, params, batch))
    epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(params))
    if first_two:  # a network may compute in a coarser type than its parameters have
        epsilon = max(epsilon, coarsest_epsilon(apply, params, first_two[0]))
    return summarise(spectra, epsilon, both=both)


def kernel_eigenvalues(apply: Apply, params: Tree, batch: jax.Array) -> np.ndarray:
    """Eigenvalues (m,) of the kernel on one batch, descending, float64."""
    return _eigenvalues(empirical_ntk(apply, params, batch))


def pair_eigenvalues(
    apply: Apply, params: Tree, first: jax.Array, second: jax.Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of the kernel on each of two batches, and on both together (2m,)."""
    kernel = empirical_ntk(apply, params, np.concatenate([first, second]))
    m = len(first)
    return tuple(map(_eigenvalues, (kernel[:m, :m], kernel[m:, m:], kernel)))


def _eigenvalues(kernel: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(kernel)[::-1]


def summarise(
    spectra: Iterable[np.ndarray],
    epsilon: float = 2.0**-23,
    *,
    both: Sequence[float] | None = None,
) -> ConditionNumber:
    """κ, its mean and standard error from the eigenvalues (m,) of each batch.

    Parameters
    ----------
    spectra
        Descending eigenvalues of each batch's kernel.
    epsilon
        Spacing of the numbers that the Jacobians were computed in: a relative error of 32 epsilon
        in them moves the smallest eigenvalue by (32 epsilon)^2 times the largest.
    both
        Eigenvalues of the kernel on two batches together, for the attainable rank.

    Raises
    ------
    RequestError
        If there are no batches or they differ in size.
    """
    spectra = list(spectra)
    if not spectra:
        raise RequestError("batches: none; κ needs at least one batch of inputs")
    if len({len(s) for s in spectra}) != 1:
        raise RequestError("batches: κ depends on the number of inputs; leave out the ragged batch")
    values = np.array(spectra)
    count, inputs = values.shape
    # Of the Jacobians, and of the eigenvalues themselves, which are computed in float64.
    noise = max((32 * epsilon) ** 2, 8 * inputs * 2.0**-52)
    rank = min(_rank(each, noise) for each in values)
    attainable = None if both is None else _rank(np.asarray(both), noise)
    resolved = rank == inputs
    near = attainable is not None and attainable < min(2 * inputs, inputs + 4)
    limited = not resolved or near
    smallest = np.maximum(values[:, -1], noise * values[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        per_batch = values[:, 0] / smallest
    error = float("nan")
    if count > 1 and not limited:
        error = float(per_batch.std(ddof=1) / np.sqrt(count))
    kappa = float(per_batch.min() if limited else per_batch.mean())
    return ConditionNumber(kappa, error, per_batch, values, resolved, rank, attainable, limited)


def of_stored(stored: Stored) -> ConditionNumber:
    """The condition number in a complete result file of the ``ntk`` command."""
    both = stored.data.get("eigenvalues_of_two", np.array([np.nan]))
    return summarise(
        stored["eigenvalues"],
        stored.attributes.get("epsilon", 2.0**-23),
        both=None if np.isnan(both).any() else both,
    )


def _rank(values: np.ndarray, noise: float) -> int:
    """How many eigenvalues stand out of rounding."""
    return int(np.sum(values > noise * values[0]))


def _shown(value: float) -> str:
    return f"{value:.0f}" if 100 <= value < 1e6 else f"{value:.3g}"
