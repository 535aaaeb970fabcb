"""Whether a loss is a mean over examples: the same on every pass, each example for itself."""

from collections.abc import Callable

import numpy as np

from landscape.errors import RequestError
from landscape.objective.batches import MicroBatch


def check_repeatable(loss: Callable[[], float]) -> None:
    """Refuse a loss that differs between two passes over the same data (RequestError)."""
    first, second = loss(), loss()
    if not _close(first, second, 1):
        raise RequestError(
            f"loss: two passes over the same data gave {first:.6g} and {second:.6g}: random? "
            "turn dropout and other randomness off"
        )


def check_independent(micro: MicroBatch, total: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Refuse a loss whose examples depend on their company or their place in the batch.

    Parameters
    ----------
    micro
        The first micro-batch.
    total
        Sum of the losses of its examples in another order under another mask, both (size,).

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
    if _close(alone, doubled, half):
        return
    mask = rows < micro.examples
    order = np.where(mask, micro.examples - 1 - rows, rows)
    if _close(total(rows, mask), total(order, mask), micro.examples):
        raise RequestError(
            "loss: an example's loss changes with the other examples of its batch: BatchNorm in "
            "training mode? use its running statistics"
        )
    raise RequestError(
        "loss: an example's loss changes with its place in the batch: dropout or augmentation "
        "under a fixed key? turn it off"
    )


def _close(a: float, b: float, examples: int) -> bool:
    """Equal up to rounding; NaN equals NaN, a diverged loss is not a disagreement."""
    return bool(np.isclose(a, b, rtol=1e-4, atol=1e-5 * examples, equal_nan=True))
