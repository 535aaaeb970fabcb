"""Parameters of one network made to start another: a new head, another resolution."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from landscape.checkpoints.fit import HEADS, check_fit
from landscape.checkpoints.flat import nested
from landscape.checkpoints.namings.naming import POSITION_LEAF
from landscape.errors import RequestError
from landscape.parameters import named_leaves, shapes

_REPRESENTATION = "pre_logits/"
_MASK = "mask"


def adapted(
    params: Any,
    model: Any,
    *,
    image_shape: Sequence[int] | None = None,
    new_head: bool = False,
    what: str = "start_from",
) -> dict:
    """Parameters with which the fine-tuning of a model starts.

    A head of other shape starts at zero, as in vision_transformer, so that the first gradient does
    not disturb the rest. Position embeddings are resized. A representation layer and a [mask]
    vector that the model lacks are dropped, and with them the head, which read something else.

    Parameters
    ----------
    params
        Nested dict of arrays of the same network, other classes or image size.
    model
        The `landscape.models.model.Model` to be trained.
    image_shape
        (height, width, channels) of the images that the parameters are for. None: squares.
    new_head
        Start from a head of zeros also where its shape agrees.
    what
        How messages call the parameters.

    Raises
    ------
    RequestError
        If anything else differs; a Mixer's tokens cannot be resized.
    """
    expected = shapes(model.abstract())
    leaves = {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
    for name in leaves.keys() - expected.keys():
        if name == _MASK or name.startswith(_REPRESENTATION):
            del leaves[name]
            new_head = True
    if POSITION_LEAF in leaves and POSITION_LEAF in expected:
        old = image_shape and _grid(image_shape, model.patch)
        new, shape = _grid(model.image_shape, model.patch), expected[POSITION_LEAF]
        if (old != new) if old else (leaves[POSITION_LEAF].shape != shape):
            leaves[POSITION_LEAF] = resized_positions(
                leaves[POSITION_LEAF], new, shape[1] - math.prod(new), old=old, what=what
            )
    for name, shape in expected.items():
        fits = name in leaves and leaves[name].shape == shape
        if name.startswith(HEADS) and (new_head or not fits):
            leaves[name] = np.zeros(shape, np.float32)
    tree = nested(leaves, what)
    check_fit(tree, model.abstract(), what)
    return tree


def resized_positions(
    positions: np.ndarray,
    grid: tuple[int, int],
    places: int,
    *,
    old: tuple[int, int] | None = None,
    what: str = "start_from",
) -> np.ndarray:
    """Position embeddings (1, places + old tokens, D) for another grid of tokens.

    Bilinear between the centres of the corner tokens, which stay where they are: what
    vision_transformer and big_vision do with ``scipy.ndimage.zoom``.

    Parameters
    ----------
    positions
        Of a grid, row by row, behind ``places`` tokens without a place in it.
    grid
        The new (rows, columns).
    places
        Class tokens: 0 or 1. They are kept.
    old
        The (rows, columns) of the positions. None: a square.
    what
        How messages call the positions' owner.

    Raises
    ------
    RequestError
        If the old tokens are no such grid.
    """
    kept, tokens = positions[:, :places], positions[:, places:]
    count = tokens.shape[1]
    rows, columns = old or (math.isqrt(count),) * 2
    if rows * columns != count or count == 0:
        expected = f"not {rows}x{columns}" if old else "no square"
        raise RequestError(
            f"{what}: {count} position embeddings are {expected}; "
            "take images of the size it was trained with"
        )
    zoom = (grid[0] / rows, grid[1] / columns, 1)
    new = ndimage.zoom(tokens.reshape(rows, columns, -1), zoom, order=1)
    return np.concatenate([kept, new.reshape(1, -1, tokens.shape[-1])], axis=1)


def _grid(image_shape: Sequence[int], patch: int) -> tuple[int, int]:
    height, width, _ = image_shape
    return height // patch, width // patch
