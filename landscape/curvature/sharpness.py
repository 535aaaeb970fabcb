"""Sharpness without eigenvalues: along a direction, in a ball, along the way down."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landscape import parameters
from landscape.curvature.estimate import Estimate
from landscape.errors import RequestError
from landscape.objective import Objective
from landscape.parameters import Tree


def directional_sharpness(objective: Objective, vector: Tree) -> Estimate:
    """Curvature ``v'Hv / v'v`` along a vector, with its standard error over the examples.

    Parameters
    ----------
    objective
        Its curvature matrix is the one that is used.
    vector
        A tree like ``params``, of any length but zero.

    Raises
    ------
    RequestError
        If the vector is zero.
    """
    return Estimate.of(quotients(objective, vector))


def quotients(objective: Objective, vector: Tree) -> np.ndarray:
    """``v'H_n v / v'v`` of every example (N,)."""
    length = float(parameters.dot(vector, vector))
    if not length > 0:
        raise RequestError("vector: it is zero and has no direction")
    return objective.quadratic_forms(vector) / length


@dataclass(frozen=True)
class SamSharpness:
    """How much the loss rises within a distance of the parameters.

    Attributes
    ----------
    rho
        The distance.
    first_order
        Rise at ``w + rho g/|g|``, SAM's own step.
    largest
        The largest rise found by ascent: a lower bound on the maximum over the ball.
    steps
        Ascent steps taken.
    """

    rho: float
    first_order: float
    largest: float
    steps: int


def sam_sharpness(
    objective: Objective,
    rho: float = 0.05,
    *,
    steps: int = 10,
    progress: Callable[[], object] | None = None,
) -> SamSharpness:
    """``max over |e| <= rho of L(w + e) - L(w)`` by gradient ascent on the sphere.

    Every step moves to the point of the sphere in the direction of the gradient at the last point,
    which for a quadratic loss is the power iteration towards its maximum. No bound from above is
    given: the maximum of a loss over a ball cannot be certified by evaluations.

    Parameters
    ----------
    objective
        The loss.
    rho
        Radius, in units of the parameters' norm.
    steps
        Ascent steps; the first is SAM's.
    progress
        Called after each step.

    Raises
    ------
    RequestError
        If ``rho`` is not positive or ``steps`` is below 1.

    References
    ----------
    Foret, Kleiner, Mobahi, Neyshabur, Sharpness-aware minimization, arXiv:2010.01412.
    """
    if not rho > 0:
        raise RequestError(f"rho: {rho} is not positive; the paper of SAM uses 0.05")
    if steps < 1:
        raise RequestError(f"steps: {steps} is below 1; the first is SAM's own")
    start, point, rises = objective.loss(), objective.params, []
    for _ in range(steps):
        gradient = objective.gradient(point)
        length = float(parameters.norm(gradient))
        if length == 0:
            break
        point = parameters.add_scaled(objective.params, rho / length, gradient)
        rise = objective.loss(point) - start
        rises.append(rise if rise == rise else float("inf"))  # not a number: the loss has diverged
        if progress is not None:
            progress()
    first = rises[0] if rises else 0.0
    return SamSharpness(rho, first, max([0.0, *rises]), len(rises))


@dataclass(frozen=True)
class CriticalStep:
    """The longest step downhill that does not raise the loss, between bounds.

    Attributes
    ----------
    lower, upper
        ``loss(w - s d) <= loss(w)`` at the lower and not at the upper; the first crossing found by
        doubling lies between them.
    sharpness
        ``2 / lower``, which for a quadratic loss and its gradient is the curvature along it.
    """

    lower: float
    upper: float

    @property
    def sharpness(self) -> float:
        return 2 / self.lower if self.lower else float("inf")


def critical_step(
    objective: Objective,
    direction: Tree | None = None,
    *,
    width: float = 0.01,
    limit: int = 60,
) -> CriticalStep:
    """The step along the negative gradient (or an update) from which on the loss rises.

    A few forward passes; ``2 / step`` is a cheap relative of λmax.

    Parameters
    ----------
    objective
        The loss.
    direction
        What would be subtracted from the parameters; the gradient by default.
    width
        Relative distance of the two bounds.
    limit
        Largest number of evaluations; the bounds are wider if it is reached.

    Raises
    ------
    RequestError
        If the direction is zero or the loss is not a number.

    References
    ----------
    The "critical sharpness" of facebookresearch/scalable-curvature, arXiv:2601.16979.
    """
    start = objective.loss()
    if start != start:
        raise RequestError("params: the loss is not a number here; use another checkpoint")
    direction = objective.gradient() if direction is None else direction
    length = float(parameters.norm(direction))
    if not length > 0:
        raise RequestError("direction: it is zero; at a stationary point give one")

    def rises(step: float) -> bool:
        there = parameters.add_scaled(objective.params, -step, direction)
        loss = objective.loss(there)
        return not loss <= start  # also where it is not a number

    low, high, evaluations = 0.0, np.inf, 0
    step = max(float(parameters.norm(objective.params)), 1.0) * 1e-3 / length
    while evaluations < limit and not (low > 0 and high <= (1 + width) * low):
        evaluations += 1
        if rises(step):
            high = step
        else:
            low = step
        if high == float("inf"):
            step *= 2
        elif low == 0:
            step /= 2
        else:
            step = (low + high) / 2
    return CriticalStep(low, high)
