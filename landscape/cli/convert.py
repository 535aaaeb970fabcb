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
    """Read, adapt if asked to, and write; the parameters' values stay as they are, float64 too."""
    from landscape import checkpoints, parameters
    from landscape.checkpoints import writing
    from landscape.checkpoints.fine_tuning import adapted
    from landscape.models import registry

    if options.out is not None:
        raise RequestError(f"out: convert writes OUT, which comes second; leave out {options.out}")
    writing.format_of(options.destination)
    if Path(options.destination).exists():
        raise RequestError(f"OUT: {options.destination} exists; name another")
    what = f"checkpoint {options.checkpoint}"
    found = checkpoints.load(options.checkpoint, double=True)
    request = _request(options, found)
    if request is None:
        checkpoints.check_known(found.unknown, what)
    else:
        model, params = registry.build(**request), found.params
        if options.image_size is not None or options.classes is not None:
            before = registry.build(**found.request)
            params = adapted(params, model, image_shape=before.image_shape, what=what)
        described = {**(found.config or {}), "model": dict(model.request)}
        found = dataclasses.replace(found, params=params, config=described)
        checkpoints.check_whole(found, model, what)
    form = checkpoints.write(found, options.destination, options.names)
    notes = [*_precision(found), *_notes(found, form, options.destination)]
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
    from landscape.checkpoints import request_as
    from landscape.models import registry

    request = found.request
    if request is None:
        if options.model is None and options.image_size is None and options.classes is None:
            return None
        raise RequestError(
            f"checkpoint: {options.checkpoint} is of no network of the registry; see `inspect`"
        )
    if options.model is not None:
        request = request_as(registry.find(options.model), request)
    if options.classes is not None:
        request["classes"] = options.classes
    if options.image_size is not None:
        if options.image_size < 1:
            raise RequestError(f"image_size: found {options.image_size}; give pixels from 1")
        *_, channels = registry.build(**found.request).image_shape
        request["image_shape"] = (options.image_size, options.image_size, channels)
    return request


def _precision(found: Any) -> list[str]:
    """What became of the numbers, where they are not float32 as everywhere here."""
    import ml_dtypes  # noqa: F401, its names are dtypes then
    import numpy as np

    sizes = {name: np.dtype(name).itemsize for name in found.dtypes}
    notes = [f"{name} is rounded to float64" for name, size in sizes.items() if size > 8]
    notes += [f"{name} is written as float32, exactly" for name, size in sizes.items() if size < 4]
    if any(size >= 8 for size in sizes.values()):
        notes.append(
            "float64 is kept; commands compute with float32, rounded, unless JAX_ENABLE_X64 is set"
        )
    return notes


def _notes(found: Any, form: str, destination: str) -> list[str]:
    """What its readers have to know, because no array tells it."""
    from landscape import checkpoints

    if found.request is None or form == "run folder":
        return []
    notes = []
    if form == "safetensors" and found.request.get("activation") == "gelu_tanh":
        notes.append(
            "timm and torchvision compute GELU with erf, this checkpoint has tanh: create timm's "
            "model with act_layer='gelu_tanh' for the same logits"
        )
    again = checkpoints.described(destination)
    before, after = _told(found), _told(again)
    for what in sorted(before.keys() | after.keys()):
        was, read = before.get(what), after.get(what)
        if was != read and not (what == "image_shape" and again.network.any_size):
            option = f"; say --{what} {was}" if what in _OPTIONS and was is not None else ""
            notes.append(f"the file does not tell its {what}, {was}, and is read as {read}{option}")
    return notes


_OPTIONS = ("model", "activation", "preprocessing")
_RATES = ("dropout", "stochastic_depth")  # of training


def _told(found: Any) -> dict[str, Any]:
    """What makes the network and its inputs, one by one."""
    from landscape.models import registry

    request = dict(registry.build(**found.request).request) if found.request else {}
    told = {"model": request.pop("name", None), **request.pop("shape", {}), **request}
    told["preprocessing"] = found.preprocessing
    return {what: value for what, value in told.items() if what not in _RATES}
