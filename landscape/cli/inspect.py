"""``inspect``: what a checkpoint holds."""

import dataclasses
from typing import Annotated, Any

import tyro

from landscape.cli import common
from landscape.errors import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = (
        dataclasses.field(metadata={"positional": True})
    )
    """A run folder, FOLDER@STEP or a file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, _Request):
    pass


def execute(options: Options) -> common.Outcome:
    """Read the parameters; damage and non-finite values are reported, not refused."""
    import numpy as np

    from landscape import checkpoints, parameters

    found = checkpoints.load(options.checkpoint, finite=False)
    leaves = parameters.named_leaves(found.params)
    state = parameters.named_leaves(found.state or {})
    components = {
        name: _component([leaves[member] for member in members])
        for name, members in parameters.blocks(found.params, "components").items()
    }
    config = found.config or {}
    data = {
        "format": _format(found),
        **_network(found),
        "step": found.step,
        "data": config.get("data", {}).get("reference"),
        "preprocessing": _preprocessing(found),
        "activation": (found.request or {}).get("activation"),
        "notes": _notes(found),
        "parameters": parameters.size(found.params),
        "running_statistics": parameters.size(found.state) if found.state else None,
        "dtypes": list(found.dtypes),
        "norm": float(np.sqrt(sum(c["norm"] ** 2 for c in components.values()))),
        "not_finite": sum(c["not_finite"] for c in components.values())
        + sum(int((~np.isfinite(leaf)).sum()) for leaf in state.values()),
        "components": components,
        "arrays": {name: list(np.shape(leaf)) for name, leaf in (leaves | state).items()},
    }

    def show(console: Any) -> None:
        hidden = ("components", "arrays", "notes")
        rows = [
            [name.replace("_", " "), _shapes(value) if name == "other_shapes" else _text(value)]
            for name, value in data.items()
            if name not in hidden and value not in (None, [], {})
        ]
        console.print(common.grid(options.checkpoint, ("", "value"), rows, text=(0, 1)))
        for note in data["notes"]:
            console.print(f"note: {note}")
        rows = [
            [name, str(c["arrays"]), f"{c['parameters']:,}", f"{c['norm']:.4g}",
             str(c["not_finite"])]
            for name, c in components.items()
        ]  # fmt: skip
        columns = ("component", "arrays", "parameters", "norm", "not finite")
        console.print(common.grid("Components", columns, rows))

    return common.Outcome(data, show, brief=True)


def _component(leaves: list[Any]) -> dict[str, Any]:
    import numpy as np

    values = [np.asarray(leaf) for leaf in leaves]
    squares = [np.sum(np.square(value, dtype=np.float64)) for value in values]
    return {
        "arrays": len(values),
        "parameters": sum(value.size for value in values),
        "norm": float(np.sqrt(sum(squares))),
        "not_finite": sum(int((~np.isfinite(value)).sum()) for value in values),
    }


def _format(found: Any) -> str:
    if found.format == "run folder":
        return found.format
    told = f"{found.format}, names of {found.naming}".replace("names of its own", "its own names")
    return f"{told}, below {found.part}" if found.part else told


def _notes(found: Any) -> list[str]:
    """What is taken for granted, as neither names nor shapes tell it."""
    notes = []
    if "float64" in found.dtypes and not _in_float64():
        notes.append(
            "float64 in the file; commands compute with float32, rounded, unless JAX_ENABLE_X64 is "
            "set, and `convert` keeps it"
        )
    if found.config or not found.request:
        return notes
    heads = getattr(_built(found.request).module, "heads", None)
    if heads and found.naming in ("timm", "torchvision"):
        notes.append(f"{heads} heads, by convention for this width")
    if found.preprocessing is not None:
        notes += _assumed(found)
    return notes


def _in_float64() -> bool:
    import jax

    return jax.config.jax_enable_x64


def _assumed(found: Any) -> list[str]:
    """That the preprocessing is a convention, and what it might be instead."""
    from landscape.data.preprocessing import get_preprocessing

    each, size = get_preprocessing(found.preprocessing), _image_size(found)
    told = f"preprocessing {each.name} for images of {size} pixels, "
    told += "the usual size, " if found.network.any_size else ""
    notes = [f"{told}by the publisher's convention: the file does not tell it ({each.source})"]
    usual = each.geometry_for(size) == each.geometry
    return notes + ([each.untold] if each.untold and usual else [])


def _image_size(found: Any) -> int | None:
    """The side of the squares that the network takes; None if they are none or not known."""
    height, width, *_ = (found.request or {}).get("image_shape") or (None, None)
    return height if height == width else None


def _built(request: dict[str, Any]) -> Any:
    from landscape.models import registry

    return registry.build(**request)


def _network(found: Any) -> dict[str, Any]:
    """The network, how far it is from a registered one, and whether the parameters are all there.

    ``model`` is None where the names are those of no network here.
    """
    from landscape.checkpoints import compare

    request = found.request
    if request is None:
        problem = "not a network of the registry"
        return {"model": None, "fits": False, "problem": problem, "extra": list(found.unknown)}
    told = {"model": request["name"], "other_sizes": dict(request.get("shape", {}))}
    told |= {key: request.get(key) for key in ("classes", "image_shape", "classifier")}
    try:
        model = _built(request)
    except RequestError as error:
        problem = {"problem": str(error), "extra": list(found.unknown)}
        return {**told, "fits": False, **problem}
    fits = [compare(found.params, model.abstract())]
    if model.has_state:
        fits.append(compare(found.state or {}, model.abstract_state()))
    return {
        **told,
        "fits": all(fits) and not found.unknown,
        "missing": [name for each in fits for name in each.missing],
        "extra": [name for each in fits for name in each.extra] + list(found.unknown),
        "other_shapes": {
            name: [list(shape) for shape in shapes]
            for each in fits
            for name, shapes in each.reshaped.items()
        },
    }


def _preprocessing(found: Any) -> dict[str, Any] | None:
    from landscape.data.preprocessing import get_preprocessing

    if found.preprocessing is None:
        return None
    size = _image_size(found)
    described = get_preprocessing(found.preprocessing).described(size)
    return {"name": found.preprocessing, "image_size": size, **described}


def _text(value: Any) -> str:
    from landscape.checkpoints.fit import few

    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return few([_text(part) for part in value], most=5)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shapes(differences: dict[str, list[list[int]]]) -> str:
    from landscape.checkpoints.fit import few

    return few([f"{n} {tuple(a)} instead of {tuple(b)}" for n, (a, b) in differences.items()])
