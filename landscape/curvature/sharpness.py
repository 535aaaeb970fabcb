"""Sharpness without eigenvalues: along a direction, in a ball, along the way down."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
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
    if not float(parameters.norm(vector)) > 0:
        raise RequestError("vector: it is zero and has no direction")
    return objective.quadratic_forms(parameters.unit(vector))


def loss_rounding(objective: Objective) -> float:
    """How far a difference of two losses near the parameters may be off by rounding.

    Measured in two ways. The loss at parameters that are moved by a machine epsilon, entry by entry
    up or down, differs from the loss by what rounding does to the parameters and to every operation
    after; and the loss differs from the one in float64. Four times the largest of eight such
    differences and of that, and no less than two units in the last place. Infinite where it cannot
    be measured: float64 is refused, and a leaf of zeros does not move.
    """
    start, key = objective.loss(), jax.random.key(0)
    epsilon = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(objective.params))
    changes = [abs(objective.loss_in_float64() - start)]
    unmoved = any(not np.any(leaf) for leaf in jax.tree.leaves(objective.params))
    if unmoved and np.isfinite(start) and not np.isfinite(changes[0]):
        return float("inf")
    for number in range(8):
        moved = parameters.moved_by_epsilon(jax.random.fold_in(key, number), objective.params)
        changes.append(abs(objective.loss(moved) - start))
    finite = [change for change in changes if np.isfinite(change)]
    return max(4 * max(finite, default=0.0), 2 * epsilon * abs(start))


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
        The largest rise found, at a point of the ball: up to ``rounding`` a lower bound on the
        maximum over the ball. Infinite where the loss is not a number.
    steps
        Ascent steps taken, from all starts.
    rounding
        How far the rises may be off by rounding of the loss.
    converged
        Whether the rise is more than rounding and the last step of the best ascent added less than
        a hundredth of it, or than the rounding. Not whether there is no larger maximum elsewhere.
    """

    rho: float
    first_order: float
    largest: float
    steps: int
    rounding: float
    converged: bool


