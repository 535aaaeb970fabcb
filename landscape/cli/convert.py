"""``convert``: write a checkpoint in another format."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from landscape.cli import common
from landscape.errors import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")] = (
        dataclasses.field(metadata={"positional": True})
    )
    """A run folder, FOLDER@STEP or a file."""
    destination: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")] = (
        dataclasses.field(metadata={"positional": True})
    )
    """FILE.npz (vision_transformer's names), FILE.safetensors (PyTorch's) or a new run folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, _Request):
    model: str | None = None
    """Network of the checkpoint, where several have the same parameters."""
    image_size: int | None = None
    """Resize the position embeddings for square images of this many pixels."""
    classes: int | None = None
    """Replace the head by one of zeros for this many classes."""
    names: Literal["timm", "torchvision"] = "timm"
    """Whose names FILE.safetensors has."""


def execute(options: Options) -> common.Outcome:
    """Read, adapt if asked to, and write; the parameters' values stay as they are."""
    from landscape import checkpoints, parameters
    from landscape.checkpoints import writing
    from landscape.checkpoints.fine_tuning import adapted
    from landscape.models import registry

    writing.format_of(options.destination)
    if Path(options.destination).exists():
        raise RequestError(f"destination: {options.destination} exists; name another")
    found = checkpoints.load(options.checkpoint)
    request = _request(options, found)
    if request is not None:
        model = registry.build(**request)
        params = found.params
        if options.image_size is not None or options.classes is not None:
            params = adapted(params, model)
        checkpoints.check_fit(params, model.abstract(), f"checkpoint {options.checkpoint}")
        described = {**(found.config or {}), "model": dict(model.request)}
        found = dataclasses.replace(found, params=params, config=described)
    if found.unknown:
        raise RequestError(
            f"checkpoint: {len(found.unknown)} arrays of {options.checkpoint} have no place in "
            f"{found.network.name} ({found.unknown[0]}); see `inspect`"
        )
    form = checkpoints.write(found, options.destination, options.names)
    notes = _notes(found, form)
    data = {
        "destination": options.destination,
        "format": form,
        "model": request and request["name"],
        "parameters": parameters.size(found.params),
        "notes": notes,
    }

    def show(console: Any) -> None:
        console.print(f"{options.destination}: {data['parameters']:,} parameters, {form}")
        for note in notes:
            console.print(f"note: {note}")

    return common.Outcome(data, show)


def _request(options: Options, found: Any) -> dict[str, Any] | None:
    """Arguments of the registry for the network that is written; None for an unknown one."""
    from landscape.models import registry

    request = found.request
    changed = options.image_size is not None or options.classes is not None
    if request is None:
        if options.model is None and not changed:
            return None
        raise RequestError(
            f"checkpoint: {options.checkpoint} is of no network of the registry; see `inspect`"
        )
    if options.model is not None:
        request = {**request, "name": registry.find(options.model)}
    if options.classes is not None:
        request["classes"] = options.classes
    if options.image_size is not None:
        *_, channels = registry.build(**found.request).image_shape
        request["image_shape"] = (options.image_size, options.image_size, channels)
    return request


def _notes(found: Any, form: str) -> list[str]:
    """What its reader has to know."""
    activation = (found.request or {}).get("activation")
    if form == "safetensors" and activation == "gelu_tanh":
        return [
            "timm and torchvision compute GELU with erf, this checkpoint has tanh: create "
            "timm's model with act_layer='gelu_tanh' for the same logits"
        ]
    if form == "npz" and activation == "gelu_erf":
        return ["readers of .npz take GELU with tanh, this checkpoint was made with erf"]
    return []
