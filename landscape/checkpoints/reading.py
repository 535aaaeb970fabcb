"""From a checkpoint reference to parameters, whatever wrote them.

A container (the kind of file) gives names and shapes; a naming says which of our parameters they
are; the values are read last, one array at a time.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape.checkpoints import containers, native
from landscape.checkpoints.containers import orbax
from landscape.checkpoints.containers.container import Container
from landscape.checkpoints.flat import nested
from landscape.checkpoints.identification import (
    Content,
    identified,
    of_kind,
    parts_of,
)
from landscape.checkpoints.namings import vision_transformer
from landscape.checkpoints.namings.naming import PARAMS, STATE, Reading
from landscape.checkpoints.recognition import Recognised, recognised
from landscape.errors import RequestError
from landscape.models.table import ENTRIES
from landscape.parameters import check_finite, named_leaves, shapes

_AT_STEP = re.compile(r"(?P<folder>.+)@(?P<step>\d+)")


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
        The ``config.json`` of the run, what `landscape.checkpoints.write` said in a file, or None.
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
    part
        Of files that hold more: what the parameters stood under, ``state_dict_ema``,
        ``opt/target/``.
    dtypes
        Of the parameters in the file; here they are float32, or float64.
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
    part: str = ""
    dtypes: tuple[str, ...] = ()
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

    @property
    def class_names(self) -> Any:
        """The class names in the order of its labels as its configuration has them, or None."""
        config = self.config or {}
        return config.get("class_names", config.get("data", {}).get("class_names"))


def request_as(name: str, request: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments of `landscape.models.registry.build` when another name is asked for.

    Of the same family everything else is kept; of another, what the data decide.
    """
    if not request:
        return {"name": name}
    if ENTRIES[request["name"]].family == ENTRIES[name].family:
        return {**request, "name": name}
    kept = {key: request[key] for key in ("classes", "image_shape") if key in request}
    return {"name": name, **kept}


def located(reference: str) -> tuple[Path, int | None]:
    """The path of a reference, and the step where it names one (``FOLDER@STEP``)."""
    path, match = Path(reference), _AT_STEP.fullmatch(reference)
    if match and not os.path.exists(path):  # which a name may be too long for
        return Path(match["folder"]), int(match["step"])
    return path, None


def load(reference: str, *, finite: bool = True, double: bool = False) -> Checkpoint:
    """Read the parameters of a checkpoint; optimiser states are not read.

    Parameters
    ----------
    reference
        A run folder (its newest complete step), ``FOLDER@STEP``, or a file or folder of one of
        `landscape.checkpoints.containers`, with names of one of `landscape.checkpoints.namings`.
        What it is, is told by its content.
    finite
        Refuse values that are not finite.
    double
        Keep float64, which is rounded to float32 otherwise unless JAX computes in float64.

    Raises
    ------
    RequestError
        If there is no such checkpoint, it is damaged, or its values are not all finite.
    """
    path, step = located(reference)
    if native.is_run_folder(path):
        found = _from_run_folder(path, step, reference, double)
    else:
        found = _from_container(_container(path, step), reference, double)
    if finite:
        check_finite(found.params, f"checkpoint {reference}")
        if found.state is not None:
            check_finite(found.state, f"running statistics of {reference}")
    return found


def described(reference: str) -> Checkpoint:
    """What a file is, without its values: ``params`` is empty.

    Raises
    ------
    RequestError
        If it is damaged.
    """
    container = _container(*located(reference))
    return _without_values(container, identified(container), reference)


def _container(path: Path, step: int | None) -> Container:
    return containers.opened(path if step is None else orbax.step_folder(path, step))


def _from_run_folder(path: Path, step: int | None, reference: str, double: bool) -> Checkpoint:
    step = native.existing_step(path, step)
    config = native.read_config(path)
    params = native.read_params(path, step)
    leaves = named_leaves(params)
    _check_parameters(leaves, leaves, f"{path}@{step}")
    state = native.read_batch_stats(path, step)
    return Checkpoint(
        jax.tree.map(partial(_usable, double=double), params),
        step,
        config,
        reference,
        state=jax.tree.map(partial(_usable, double=double), state),
        network=None if config else recognised(shapes(params)),
        preprocessing=(config or {}).get("preprocessing"),
        dtypes=tuple(sorted({str(leaf.dtype) for leaf in leaves.values()})),
    )


def _from_container(container: Container, reference: str, double: bool) -> Checkpoint:
    content = identified(container)
    leaves = _leaves(container, content.reading, double)
    params = of_kind(leaves, PARAMS)
    _check_parameters(params, container.arrays, container.path)
    state = of_kind(leaves, STATE)
    return replace(
        _without_values(container, content, reference),
        params=nested(params, reference),
        state=nested(state, reference) if state else None,
    )


def _check_parameters(
    params: Mapping[str, np.ndarray], names: Mapping[str, Any], what: str | Path
) -> None:
    """Refuse what has no floating arrays, or others among them."""
    integers = [name for name, leaf in params.items() if leaf.dtype.kind not in "fV"]
    if not params or integers:
        told = f"{integers[0]!r} is no floating array" if integers else _some(names)
        raise RequestError(
            f"checkpoint: {what} holds no parameters ({told}); see `formats` for what is read"
        )


def _without_values(container: Container, content: Content, reference: str) -> Checkpoint:
    reading, network, told = content.reading, content.network, content.told or {}
    dtypes = {container.arrays[tensor.name].dtype.name for tensor in reading.tensors}
    return Checkpoint(
        {},
        getattr(container, "step", None),
        content.told,
        reference,
        format=container.format,
        naming=reading.naming,
        network=network,
        activation=reading.activation if network else None,
        preprocessing=told.get("preprocessing") or (reading.preprocessing if network else None),
        unknown=reading.unknown,
        part=container.metadata.get("holder", "") or reading.part,
        dtypes=tuple(sorted(dtypes)),
        layout=_layout(reading),
    )


def _leaves(container: Container, reading: Reading, double: bool) -> dict[str, np.ndarray]:
    tensors = {tensor.name: tensor for tensor in reading.tensors}
    leaves = {}
    for name, array in container.read(tensors):
        tensor = tensors[name]
        parts = parts_of(tensor, array, reading.heads, container.path)
        for leaf, part in zip(tensor.leaves, parts, strict=True):
            leaves[leaf] = _usable(part, double)
    return leaves


def _usable(array: np.ndarray, double: bool) -> np.ndarray:
    """Contiguous; float32 unless it is not floating, or wider and ``double`` or JAX keeps it."""
    dtype = array.dtype
    if np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16":
        wide = dtype.itemsize > 4 and (double or jax.config.jax_enable_x64)
        dtype = np.dtype(np.float64 if wide else np.float32)
    # A view of a fused array would keep the whole of it.
    with np.errstate(over="ignore"):  # what is then infinite is told
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
