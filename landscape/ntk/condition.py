"""The condition number of the neural tangent kernel, a measure of trainability."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import numpy as np

from landscape.errors import RequestError
from landscape.ntk.empirical import Apply, empirical_ntk
from landscape.parameters import Tree


@dataclass(frozen=True)
class ConditionNumber:
    """κ of the kernel on several batches.

    Attributes
    ----------
    kappa
        Mean over the batches.
    standard_error
        Of that mean, from the spread over batches; NaN for a single batch.
    per_batch
        (batches,) condition numbers.
    eigenvalues
        (batches, m), descending.
    resolved
        False where a smallest eigenvalue drowns in rounding: then κ is only a lower bound.
    """

    kappa: float
    standard_error: float
    per_batch: np.ndarray
    eigenvalues: np.ndarray
    resolved: bool


def condition_number(
    apply: Apply,
    params: Tree,
    batches: Iterable[jax.Array],
    *,
    progress: Callable[[], object] | None = None,
) -> ConditionNumber:
    """``κ = λ1 / λm`` of the empirical NTK, averaged over batches, in float64.

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
    Appendix D.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> inputs = jnp.array([[1.0, 0.0], [0.0, 10.0]])
    >>> condition_number(lambda w, x: x @ w, jnp.zeros((2, 1)), [inputs]).kappa
    100.0
    """
    spectra, epsilon = [], max(float(np.finfo(_real(x)).eps) for x in jax.tree.leaves(params))
    for batch in batches:
        spectra.append(kernel_eigenvalues(apply, params, batch))
        if progress is not None:
            progress()
    return summarise(spectra, epsilon)


def kernel_eigenvalues(apply: Apply, params: Tree, batch: jax.Array) -> np.ndarray:
    """Eigenvalues (m,) of the kernel on one batch, descending, float64."""
    return np.linalg.eigvalsh(empirical_ntk(apply, params, batch))[::-1]


def summarise(spectra: Iterable[np.ndarray], epsilon: float = 2.0**-23) -> ConditionNumber:
    """κ, its mean and standard error from the eigenvalues of each batch.

    ``epsilon`` is the unit roundoff of the Jacobians: a relative error of 32 epsilon in them moves
    the smallest eigenvalue by (32 epsilon)^2 times the largest.
    """
    spectra = list(spectra)
    if not spectra:
        raise RequestError("batches: none; κ needs at least one batch of inputs")
    if len({len(s) for s in spectra}) != 1:
        raise RequestError("batches: κ depends on the number of inputs; leave out the ragged batch")
    values = np.array(spectra)
    resolved = bool((values[:, -1] > (32 * epsilon) ** 2 * values[:, 0]).all())
    smallest = np.maximum(values[:, -1], (32 * epsilon) ** 2 * values[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        per_batch = values[:, 0] / smallest
    count = len(per_batch)
    error = float(per_batch.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return ConditionNumber(float(per_batch.mean()), error, per_batch, values, resolved)


def _real(leaf) -> np.dtype:
    dtype = np.dtype(leaf.dtype)
    return dtype if dtype.kind == "f" and dtype.itemsize >= 4 else np.dtype("f4")
