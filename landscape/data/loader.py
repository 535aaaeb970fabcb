"""Batches: the shuffled order of training, and plain passes for evaluation and the analyses."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from landscape.data.splits import Split
from landscape.errors import RequestError


class TrainingOrder:
    """Which examples each training step sees: shuffled anew every epoch, known for any step.

    The order is a function of the seed and the step alone (Grain's index shuffle, without
    state), so a resumed run goes on by arithmetic. Batches run across the end of an epoch.

    Parameters
    ----------
    examples
        Number of training examples.
    batch_size
        Examples per step.
    seed
        Seed of the shuffle.

    Raises
    ------
    RequestError
        If a batch has more examples than there are.
    """

    def __init__(self, examples: int, batch_size: int, seed: int):
        import grain

        if not 1 <= batch_size <= examples:
            raise RequestError(
                f"batch_size: {batch_size} with {examples} training examples; use 1 to {examples}"
            )
        order = grain.MapDataset.range(examples).seed(seed).shuffle().repeat()
        self._batches = order.batch(batch_size, drop_remainder=True)

    def indices(self, step: int) -> np.ndarray:
        """Indices of the examples of a step (from 0), int64, shape (batch_size,)."""
        return np.asarray(self._batches[step])


@dataclass(frozen=True)
class Batches:
    """Every example of a split once, in order, as often as it is iterated over.

    Yields ``{"images": uint8 (B, H, W, C), "labels": int32 (B,)}``; the last batch may be smaller.
    """

    split: Split
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(self.split), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield {"images": self.split.images[part], "labels": self.split.labels[part]}


def batches(split: Split, batch_size: int) -> Batches:
    """A re-iterable of batches in fixed order; see `Batches`.

    Raises
    ------
    RequestError
        If ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise RequestError(f"batch_size: {batch_size}; use at least 1")
    return Batches(split, batch_size)
