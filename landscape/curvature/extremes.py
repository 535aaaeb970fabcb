"""The ends of the Hessian's spectrum, whole and block by block, between certified bounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jax
import numpy as np

from landscape.curvature.lanczos import Tridiagonal, lanczos
from landscape.errors import RequestError
from landscape.objective import Objective

# Enough products for a relative width of 1 % at 99.9 % on 87 million parameters whatever the
# spectrum (Kuczynski and Wozniakowski 1992); real spectra need 10 to 20.
DEFAULT_LIMIT = 84


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
    """Largest and smallest (algebraic) eigenvalue from one Lanczos run.

    ``alpha`` and ``beta`` (products,) are the recurrence's coefficients; every bound can be
    computed again from them.
    """

    lambda_max: Eigenvalue
    lambda_min: Eigenvalue
    alpha: np.ndarray
    beta: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        return {"lambda_max": asdict(self.lambda_max), "lambda_min": asdict(self.lambda_min)}


def extremes(
    objective: Objective,
    *,
    width: float = 0.01,
    confidence: float = 0.999,
    limit: int = DEFAULT_LIMIT,
    seed: int = 0,
    ends: Literal["both", "max"] = "both",
    statements: int = 1,
    progress: Callable[[], object] | None = None,
) -> Extremes:
    """Largest and smallest Hessian eigenvalue with two-sided bounds.

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
        Largest number of products.
    seed
        Decides the start vector.
    ends
        ``"max"`` stops as soon as the largest eigenvalue is certified; the bounds on the smallest
        one hold all the same, however wide they are then.
    statements
        How many calls share one confidence (union bound); see :func:`block_extremes`.
    progress
        Called after each product.

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
    # Two statements a run: about its largest and about its smallest eigenvalue.
    bounds = _Bounds(width, confidence, (1 - confidence) / (2 * statements))
    run = lanczos(objective.product, objective.params, jax.random.key(seed), limit=limit)
    for coefficients in run:
        if not np.isfinite([coefficients.alpha[-1], coefficients.beta[-1]]).all():
            raise RequestError(
                f"product: Hessian-vector product {coefficients.products} is not finite; "
                "is the loss twice differentiable at these parameters?"
            )
        found = bounds.update(coefficients)
        if progress is not None:
            progress()
        if found.lambda_max.converged and (ends == "max" or found.lambda_min.converged):
            break
    return found


def check_request(width: float, confidence: float, limit: int) -> None:
    """Refuse a width, confidence or limit out of range (raises RequestError)."""
    if not 0 < width < 1:
        raise RequestError(f"width: {width} is not between 0 and 1; 0.01 asks for 1 %")
    if not 0 < confidence < 1:
        raise RequestError(f"confidence: {confidence} is not between 0 and 1; try 0.999")
    if limit < 1:
        raise RequestError(f"limit: {limit} products cannot measure anything; use 1 or more")


class _Bounds:
    """The best bounds so far: each holds for every step of a run, so they may be intersected."""

    def __init__(self, width: float, confidence: float, failure: float):
        self.width, self.confidence, self.failure = width, confidence, failure
        self.ceiling, self.floor = np.inf, -np.inf

    def update(self, run: Tridiagonal) -> Extremes:
        self.ceiling = min(self.ceiling, run.ceiling(self.failure))
        self.floor = max(self.floor, run.floor(self.failure))
        values, residuals = run.ritz()
        top, bottom, slack = float(values[-1]), float(values[0]), run.rounding
        magnitude = max(abs(top), abs(bottom))
        return Extremes(
            self._eigenvalue(run, top, top, self.ceiling, residuals[-1], abs(top), slack),
            self._eigenvalue(run, bottom, self.floor, bottom, residuals[0], magnitude, slack),
            np.array(run.alpha),
            np.array(run.beta),
        )

    def _eigenvalue(self, run, estimate, lower, upper, residual, reference, slack) -> Eigenvalue:
        lower, upper = min(lower, estimate) - slack, max(upper, estimate) + slack
        # An eigenvalue far below the norm of H cannot be known better than rounding allows.
        narrow = upper - lower <= max(self.width * reference, 4 * slack)
        return Eigenvalue(
            estimate, lower, upper, self.confidence, float(residual), run.products, bool(narrow)
        )


def block_extremes(
    objective: Objective,
    blocks: Mapping[str, Sequence[str]],
    *,
    width: float = 0.01,
    confidence: float = 0.999,
    limit: int = DEFAULT_LIMIT,
    seed: int = 0,
    ends: Literal["both", "max"] = "both",
    progress: Callable[[str], object] | None = None,
) -> dict[str, Extremes]:
    """:func:`extremes` of sub-diagonal Hessian blocks, all bounds at one joint confidence.

    Parameters
    ----------
    blocks
        ``{block: [leaf names]}``, from :func:`landscape.parameters.blocks`. Each product
        differentiates with respect to its block alone.
    progress
        Called with the block's name after each product.

    Other parameters, errors and references as for :func:`extremes`.
    """
    return {
        name: extremes(
            objective.block(names),
            width=width,
            confidence=confidence,
            limit=limit,
            seed=seed,
            ends=ends,
            statements=len(blocks),
            progress=None if progress is None else lambda name=name: progress(name),
        )
        for name, names in blocks.items()
    }
