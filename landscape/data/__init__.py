"""Data sets: where images come from, how they are preprocessed and batched."""

from landscape.data.sources import load, size_for
from landscape.data.splits import Data, Split

__all__ = ["Data", "Split", "load", "size_for"]
