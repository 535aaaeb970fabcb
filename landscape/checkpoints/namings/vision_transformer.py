"""Trees of google-research/vision_transformer (also SAM, GSAM, AugReg) and of this project.

Our own names are its names in Linen's numbering. The published files are older: they number the
modules of a block together (LayerNorm_0, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3),
hold optimiser states beside ``opt/target/``, and keep GroupNorm's parameters as (1, 1, 1, C).
Scenic's ViT calls the head ``output_projection``.
"""

import re
from collections.abc import Iterable, Mapping

from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.namings.layouts import SAME, Layout
from landscape.checkpoints.namings.naming import (
    PARAMS,
    STATE,
    Reading,
    Tensor,
    prefixes,
    the_first,
)

NAME = "vision_transformer"
# What is in front of a network's first blocks holds its parameters.
_BLOCKS = re.compile(
    r"(?:^|/)(?P<mark>Transformer/encoderblock(_\d+)?/|MixerBlock_\d+/|block1/unit1/|layer1/0/)"
)
_STEMS = ("embedding/kernel", "conv_root/kernel", "stem/kernel", "conv1/kernel")
_IN_BLOCK = re.compile(
    r"(Transformer/encoderblock(?:_\d+)?)/"
    r"(LayerNorm|MultiHeadDotProductAttention|MlpBlock)_(\d+)/(.+)"
)
_GROUP_NORM = re.compile(r"(?:.*/)?gn(?:\d+|_root|_proj)/(?:scale|bias)")
_NNX_VALUE = "/value"

_FLATTENED = Layout(
    lambda array, heads: (array.reshape(array.shape[-1]),), lambda leaf: leaf[None, None, None]
)


def prefix_of(arrays: Iterable[str]) -> str | None:
    """What is in front of the parameters' names, "" or "opt/target/"; None without parameters.

    Of several networks, one that sees images.

    Raises
    ------
    ValueError
        If there are several of those.
    """
    names = {name.removesuffix(_NNX_VALUE) for name in arrays}
    found = prefixes(names, _BLOCKS)
    seeing = [prefix for prefix in found if any(prefix + stem in names for stem in _STEMS)]
    return the_first(seeing or found)


def below(arrays: Mapping[str, Described], prefix: str) -> dict[str, str]:
    """``{name in the file: name below the prefix}``."""
    return {
        name: name.removeprefix(prefix).removesuffix(_NNX_VALUE)
        for name in arrays
        if name.startswith(prefix)
    }


def read(arrays: Mapping[str, Described]) -> Reading | None:
    """What the names stand for; None if they are another codebase's."""
    prefix = prefix_of(arrays)
    return None if prefix is None else read_below(arrays, prefix, below(arrays, prefix), NAME)


def read_below(
    arrays: Mapping[str, Described],
    prefix: str,
    names: Mapping[str, str],
    naming: str,
    special: Iterable[Tensor] = (),
) -> Reading:
    """The same for names whose prefix is known; ``special`` tensors are read as they say."""
    special = {tensor.name: tensor for tensor in special}
    renumbered = _in_linens_numbering(names.values())
    tensors = []
    for name, short in names.items():
        if name in special:
            tensors.append(special[name])
            continue
        leaf = renumbered.get(short, short).replace("output_projection/", "head/")
        stored = arrays[name].shape
        squeezed = len(stored) == 4 and stored[:3] == (1, 1, 1) and _GROUP_NORM.fullmatch(leaf)
        tensors.append(Tensor(name, (PARAMS + leaf,), _FLATTENED if squeezed else SAME))
    tensors += _running_statistics(arrays, prefix)
    leaves = {leaf for tensor in tensors for leaf in tensor.leaves}
    resnet = any(f"{PARAMS}{mark}" in leaves for mark in ("conv1/kernel", "block1/unit1/gn1/scale"))
    hybrid = f"{PARAMS}embedding/kernel" in leaves
    with_batch_norm = any(leaf.startswith(STATE) for leaf in leaves) and not hybrid
    return Reading(
        naming,
        tuple(tensors),
        activation="relu" if resnet and not hybrid else "gelu_tanh",
        preprocessing=None if with_batch_norm else "big_vision",
        part=prefix,
    )


def _in_linens_numbering(names: Iterable[str]) -> dict[str, str]:
    """New names of what is in blocks: modules numbered by class, from 0, in the old order."""
    matches = {name: match for name in names if (match := _IN_BLOCK.fullmatch(name))}
    numbers: dict[tuple[str, str], set[int]] = {}
    for block, kind, number, _ in (match.groups() for match in matches.values()):
        numbers.setdefault((block, kind), set()).add(int(number[:7]))
    ranks = {key: {n: i for i, n in enumerate(sorted(held))} for key, held in numbers.items()}
    return {
        name: f"{block}/{kind}_{ranks[block, kind][int(number[:7])]}/{rest}"
        for name, match in matches.items()
        for block, kind, number, rest in [match.groups()]
    }


def _running_statistics(arrays: Mapping[str, Described], prefix: str) -> list[Tensor]:
    """What lies in ``batch_stats/`` beside ``params/``."""
    if not prefix.endswith(PARAMS):
        return []
    beside = prefix.removesuffix(PARAMS) + STATE
    return [Tensor(name, (STATE + short,), SAME) for name, short in below(arrays, beside).items()]


# --- writing --------------------------------------------------------------------------------------

_LEGACY = {
    "LayerNorm_0": "LayerNorm_0",
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "LayerNorm_1": "LayerNorm_2",
    "MlpBlock_0": "MlpBlock_3",
}


def published_names(leaves: Iterable[str]) -> dict[str, str]:
    """``{leaf: name}`` as in the published files, which most other readers expect.

    Networks with running statistics, of which none are published, keep ``params/`` and
    ``batch_stats/`` in front.
    """
    leaves = list(leaves)
    if any(leaf.startswith(STATE) for leaf in leaves):
        return {leaf: leaf for leaf in leaves}
    names = {}
    for leaf in leaves:
        name = leaf.removeprefix(PARAMS)
        if match := _IN_BLOCK.fullmatch(name):
            block, kind, number, rest = match.groups()
            module = f"{kind}_{number}"
            name = f"{block}/{_LEGACY.get(module, module)}/{rest}"
        names[leaf] = name
    return names
