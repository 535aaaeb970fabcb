"""Writing parameters in the formats in which other tools read them."""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from landscape.checkpoints import native
from landscape.checkpoints.containers import safetensors
from landscape.checkpoints.fit import check_whole
from landscape.checkpoints.flat import save_arrays
from landscape.checkpoints.identification import TOLD
from landscape.checkpoints.namings import timm, torchvision, vision_transformer
from landscape.checkpoints.namings.naming import PARAMS, STATE, written_by
from landscape.checkpoints.reading import Checkpoint
from landscape.errors import RequestError
from landscape.models import registry
from landscape.parameters import named_leaves

NPZ, SAFETENSORS, RUN_FOLDER = "npz", "safetensors", "run folder"
SCHEMA = 1  # of `config.json`


def format_of(path: str | os.PathLike) -> str:
    """The format that a path asks for: by its suffix, or a run folder where it has none.

    Raises
    ------
    RequestError
        For another suffix.
    """
    suffix = Path(path).suffix
    known = {".npz": NPZ, ".safetensors": SAFETENSORS, "": RUN_FOLDER}
    if suffix not in known:
        raise RequestError(
            f"out: {path} is of no format that is written; name FILE.npz (vision_transformer's "
            "names), FILE.safetensors (timm's) or a folder (a run)"
        )
    return known[suffix]


def write(
    found: Checkpoint, path: str | os.PathLike, library: Literal["timm", "torchvision"] = "timm"
) -> str:
    """Write a checkpoint as `format_of` its path says; it appears complete or not at all.

    Parameters
    ----------
    found
        What `landscape.checkpoints.load` returned.
    path
        ``FILE.npz`` has the names of google-research/vision_transformer's published files,
        ``FILE.safetensors`` those of a PyTorch library, a folder is a run folder with the network's
        description, from which every command goes on.
    library
        Whose names ``FILE.safetensors`` has. Both have the same for ResNets with BatchNorm.

    Returns
    -------
    The format.

    Raises
    ------
    RequestError
        If the path cannot be written, or the format has no names for these parameters.
    """
    path, form = Path(path), format_of(path)
    if form == RUN_FOLDER:
        native.save_params(path, found.step or 0, found.params, found.state, _config(found))
        return form
    leaves = {PARAMS + name: leaf for name, leaf in named_leaves(found.params).items()}
    leaves |= {STATE + name: leaf for name, leaf in named_leaves(found.state or {}).items()}
    if form == NPZ:
        names = vision_transformer.published_names(leaves)
        save_arrays(path, {name: leaves[leaf] for leaf, name in names.items()})
    else:
        arrays = _for_pytorch(found, leaves, library)
        safetensors.written(path, arrays, _told(found))
    return form


def _config(found: Checkpoint) -> dict[str, Any]:
    if found.request is None:
        raise RequestError(
            "out: a run folder names its network, and this is none of the registry; write FILE.npz"
        )
    check_whole(found, registry.build(**found.request), f"checkpoint {found.reference}")
    return {
        "schema": SCHEMA,
        "model": found.request,
        "preprocessing": found.preprocessing,
        **_class_names(found),
        "converted_from": {
            "reference": found.reference,
            "format": found.format,
            "naming": found.naming,
        },
        "versions": {"landscape": importlib.metadata.version("landscape")},
    }


def _told(found: Checkpoint) -> dict[str, str]:
    """What goes with the tensors: shapes do not tell heads, activations and preprocessing."""
    told = {"format": "pt"}  # which its readers ask for
    if found.request is not None:
        ours = {"model": found.request, "preprocessing": found.preprocessing}
        ours |= _class_names(found)
        told[TOLD] = json.dumps(ours)
    return told


def _class_names(found: Checkpoint) -> dict[str, Any]:
    """What its labels mean, unless a head of other classes has come in its place."""
    names = found.class_names
    same = names is not None and len(names) == registry.build(**found.request).classes
    return {"class_names": list(names)} if same else {}


def _for_pytorch(
    found: Checkpoint, leaves: Mapping[str, Any], library: str
) -> dict[str, np.ndarray]:
    """timm's or torchvision's state dict."""
    batch_norm = f"{PARAMS}conv1/kernel" in leaves
    naming = torchvision if batch_norm or library == torchvision.NAME else timm
    tensors = written_by(naming.table(leaves), leaves)
    if isinstance(tensors, str):
        raise RequestError(
            f"out: {naming.NAME} has no name for {tensors.removeprefix(PARAMS)!r}; "
            "write FILE.npz or a run folder"
        )
    if naming is torchvision and not (batch_norm or f"{PARAMS}cls" in leaves):
        raise RequestError("out: torchvision's ViT has a class token, this one none; use timm's")
    arrays = {
        tensor.name: tensor.layout.write(*(np.asarray(leaves[leaf]) for leaf in tensor.leaves))
        for tensor in tensors
    }
    if batch_norm:  # PyTorch's modules count their batches, and miss the counts
        arrays |= {
            name.replace("running_mean", "num_batches_tracked"): np.zeros((), np.int64)
            for name in arrays
            if name.endswith("running_mean")
        }
    elif (found.request or {}).get("position_embedding") == "sincos2d":
        arrays[naming.POSITIONS] = _fixed_positions(found.request)
    return arrays


def _fixed_positions(request: Mapping[str, Any]) -> np.ndarray:
    """The position embedding, which PyTorch's libraries hold as a parameter."""
    from landscape.models.vit import sincos2d

    model = registry.build(**request)
    height, width, _ = model.image_shape
    table = np.asarray(sincos2d(height // model.patch, width // model.patch, model.module.width))
    place = int(model.module.classifier == "token")
    return np.pad(table, ((0, 0), (place, 0), (0, 0)))
