"""What the arrays of a container are: whose names, which leaves of ours, of what shapes.

Told by names and shapes, and by what `landscape.checkpoints.write` said in a file where it fits.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.checkpoints.containers.container import MOST_ARRAYS, Container, Described, damaged
from landscape.checkpoints.namings import big_vision, own, timm, torchvision, vision_transformer
from landscape.checkpoints.namings.naming import (
    PARAMS,
    POSITION_LEAF,
    Reading,
    Tensor,
    prefixes,
    the_first,
)
from landscape.checkpoints.recognition import Recognised, recognised
from landscape.errors import RequestError
from landscape.models import registry
from landscape.models.table import ENTRIES
from landscape.parameters import shapes

if TYPE_CHECKING:
    from landscape.models.model import Model

_STATE_DICTS, _TREES = (timm, torchvision), (big_vision, vision_transformer, own)
# Networks inside others: of DataParallel, torch.compile, Lightning, self-distillation.
_WRAPPED = re.compile(
    r"^(?:(?:module|_orig_mod|model|net|network|backbone|encoder|student|teacher|ema)\.)*"
    r"(?P<mark>blocks\.0\.attn\.qkv\.weight|blocks\.0\.mlp_tokens\.fc1\.weight"
    r"|stages\.0\.blocks\.0\.conv3\.weight|layer1\.0\.conv1\.weight"
    r"|encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight)$"
)
TOLD = "landscape"  # under which our writer speaks in a file's metadata


@dataclass(frozen=True)
class Content:
    """What a container holds.

    Attributes
    ----------
    reading
        What its names stand for.
    shapes
        Of our leaves, ``params/head/kernel``.
    network
        The network with these parameters, or None.
    told
        ``{"model": arguments of the registry, "preprocessing": name or None, "class_names": ...}``
        as our writer said it, or None.
    """

    reading: Reading = field(repr=False)
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    network: Recognised | None
    told: Mapping[str, Any] | None


def identified(container: Container) -> Content:
    """Find out what an opened file holds; no values are read.

    Raises
    ------
    RequestError
        If arrays cannot have the layout of their names, or it holds several networks.
    """
    try:
        reading = _read(container.arrays)
    except ValueError as error:
        raise damaged(container.path, error, "see `formats` for what is read") from error
    if told := _told(container):
        model = registry.build(**told["model"])
        with suppress(RequestError):  # where it does not fit, it is as good as nothing
            content = _content(container, _as_told(reading, model.module), told)
            found = of_kind(content.shapes, PARAMS)
            if content.network and _fits(content.network, found, model):
                return content
    return _content(container, reading, None)


def _content(container: Container, reading: Reading, told: Mapping[str, Any] | None) -> Content:
    found = leaf_shapes(reading, container.arrays, container.path)
    return Content(reading, found, recognised(of_kind(found, PARAMS)), told)


def of_kind(leaves: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Those whose names begin with `PARAMS` or `STATE`, without it."""
    return {n.removeprefix(kind): leaf for n, leaf in leaves.items() if n.startswith(kind)}


def _fits(network: Recognised, found: Mapping[str, Any], model: "Model") -> bool:
    """Whether a model has these parameters."""
    sizes = {**ENTRIES[network.name].shape, **network.differences}
    rows = ("depth", "units", "resnet")
    if any(getattr(model.module, row, None) != sizes.get(row) for row in rows):
        return False  # before a tree as deep as anybody says is made
    return shapes(model.abstract()) == found


def _as_told(reading: Reading, module: Any) -> Reading:
    """With the heads that shapes do not tell, and without positions that only PyTorch keeps."""
    if reading.heads:
        reading = replace(reading, heads=getattr(module, "heads", reading.heads))
    if getattr(module, "position_embedding", None) != "sincos2d":
        return reading
    kept = (t for t in reading.tensors if PARAMS + POSITION_LEAF not in t.leaves)
    return replace(reading, tensors=tuple(kept))


def _told(container: Container) -> dict[str, Any] | None:
    """Network and preprocessing that our writer put into a file; None where nothing usable is."""
    from landscape.data.preprocessing import PREPROCESSING

    try:
        told = json.loads(container.metadata.get(TOLD, "null"))
        if not isinstance(told, dict):
            return None
        request = registry.checked_request(told.get("model"))
        registry.build(**request)
    except (ValueError, RecursionError, RequestError):  # as good as nothing
        return None
    preprocessing = told.get("preprocessing")
    known = isinstance(preprocessing, str) and preprocessing in PREPROCESSING
    made = {"model": request, "preprocessing": preprocessing if known else None}
    return made | {key: told[key] for key in ("class_names",) if key in told}


def _read(arrays: Mapping[str, Described]) -> Reading:
    prefix = the_first(prefixes(arrays, _WRAPPED))
    if prefix is not None:
        inside = {n.removeprefix(prefix): d for n, d in arrays.items() if n.startswith(prefix)}
        for naming in _STATE_DICTS:
            if (reading := naming.read(inside)) is not None:
                return _in_front(reading, prefix, arrays)
    return next(reading for naming in _TREES if (reading := naming.read(arrays)) is not None)


def _in_front(reading: Reading, prefix: str, arrays: Mapping[str, Described]) -> Reading:
    """The same with the names of the file; counters beside the network are left out."""
    outside = (n for n, d in arrays.items() if not n.startswith(prefix) and d.dtype.kind in "fV")
    return replace(
        reading,
        tensors=tuple(replace(tensor, name=prefix + tensor.name) for tensor in reading.tensors),
        unknown=(*(prefix + name for name in reading.unknown), *outside),
        part=prefix,
    )


def leaf_shapes(
    reading: Reading, arrays: Mapping[str, Described], path: Path
) -> dict[str, tuple[int, ...]]:
    """The shapes of all our leaves, from the shapes in the file.

    Raises
    ------
    RequestError
        For an array that cannot have the layout of its name, and for two of one leaf.
    """
    found: dict[str, tuple[int, ...]] = {}
    for tensor in reading.tensors:
        described = arrays[tensor.name]
        # Takes no memory, whatever its shape.
        parts = parts_of(tensor, np.broadcast_to(np.int8(0), described.shape), reading.heads, path)
        for leaf, part in zip(tensor.leaves, parts, strict=True):
            if leaf in found:
                raise RequestError(f"checkpoint: {path} holds {leaf!r} under two names")
            found[leaf] = part.shape
    return found


def parts_of(tensor: Tensor, array: np.ndarray, heads: int, path: Path) -> tuple[np.ndarray, ...]:
    """The leaves that an array holds.

    Raises
    ------
    RequestError
        If it cannot have the layout of its name.
    """
    try:
        parts = tensor.layout.read(array, heads)
        if len(parts) == len(tensor.leaves) <= MOST_ARRAYS and array.size:
            return parts
    except (ValueError, IndexError):  # another rank, or not divisible
        pass
    raise RequestError(
        f"checkpoint: {tensor.name!r} in {path} has shape {array.shape}, which no "
        f"{tensor.leaves[0] if tensor.leaves else 'parameter'} has; get an undamaged copy"
    )
