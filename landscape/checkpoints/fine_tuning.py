"""Parameters of one network made to start another: a new head, another resolution."""

import math
from typing import Any

import numpy as np
from scipy import ndimage

from landscape.checkpoints.fit import check_fit
from landscape.checkpoints.flat import nested
from landscape.errors import RequestError
from landscape.parameters import named_leaves

_POSITIONS = "Transformer/posembed_input/pos_embedding"
_HEADS = ("head/", "linear/", "fc/")
_REPRESENTATION = "pre_logits/"


def adapted(params: Any, model: Any) -> dict:
    """Parameters with which the fine-tuning of a model starts.

    A head of other shape starts at zero, as in vision_transformer, so that the first gradient does
    not disturb the rest. Position embeddings are resized. A representation layer that the model
    lacks is dropped with it.

    Parameters
    ----------
    params
        Nested dict of arrays of the same network, other classes or image size.
    model
        The `landscape.models.model.Model` to be trained.

    Raises
    ------
    RequestError
        If anything else differs; a Mixer's tokens cannot be resized.
    """
    expected = {name: leaf.shape for name, leaf in named_leaves(model.abstract()).items()}
    leaves: dict[str, np.ndarray] = {}
    for name, leaf in named_leaves(params).items():
        array, shape = np.asarray(leaf), expected.get(name)
        if shape is None and name.startswith(_REPRESENTATION):
            continue
        if name == _POSITIONS and shape is not None and array.shape != shape:
            array = resized_positions(array, _grid(model), shape[1] - math.prod(_grid(model)))
        leaves[name] = array
    for name, shape in expected.items():
        if name.startswith(_HEADS) and (name not in leaves or leaves[name].shape != shape):
            leaves[name] = np.zeros(shape, np.float32)
    tree = nested(leaves, "start_from")
    check_fit(tree, model.abstract(), "start_from: the checkpoint")
    return tree


def resized_positions(positions: np.ndarray, grid: tuple[int, int], places: int) -> np.ndarray:
    """Position embeddings (1, places + old tokens, D) for another grid of tokens.

    Bilinear between the centres of the corner tokens, which stay where they are: what
    vision_transformer and big_vision do with ``scipy.ndimage.zoom``.

    Parameters
    ----------
    positions
        Of a square grid, row by row, behind ``places`` tokens without a place in it.
    grid
        The new (rows, columns).
    places
        Class tokens: 0 or 1. They are kept.

    Raises
    ------
    RequestError
        If the old tokens are no square.
    """
    kept, old = positions[:, :places], positions[:, places:]
    side = math.isqrt(old.shape[1])
    if side**2 != old.shape[1] or side == 0:
        raise RequestError(
            f"start_from: {old.shape[1]} position embeddings are no square; "
            "take images of the size it was trained with"
        )
    zoom = (grid[0] / side, grid[1] / side, 1)
    new = ndimage.zoom(old.reshape(side, side, -1), zoom, order=1)
    return np.concatenate([kept, new.reshape(1, -1, old.shape[-1])], axis=1)


def _grid(model: Any) -> tuple[int, int]:
    height, width, _ = model.image_shape
    return height // model.patch, width // model.patch
