"""Trees of google-research/big_vision: where they differ from vision_transformer's.

The position embedding is at the top and added before the class token is put in front; blocks may be
stacked (``Transformer/encoderblock/...`` with the depth as first axis); attention pooling was once
not a module of its own.
"""

import math
from collections.abc import Mapping

import numpy as np

from landscape.checkpoints.containers.container import MOST_ARRAYS, Described
from landscape.checkpoints.namings import vision_transformer
from landscape.checkpoints.namings.layouts import SAME, Layout
from landscape.checkpoints.namings.naming import PARAMS, POSITION_LEAF, Reading, Tensor

NAME = "big_vision"
_POSITIONS = ("pos_embedding", "Transformer/pos_embedding")
_STACKED = "Transformer/encoderblock/"
_INLINED = ("probe", "MultiHeadDotProductAttention_0/", "LayerNorm_0/", "MlpBlock_0/")

# The class token's place in ours, where big_vision has none, and the other way round.
_ADD_PLACE = Layout(
    lambda array, heads: (np.pad(array, ((0, 0), (1, 0), (0, 0))),), lambda leaf: leaf[:, 1:]
)
_DROP_PLACE = Layout(lambda array, heads: (array[:, 1:],), _ADD_PLACE.read)


def _unstacked(array: np.ndarray, heads: int) -> tuple[np.ndarray, ...]:
    if array.ndim == 0 or len(array) > MOST_ARRAYS:
        raise ValueError("no stack of blocks")
    return tuple(array)


_UNSTACK = Layout(_unstacked, lambda *leaves: np.stack(leaves))


def read(arrays: Mapping[str, Described]) -> Reading | None:
    """What the names stand for; None if they are another codebase's."""
    prefix = vision_transformer.prefix_of(arrays)
    if prefix is None:
        return None
    names = vision_transformer.below(arrays, prefix)
    short_names = set(names.values())
    inlined = "probe" in short_names
    stacked = any(short.startswith(_STACKED) for short in short_names)
    plain = "Transformer/encoder_norm/scale" in short_names and not any(
        short.startswith("Transformer/posembed_input/") for short in short_names
    )
    if not (plain or stacked or inlined):
        return None
    special, room = [], MOST_ARRAYS
    for name, short in names.items():
        if short in _POSITIONS:
            layout = _positions(arrays[name].shape, "cls" in short_names)
            special.append(Tensor(name, (PARAMS + POSITION_LEAF,), layout))
        elif short.startswith(_STACKED):
            rest = short.removeprefix(_STACKED)
            depth = sum(arrays[name].shape[:1])  # 0 of a scalar
            room -= depth
            blocks = range(depth if room >= 0 else 0)  # without leaves it is refused
            leaves = (f"{PARAMS}Transformer/encoderblock_{i}/{rest}" for i in blocks)
            special.append(Tensor(name, tuple(leaves), _UNSTACK))
        elif inlined and short.startswith(_INLINED):
            special.append(Tensor(name, (f"{PARAMS}MAPHead_0/{short}",), SAME))
    return vision_transformer.read_below(arrays, prefix, names, NAME, special)


def _positions(shape: tuple[int, ...], class_token: bool) -> Layout:
    tokens = shape[1] if len(shape) == 3 else 0
    square = math.isqrt(tokens) ** 2 == tokens
    if class_token and square:
        return _ADD_PLACE
    with_place = math.isqrt(max(tokens - 1, 0)) ** 2 == tokens - 1
    return _DROP_PLACE if with_place and not (class_token or square) else SAME
