"""Power iteration, the method of the paper and of most published numbers: for comparison only."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from landscape import parameters
from landscape.curvature.lanczos import check_finite, rayleigh
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective


@dataclass(frozen=True)
class PowerEstimate:
    """Where power iteration stopped; uncertified.

    Attributes
    ----------
    estimate
        Rayleigh quotient of the last vector: the eigenvalue of largest magnitude, once converged.
    residual
        ``||H v - estimate v||``: some eigenvalue is this near, not necessarily the largest.
    products
        Hessian-vector products spent.
    is_largest
        False where the estimate is negative: then it is the smallest eigenvalue, and the largest
        is not known from this run.
    """

    estimate: float
    residual: float
    products: int
    is_largest: bool


def power_iteration(
    objective: Objective,
    *,
    iterations: int = 100,
    tolerance: float | None = None,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> PowerEstimate:
    """Eigenvalue of largest magnitude by power iteration from a Gaussian start.

    Parameters
    ----------
    objective
        The objective, or anything with ``params`` and a symmetric ``product(vector)``.
    iterations
        Number of products; the paper uses 100.
    tolerance
        PyHessian's rule: stop when two successive Rayleigh quotients differ by less than this,
        relatively. It says little about the error (1-3 % at 1e-3 for spectra without a gap).
    seed
        Decides the start vector.
    progress
        Called after each product.
    journal
        Where interim states are kept; a run that finds one there goes on from it. Discard it
        when the outcome is safe.

    Raises
    ------
    RequestError
        If ``iterations`` is below 1.

    References
    ----------
    Chen, Hsieh, Gong, arXiv:2106.01548, Appendix C; Yao et al., PyHessian, arXiv:1912.07145.
    """
    if iterations < 1:
        raise RequestError(f"iterations: {iterations} is below 1; the paper uses 100")
    journal = journal or Journal()
    estimate, residual, products, stopped = float("nan"), float("nan"), 0, False
    if (kept := journal.load()) is None:
        vector = parameters.gaussian(jax.random.key(seed), objective.params, unit=True)
    else:
        estimate, residual, products, stopped = (
            kept[name] for name in ("estimate", "residual", "products", "stopped")
        )
        vector = journal.vector(f"vector-{products}", objective.params)
    while products < iterations and not stopped:
        last = estimate
        image = objective.product(vector)
        estimate, residual = map(float, rayleigh(vector, image))
        products += 1
        check_finite([estimate, residual], products)
        vector = _unit(image)
        close = tolerance is not None and abs(estimate - last) <= tolerance * abs(estimate)
        stopped = bool(close)
        state = {"estimate": estimate, "residual": residual}
        state |= {"products": products, "stopped": stopped}
        journal.save(state, [f"vector-{products}"], lambda _, vector=vector: vector)
        if progress is not None:
            progress()
    return PowerEstimate(estimate, residual, products, estimate >= 0)


_unit = jax.jit(parameters.unit)
