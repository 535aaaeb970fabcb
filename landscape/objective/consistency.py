"""Whether a loss is a mean over examples: the same on every pass, each example for itself.

Two values count as equal if they differ by a ten-thousandth of the spread of the examples' losses,
or by what rounding does to them. Both are measured, so that nothing hides below a fixed threshold,
which near a minimum the whole loss does, nor behind a constant that all examples share, such as
weight decay inside of the loss.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from landscape import parameters
from landscape.devices import gathered
from landscape.errors import RequestError
from landscape.objective.batches import MicroBatch
from landscape.objective.float64 import NoFloat64
from landscape.objective.passes import ById
from landscape.parameters import Tree

if TYPE_CHECKING:
    from landscape.objective.objective import Objective


def check_losses(objective: "Objective") -> None:
    """Two passes over the data agree, and an example's loss depends on nothing but itself.

    Raises
    ------
    RequestError
        Which says what it depends on.
    """
    data, params = objective._data, objective.params
    micro = data.largest

    def total(micro: MicroBatch, params: Tree = params) -> float:
        return objective._sums(params, [micro], 1.0)["loss"]

    key = jax.random.key(0)
    nearby = [total(micro, parameters.moved_by_epsilon(key, params, sign)) for sign in (1, -1)]
    coarsest = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(params))
    noise = rounding_noise(total(micro), total(micro), nearby, micro.examples, coarsest)
    epsilon = float(jnp.finfo(objective._scalar(0.0).dtype).eps)
    losses = Losses(data.rearranged, micro, total, noise, epsilon)
    check_repeatable(lambda: objective._evaluate(params)["loss"], losses.tolerance(1))
    if not check_independent(losses):
        precise = total_in_float64(objective, params, micro)
        if precise is not None:
            check_independent(Losses(data.rearranged, micro, precise, 0.0, 1e-9))


def total_in_float64(
    objective: "Objective", params: Tree, like: MicroBatch
) -> Callable[[MicroBatch], float] | None:
    """Sum of the losses of a micro-batch, every operation in float64; None where refused."""
    step = dataclasses.replace(objective._step("loss"), metrics=ById(None), float64=True)
    inputs = (params, objective._fixed, None, objective._scalar(1.0))
    try:
        program = step.program(*inputs, like)
    except (NoFloat64, RequestError, TypeError, ValueError):
        return None  # tracing it anew in another precision fails in ways of each operation

    def total(micro: MicroBatch) -> float:
        with jax.enable_x64(True):
            return float(gathered(program(*inputs, micro.batch, micro.mask)["loss"]).sum())

    return total


def rounding_noise(
    loss: float, again: float, nearby: Sequence[float], examples: int, epsilon: float
) -> float:
    """What rounding does to the mean loss of as many examples.

    Parameters
    ----------
    loss, again
        The sum of their losses, evaluated twice.
    nearby
        The same at parameters a machine epsilon away. An evaluation rounds after every operation,
        so several such changes add up.
    examples
        How many.
    epsilon
        The machine epsilon. Where already two evaluations differ, not more than some times this is
        taken for rounding: the loss may be random.
    """
    changes = [abs(other - loss) for other in (again, *nearby) if np.isfinite(other - loss)]
    noise = 32 * max(changes, default=0.0) / examples
    return noise if again == loss else min(noise, 64 * epsilon)


@dataclass(frozen=True)
class Losses:
    """The losses of the largest micro-batch, and how far two equal ones may be apart.

    Parameters
    ----------
    arranged
        It with its examples in another order and another mask, both (size,).
    micro
        The largest micro-batch.
    total
        Sum of the losses of a micro-batch.
    noise
        What rounding does to the mean loss; see :func:`rounding_noise`.
    epsilon
        The machine epsilon of their sum.
    """

    arranged: Callable[[np.ndarray, np.ndarray], MicroBatch]
    micro: MicroBatch
    total: Callable[[MicroBatch], float]
    noise: float
    epsilon: float

    def sum(self, order: np.ndarray, mask: np.ndarray) -> float:
        """Of the losses of the examples in another order under another mask."""
        return self.total(self.arranged(order, mask))

    @cached_property
    def spread(self) -> float:
        """Median distance of a few examples' losses from their median; 0 where it is not finite.

        A misfit among fitted examples does not count: what hides behind its loss is theirs.
        """
        rows = np.arange(self.micro.size)
        chosen = np.unique(np.linspace(0, self.micro.examples - 1, 9).astype(int))
        losses = np.array([self.sum(rows, rows == row) for row in chosen])
        if not np.isfinite(losses).all():
            return 0.0
        return float(np.median(np.abs(losses - np.median(losses))))

    @cached_property
    def rounding(self) -> float:
        """Of one example's loss, and of its part in a sum."""
        mean = self.total(self.micro) / self.micro.examples
        return self.noise + 16 * self.epsilon * (abs(mean) if np.isfinite(mean) else 0.0)

    def tolerance(self, examples: int) -> float:
        """How far two sums of the losses of as many examples may be apart."""
        return examples * (1e-4 * self.spread + self.rounding)

    @property
    def resolved(self) -> bool:
        """Whether rounding hides at most a thousandth of the spread."""
        return self.rounding <= 1e-3 * self.spread


def check_repeatable(loss: Callable[[], float], tolerance: float) -> None:
    """Refuse a loss that differs between two passes over the same data (RequestError)."""
    first, second = loss(), loss()
    if not _close(first, second, tolerance):
        raise RequestError(
            f"loss: two passes over the same data gave {first:.6g} and {second:.6g}: random? "
            "turn dropout and other randomness off"
        )


def check_independent(losses: Losses) -> bool:
    """Refuse a loss whose examples depend on their company or their place in the batch.

    Returns
    -------
    bool
        Whether it could have been seen: False where rounding hides the spread of the losses.

    Raises
    ------
    RequestError
        Which says what the loss depends on.
    """
    micro, total = losses.micro, losses.sum
    size, half = micro.size, micro.examples // 2
    if not half:
        return True
    rows = np.arange(size)
    apart = False
    for start in (0, half):
        # A half as it stands, then each of it twice: same examples, other company.
        alone = total(rows, (rows >= start) & (rows < start + half))
        order = start + np.minimum(rows // 2, half - 1)
        doubled = total(order, (rows % 2 == 0) & (rows < 2 * half))
        apart = apart or not _close(alone, doubled, losses.tolerance(half))
    if not apart:
        return losses.resolved
    mask = rows < micro.examples
    order = np.where(mask, micro.examples - 1 - rows, rows)
    if _close(total(rows, mask), total(order, mask), losses.tolerance(micro.examples)):
        raise RequestError(
            "loss: an example's loss changes with the other examples of its batch: BatchNorm in "
            "training mode? use its running statistics"
        )
    raise RequestError(
        "loss: an example's loss changes with its place in the batch: dropout or augmentation "
        "under a fixed key? turn it off"
    )


def _close(a: float, b: float, tolerance: float) -> bool:
    """NaN equals NaN: a diverged loss is not a disagreement."""
    return bool(np.isclose(a, b, rtol=0, atol=tolerance, equal_nan=True))
