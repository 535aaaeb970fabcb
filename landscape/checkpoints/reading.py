"""From a checkpoint reference to parameters, whatever wrote them.

A container (the kind of file) gives names and shapes; a naming says which of our parameters they
are; the values are read last, one array at a time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape.checkpoints import containers, native
from landscape.checkpoints.containers.container import MOST_ARRAYS, Container, Described
from landscape.checkpoints.flat import nested
from landscape.checkpoints.namings import big_vision, own, timm, torchvision, vision_transformer
from landscape.checkpoints.namings.naming import PARAMS, STATE, Reading, Tensor
from landscape.checkpoints.recognition import Recognised, recognised
from landscape.errors import RequestError
from landscape.parameters import check_finite, check_floating, named_leaves

_AT_STEP = re.compile(r"(?P<folder>.+)@(?P<step>\d+)")
_NAMINGS = (timm, torchvision, big_vision, vision_transformer, own)  # the first that reads it


@dataclass(frozen=True)
class SourceTensor:
    """A trainable tensor of a file in another framework's layout.

    Attributes
    ----------
    name
        What the file calls it.
    leaf
        Our parameter: ``layer1/0/conv1/kernel``.
    axes
        ``np.transpose(leaf, axes)`` has the file's layout.
    """

    name: str
    leaf: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """Parameters and where they came from.

    Attributes
    ----------
    params
        Nested dict of floating numpy arrays.
    step
        Training steps done, or None where the format does not say.
    config
        The ``config.json`` of the run, or None.
    reference
        What was asked for.
    state
        Running statistics (BatchNorm), or None.
    format, naming
        The kind of file, and whose names are in it.
    network
        The network with these parameters, or None where it is none of the registry's families.
    activation, preprocessing
        What belongs to checkpoints of this origin, or None where that is open.
    unknown
        Names in the file that have no place in such a network.
    layout
        Order and layout of the parameters in the file of another framework, or None.
    """

    params: dict = field(repr=False)
    step: int | None
    config: dict | None = field(repr=False)
    reference: str
    state: dict | None = field(default=None, repr=False)
    format: str = "run folder"
    naming: str = vision_transformer.NAME
    network: Recognised | None = None
    activation: str | None = None
    preprocessing: str | None = None
    unknown: tuple[str, ...] = ()
    layout: tuple[SourceTensor, ...] | None = field(default=None, repr=False)

    @property
    def request(self) -> dict[str, Any] | None:
        """Arguments of `landscape.models.registry.build` for its network, ``name`` included."""
        if self.config and "model" in self.config:
            return dict(self.config["model"])
        if self.network is None:
            return None
        made = {"name": self.network.name, **self.network.request}
        return made if self.activation is None else {**made, "activation": self.activation}


def located(reference: str) -> tuple[Path, int | None]:
    """The path of a reference, and the step where it names one (``FOLDER@STEP``)."""
    path, match = Path(reference), _AT_STEP.fullmatch(reference)
    if match and not path.exists():
        return Path(match["folder"]), int(match["step"])
    return path, None


def load(reference: str, *, finite: bool = True) -> Checkpoint:
    """Read the parameters of a checkpoint; optimiser states are not read.

    Parameters
    ----------
    reference
        A run folder (its newest complete step), ``FOLDER@STEP``, or a file or folder of one of
        `landscape.checkpoints.containers`, with names of one of `landscape.checkpoints.namings`.
        What it is, is told by its content.
    finite
        Refuse values that are not finite.

    Raises
    ------
    RequestError
        If there is no such checkpoint, it is damaged, or its values are not all finite.
    """
    path, step = located(reference)
    if native.is_run_folder(path):
        found = _from_run_folder(path, step, reference)
    else:
        found = _from_container(
            containers.opened(path if step is None else path / str(step)), reference
        )
    check_floating(found.params)
    if finite:
        check_finite(found.params, f"checkpoint {reference}")
        if found.state is not None:
            check_finite(found.state, f"running statistics of {reference}")
    return found


def _from_run_folder(path: Path, step: int | None, reference: str) -> Checkpoint:
    step = native.existing_step(path, step)
    config = native.read_config(path)
    return Checkpoint(
        native.read_params(path, step),
        step,
        config,
        reference,
        state=native.read_batch_stats(path, step),
        preprocessing=(config or {}).get("preprocessing"),
    )


def _from_container(container: Container, reference: str) -> Checkpoint:
    reading = _read(container.arrays)
    shapes = leaf_shapes(reading, container.arrays, container.path)
    leaves = _leaves(container, reading)
    params = {n.removeprefix(PARAMS): a for n, a in leaves.items() if n.startswith(PARAMS)}
    state = {n.removeprefix(STATE): a for n, a in leaves.items() if n.startswith(STATE)}
    if not params:
        raise RequestError(
            f"checkpoint: {container.path} holds no parameters ({_some(container.arrays)}); "
            "see `formats` for what is read"
        )
    network = recognised(
        {n.removeprefix(PARAMS): s for n, s in shapes.items() if n.startswith(PARAMS)}
    )
    return Checkpoint(
        nested(params, reference),
        getattr(container, "step", None),
        None,
        reference,
        state=nested(state, reference) if state else None,
        format=container.format,
        naming=reading.naming,
        network=network,
        **(_belonging(container.metadata, reading) if network else {}),
        unknown=reading.unknown,
        layout=_layout(reading),
    )


def _belonging(metadata: Mapping[str, str], reading: Reading) -> dict[str, str | None]:
    """Activation and preprocessing: what the file says, or else what its origin uses."""
    from landscape.data.preprocessing import PREPROCESSING
    from landscape.models.layers import ACTIVATIONS

    known = {"activation": ACTIVATIONS, "preprocessing": PREPROCESSING}
    return {
        what: metadata[what] if metadata.get(what) in values else getattr(reading, what)
        for what, values in known.items()
    }


def _read(arrays: Mapping[str, Described]) -> Reading:
    return next(reading for naming in _NAMINGS if (reading := naming.read(arrays)) is not None)


def leaf_shapes(
    reading: Reading, arrays: Mapping[str, Described], path: Path
) -> dict[str, tuple[int, ...]]:
    """The shapes of all our leaves, from the shapes in the file.

    Raises
    ------
    RequestError
        For an array that cannot have the layout of its name, and for two of one leaf.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in reading.tensors:
        described = arrays[tensor.name]
        # Takes no memory, whatever its shape.
        parts = _parts(tensor, np.broadcast_to(np.int8(0), described.shape), reading.heads, path)
        for leaf, part in zip(tensor.leaves, parts, strict=True):
            if leaf in shapes:
                raise RequestError(f"checkpoint: {path} holds {leaf!r} under two names")
            shapes[leaf] = part.shape
    return shapes


