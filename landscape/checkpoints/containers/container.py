"""What every container of arrays offers: names, shapes and dtypes first, values when asked for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from landscape.errors import RequestError

MOST_ARRAYS = 100_000
_AT_ONCE = 64 * 2**20  # bytes of arrays that are read together


@dataclass(frozen=True)
class Described:
    """Shape and dtype of an array of a file."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Container(ABC):
    """An opened file (or folder) of arrays: described, not yet read.

    Attributes
    ----------
    path
        The file or folder.
    arrays
        What it holds, by name, in the file's order. Trees are flattened: ``a/b/kernel``.
    metadata
        What it says about them.
    """

    format: ClassVar[str]

    path: Path
    arrays: Mapping[str, Described] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if len(self.arrays) > MOST_ARRAYS:
            raise RequestError(
                f"checkpoint: {self.path} holds {len(self.arrays):,} arrays, more than "
                f"{MOST_ARRAYS:,}; no network has as many"
            )

    @abstractmethod
    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The named arrays one after the other, in any order.

        Only the arrays that the caller keeps stay in memory. bfloat16 comes as ml_dtypes has it.

        Raises
        ------
        RequestError
            If the file is damaged.
        """


def batches(
    names: Iterable[str],
    arrays: Mapping[str, Described],
    key: Callable[[str], Any] = lambda name: None,
) -> Iterator[list[str]]:
    """Names of arrays that are read together: of the same ``key``, and few bytes."""
    batch: list[str] = []
    taken = 0
    for name in names:
        size = arrays[name].dtype.itemsize * math.prod(arrays[name].shape)
        if batch and (taken + size > _AT_ONCE or key(name) != key(batch[0])):
            yield batch
            batch, taken = [], 0
        batch.append(name)
        taken += size
    if batch:
        yield batch


def damaged(path: Path, error: Exception, remedy: str = "get an undamaged copy") -> RequestError:
    """The one line for a file that cannot be read, whatever was raised."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return RequestError(f"checkpoint: {path} cannot be read ({reason}); {remedy}")
