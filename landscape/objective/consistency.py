"""Whether a loss is a mean over examples: the same on every pass, each example for itself.

Two values count as equal if they differ by a ten-thousandth of themselves, or by what rounding does
to the loss. That is measured, so that nothing hides below a fixed threshold: near a minimum the
whole loss is smaller than any.
"""

from collections.abc import Callable, Sequence

import numpy as np

from landscape.errors import RequestError
from landscape.objective.batches import MicroBatch


def rounding_noise(
    loss: float, again: float, nearby: Sequence[float], examples: int, epsilon: float
) -> float:
    """What rounding does to the mean loss of as many examples.

    Parameters
    ----------
    loss, again
        The sum of their losses, evaluated twice.
    nearby
        The same at parameters a unit roundoff away. An evaluation rounds after every operation, so
        several such changes add up.
    examples
        How many.
    epsilon
        The unit roundoff. Where already two evaluations differ, not more than some times this is
        taken for rounding: the loss may be random.
    """
    changes = [abs(other - loss) for other in (again, *nearby) if np.isfinite(other - loss)]
    noise = 32 * max(changes, default=0.0) / examples
    return noise if again == loss else min(noise, 64 * epsilon)


def check_repeatable(loss: Callable[[], float], noise: float) -> None:
    """Refuse a loss that differs between two passes over the same data (RequestError)."""
    first, second = loss(), loss()
    if not _close(first, second, noise):
        raise RequestError(
            f"loss: two passes over the same data gave {first:.6g} and {second:.6g}: random? "
            "turn dropout and other randomness off"
        )


def check_independent(
    micro: MicroBatch, total: Callable[[np.ndarray, np.ndarray], float], noise: float
) -> None:
    """Refuse a loss whose examples depend on their company or their place in the batch.

    Parameters
    ----------
    micro
        The first micro-batch.
    total
        Sum of the losses of its examples in another order under another mask, both (size,).
    noise
        What rounding does to the mean loss; see :func:`rounding_noise`.

    Raises
    ------
    RequestError
        Which says what the loss depends on.
    """
    size, half = micro.size, micro.examples // 2
    if not half:
        return
    rows = np.arange(size)
    # The first half as it stands, then each of it twice: same examples, other company.
    alone = total(rows, rows < half)
    doubled = total(np.minimum(rows // 2, half - 1), (rows % 2 == 0) & (rows < 2 * half))
    if _close(alone, doubled, half * noise):
        return
    mask = rows < micro.examples
    order = np.where(mask, micro.examples - 1 - rows, rows)
    if _close(total(rows, mask), total(order, mask), micro.examples * noise):
        raise RequestError(
            "loss: an example's loss changes with the other examples of its batch: BatchNorm in "
            "training mode? use its running statistics"
        )
    raise RequestError(
        "loss: an example's loss changes with its place in the batch: dropout or augmentation "
        "under a fixed key? turn it off"
    )


def _close(a: float, b: float, noise: float) -> bool:
    """Equal up to rounding; NaN equals NaN, a diverged loss is not a disagreement."""
    return bool(np.isclose(a, b, rtol=1e-4, atol=noise, equal_nan=True))