def _parts(tensor: Tensor, array: np.ndarray, heads: int, path: Path) -> tuple[np.ndarray, ...]:
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


def _leaves(container: Container, reading: Reading) -> dict[str, np.ndarray]:
    tensors = {tensor.name: tensor for tensor in reading.tensors}
    leaves = {}
    for name, array in container.read(tensors):
        tensor = tensors[name]
        parts = _parts(tensor, array, reading.heads, container.path)
        for leaf, part in zip(tensor.leaves, parts, strict=True):
            leaves[leaf] = _usable(part)
    return leaves


def _usable(array: np.ndarray) -> np.ndarray:
    """Contiguous; float32 unless it is not floating, or float64 where JAX computes in it."""
    dtype = array.dtype
    if np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16":
        dtype = np.dtype(np.float32)
        if array.dtype == np.float64 and jax.config.jax_enable_x64:
            dtype = array.dtype
    # A view of a fused array would keep the whole of it.
    return np.array(array, dtype, order="C", copy=None if array.base is None else True)


def _layout(reading: Reading) -> tuple[SourceTensor, ...] | None:
    tensors = [t for t in reading.tensors if t.leaves and t.leaves[0].startswith(PARAMS)]
    if any(tensor.layout.axes is None for tensor in tensors):
        return None
    return tuple(
        SourceTensor(t.name, t.leaves[0].removeprefix(PARAMS), t.layout.axes) for t in tensors
    )


def _some(names: Mapping[str, Any]) -> str:
    first = list(names)[:3]
    return f"{len(names)} arrays: {', '.join(first)}{', ...' if len(names) > 3 else ''}"


def parameter_shapes(params: Any) -> dict[str, tuple[int, ...]]:
    """Shape by name of a parameter tree."""
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(params).items()}