def sam_sharpness(
    objective: Objective,
    rho: float = 0.05,
    *,
    steps: int = 10,
    starts: int = 2,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> SamSharpness:
    """``max over |e| <= rho of L(w + e) - L(w)`` by gradient ascent from several starts.

    The ascents begin at SAM's own point ``rho g/|g|`` and at random points of the sphere, since the
    gradient may have no part along the direction of the maximum; and at the centre, where none of
    these found a rise. A step goes to the point of the sphere in the direction of the gradient,
    which for a convex quadratic loss is power iteration; where that does not raise the loss, as it
    may not at a saddle, shorter steps along the gradient are tried, the opposite point, and points
    inside of the ball, so that the loss never falls.
    No bound from above is given: the maximum of a loss over a ball cannot be certified by
    evaluations.

    Parameters
    ----------
    objective
        The loss.
    rho
        Radius, in units of the parameters' norm.
    steps
        Ascent steps from each start, a gradient and a loss each.
    starts
        Random starts beside SAM's.
    seed
        Decides the random starts.
    progress
        Called after each step.

    Raises
    ------
    RequestError
        If ``rho`` is not positive, ``steps`` is below 1 or ``starts`` is negative.

    References
    ----------
    Foret, Kleiner, Mobahi, Neyshabur, Sharpness-aware minimization, arXiv:2010.01412.
    """
    if not rho > 0:
        raise RequestError(f"rho: {rho} is not positive; the paper of SAM uses 0.05")
    if steps < 1:
        raise RequestError(f"steps: {steps} is below 1; the first is SAM's own")
    if starts < 0:
        raise RequestError(f"starts: {starts} is negative; 0 starts from SAM's point alone")
    ball = _Ball(objective, rho)
    keys = [jax.random.fold_in(jax.random.key(seed), number) for number in range(starts)]
    directions = [objective.gradient()]
    directions += [parameters.gaussian(key, objective.params) for key in keys]
    rounding, first, taken = loss_rounding(objective), 0.0, 0
    best, last, where = -np.inf, 0.0, directions[0]
    begins = (ball.towards(direction) for direction in directions)
    centre = (0.0, parameters.scaled(directions[0], 0.0))
    for number, (rise, offset) in enumerate(itertools.chain(begins, [centre])):
        if number == len(directions) and best > rounding:
            break
        first = rise if number == 0 else first
        rise, offset, gain, count = ball.ascend(rise, offset, steps, progress)
        taken += count
        if rise >= best:
            best, last, where = rise, gain, offset
    rounding = max(rounding, 2 * ball.error(best, where))
    settled = bool(best > rounding and last <= max(0.01 * best, rounding))
    return SamSharpness(rho, first, max(0.0, best), taken, rounding, settled)


class _Ball:
    """Points of a ball around the parameters, as offsets from them, and the rise of the loss."""

    def __init__(self, objective: Objective, rho: float):
        self._objective, self._rho = objective, rho
        self._start = objective.loss()

    def towards(self, direction: Tree) -> tuple[float, Tree]:
        """The rise at the ball's surface in that direction, and the offset that was attained."""
        centre, length = self._objective.params, self._rho
        unit, reached = parameters.unit(direction), np.inf
        while reached > self._rho:  # rounding may carry a point out of the ball
            length *= 1 - 1e-5
            point = parameters.add_scaled(centre, length, unit)
            offset = parameters.add_scaled(point, -1.0, centre)
            reached = float(parameters.norm(offset))
            length *= min(1.0, self._rho / reached) if reached else 1.0
        return self._rise(point), offset

    def inside(self, offset: Tree) -> tuple[float, Tree]:
        """The same at an offset, or at the ball's surface where it is longer than that."""
        if float(parameters.norm(offset)) >= self._rho:
            return self.towards(offset)
        point = parameters.add_scaled(self._objective.params, 1.0, offset)
        return self._rise(point), offset

    def error(self, rise: float, offset: Tree) -> float:
        """How far a rise is from the one in float64; 0 where there is none."""
        point = parameters.add_scaled(self._objective.params, 1.0, offset)
        there, here = self._objective.loss_in_float64(point), self._objective.loss_in_float64()
        error = abs(there - here - rise)
        return error if np.isfinite(error) else 0.0

    def ascend(
        self, rise: float, offset: Tree, steps: int, progress: Callable[[], object] | None
    ) -> tuple[float, Tree, float, int]:
        """The rise and the offset at the end of an ascent, what its last step added, its steps."""
        gain = np.inf
        for count in range(steps):
            if progress is not None:
                progress()
            slope = parameters.unit(self._gradient(offset))
            ahead = (parameters.add_scaled(parameters.scaled(offset, share), self._rho, slope)
                     for share in (0, 1, 4, 16))  # fmt: skip
            within = (parameters.add_scaled(offset, self._rho / 4**k, slope) for k in range(1, 11))
            tried = itertools.chain(
                map(self.towards, ahead),
                [self.towards(parameters.scaled(offset, -1.0))],
                map(self.inside, within),
            )
            better = next((place for place in tried if place[0] > rise), None)
            if better is None or not np.isfinite(rise):
                return rise, offset, 0.0, count + 1
            gain, (rise, offset) = better[0] - rise, better
        return rise, offset, gain, steps

    def _rise(self, point: Tree) -> float:
        rise = self._objective.loss(point) - self._start
        return rise if rise == rise else np.inf  # not a number: the loss has diverged

    def _gradient(self, offset: Tree) -> Tree:
        return self._objective.gradient(parameters.add_scaled(self._objective.params, 1.0, offset))


@dataclass(frozen=True)
class CriticalStep:
    """The longest step downhill that does not raise the loss, between bounds.

    Attributes
    ----------
    lower, upper
        The loss is lower than at the start by more than rounding at the lower, 0 where no such step
        was found; and higher by more than rounding at the upper. A crossing lies between them.
    rounding
        How far a difference of losses may be off; see :func:`loss_rounding`.
    converged
        Whether the bounds are as close as asked for. Near a minimum, where the loss changes by less
        than its rounding, they cannot be.
    sharpness
        ``2 / lower``, which for a quadratic loss and its gradient is the curvature along it, or
        more; infinite where there is no lower bound.
    """

    lower: float
    upper: float
    rounding: float
    converged: bool

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
        Largest number of evaluations of a search; the bounds are wider if it is reached. Eight
        more, and some in float64, tell the loss's rounding; where float64 shows that a bound lies
        on the wrong side, the search is repeated, at most twice, with a larger rounding.

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
    rounding = loss_rounding(objective)
    precise = objective.loss_in_float64()
    for _ in range(3):
        found = _bracket(objective, direction, start, rounding, width, limit)
        # Rounding elsewhere may be larger than it was near the start.
        wrong = 0.0
        for step, sign in ((found.lower, -1), (found.upper, 1)):
            if 0 < step < np.inf:
                there = parameters.add_scaled(objective.params, -step, direction)
                change = objective.loss_in_float64(there) - precise
                if sign * change < 0:
                    wrong = max(wrong, abs(objective.loss(there) - start - change))
        if not wrong:
            return found
        rounding = max(2 * wrong, 2 * rounding)
    return CriticalStep(0.0, np.inf, rounding, False)


def _bracket(
    objective: Objective, direction: Tree, start: float, rounding: float, width: float, limit: int
) -> CriticalStep:
    """The bounds for losses whose differences are off by ``rounding`` at most."""
    length = float(parameters.norm(direction))

    def change(step: float) -> int:
        """-1 where the loss falls by more than rounding, 1 where it rises or is no number."""
        there = parameters.add_scaled(objective.params, -step, direction)
        difference = objective.loss(there) - start
        return -1 if difference < -rounding else int(not difference <= rounding)

    # In between there may be steps whose sign cannot be told, from first to last.
    low, first, last, high = 0.0, np.inf, 0.0, np.inf
    step = max(float(parameters.norm(objective.params)), 1.0) * 1e-3 / length
    for _ in range(limit):
        sign = change(step)
        if sign < 0:
            low = max(low, step)
        elif sign > 0:
            high = min(high, step)
        else:
            first, last = min(first, step), max(last, step)
        below, above = min(first, high), max(last, low)
        if high == np.inf:
            step = 2 * max(step, above)
        elif low == 0 and below > _SMALLEST * high:
            step = below / 2
        elif low > 0 and below > (1 + width / 2) * low:
            step = (low + below) / 2
        elif high > (1 + width / 2) * above:
            step = (above + high) / 2
        else:
            break
    return CriticalStep(low, high, rounding, bool(low > 0 and high <= (1 + width) * low))


_SMALLEST = 1e-6  # share of the upper bound below which no lower one is looked for
