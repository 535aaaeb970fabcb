"""Layouts of parameters: how an array of a file becomes leaves of ours, and back."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """A pair of inverse functions.

    Attributes
    ----------
    read
        ``read(array, heads)`` returns the leaves.
    write
        ``write(*leaves)`` returns the file's array.
    axes
        ``np.transpose(leaf, axes)`` has the file's layout, for those that only permute one leaf.
    """

    read: Callable[..., tuple[np.ndarray, ...]]
    write: Callable[..., np.ndarray]
    axes: tuple[int, ...] | None = None


def _permuted(axes: tuple[int, ...]) -> Layout:
    back = tuple(np.argsort(axes))
    return Layout(
        lambda array, heads: (array.transpose(back),), lambda leaf: leaf.transpose(axes), axes
    )


# From Flax's layout to PyTorch's: a convolution's (h, w, in, out) and a dense layer's (in, out).
SAME = Layout(lambda array, heads: (array,), lambda leaf: leaf)
VECTOR = _permuted((0,))
CONVOLUTION = _permuted((3, 2, 0, 1))
DENSE = _permuted((1, 0))

# A dense layer kept as a 1x1 convolution; of larger ones squeeze makes a ValueError.
POINTWISE = Layout(
    lambda array, heads: (array.squeeze((2, 3)).T,), lambda leaf: leaf.T[:, :, None, None]
)


def _split(array: np.ndarray, parts: int, heads: int) -> tuple[np.ndarray, ...]:
    """Rows of a fused projection (parts·heads·d, ...) as ``parts`` of (..., heads, d)."""
    split = array.reshape(parts, heads, -1, *array.shape[1:])
    return tuple(np.moveaxis(part, (0, 1), (-2, -1)) for part in split)


def _joined(*leaves: np.ndarray) -> np.ndarray:
    rows = [np.moveaxis(leaf, (-2, -1), (0, 1)) for leaf in leaves]
    return np.concatenate([row.reshape(-1, *row.shape[2:]) for row in rows])


def fused(parts: int) -> Layout:
    """``parts`` projections to heads, (in, heads, d) each, one below the other; biases too.

    A query's, key's and value's kernel together are (3·in, in) in PyTorch.
    """
    return Layout(lambda array, heads: _split(array, parts, heads), _joined)


# From heads: (heads, d, out) in Flax, (out, in) in PyTorch.
OUT = Layout(
    lambda array, heads: (array.T.reshape(heads, -1, array.shape[0]),),
    lambda leaf: leaf.reshape(-1, leaf.shape[-1]).T,
)
