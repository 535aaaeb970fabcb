"""``inspect``: what a checkpoint holds."""

import dataclasses
from typing import Annotated, Any

import tyro

from landscape.cli import common
from landscape.errors import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    checkpoint: Annotated[str, tyro.conf.Positional] = dataclasses.field(
        metadata={"positional": True}
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
    components = {}
    for name, members in parameters.blocks(found.params, "components").items():
        values = [np.asarray(leaves[member], np.float64) for member in members]
        components[name] = {
            "arrays": len(values),
            "parameters": sum(v.size for v in values),
            "norm": float(np.sqrt(sum((v**2).sum() for v in values))),
            "not_finite": int(sum((~np.isfinite(v)).sum() for v in values)),
        }
    config = found.config or {}
    known = config.get("model") or _recognised(found)
    state = parameters.named_leaves(found.state or {})
    data = {
        "format": _format(found),
        "model": known and known["name"],
        "fits": _fitting(found, known),
        "step": found.step,
        "data": config.get("data", {}).get("reference"),
        "preprocessing": found.preprocessing or config.get("preprocessing"),
        "parameters": parameters.size(found.params),
        "running_statistics": parameters.size(found.state) if found.state else None,
        "dtypes": sorted({str(np.asarray(leaf).dtype) for leaf in leaves.values()}),
        "norm": float(np.sqrt(sum(c["norm"] ** 2 for c in components.values()))),
        "not_finite": sum(c["not_finite"] for c in components.values())
        + sum(int((~np.isfinite(leaf)).sum()) for leaf in state.values()),
        "components": components,
        "arrays": {name: list(np.shape(leaf)) for name, leaf in (leaves | state).items()},
    }

    def show(console: Any) -> None:
        plain = ("format", "model", "fits", "step", "data", "preprocessing", "parameters",
                 "running_statistics", "dtypes", "norm", "not_finite")  # fmt: skip
        rows = [[name.replace("_", " "), _text(data[name])] for name in plain]
        console.print(common.grid(options.checkpoint, ("", "value"), rows))
        rows = [
            [name, str(c["arrays"]), f"{c['parameters']:,}", f"{c['norm']:.4g}",
             str(c["not_finite"])]
            for name, c in components.items()
        ]  # fmt: skip
        columns = ("component", "arrays", "parameters", "norm", "not finite")
        console.print(common.grid("Components", columns, rows))

    return common.Outcome(data, show)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value if value is not None else "-")


def _format(found: Any) -> str:
    if found.layout is not None:
        return "PyTorch"
    return "run folder" if found.config else "npz"


def _recognised(found: Any) -> dict[str, Any] | None:
    """What the file's content says about the network."""
    if found.model is None:
        return None
    _, classes = found.params["linear"]["kernel"].shape
    return {"name": found.model, "classes": classes, "image_shape": None}


def _fitting(found: Any, known: dict[str, Any] | None) -> str:
    """The registered network whose names and shapes these are, or what is different."""
    from landscape import checkpoints
    from landscape.models import registry

    if known:
        try:
            model = registry.build(
                known["name"], classes=known["classes"], image_shape=known["image_shape"]
            )
            checkpoints.check_fit(found.params, model.abstract())
            if model.has_state:
                checkpoints.check_fit(found.state or {}, model.abstract_state())
        except RequestError as error:
            return str(error)
        return known["name"]
    for name in registry.names():
        try:
            checkpoints.check_fit(found.params, registry.build(name).abstract())
        except RequestError:
            continue
        return name
    return "no registered network"
