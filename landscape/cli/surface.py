"""``surface``: the loss on a plane through a checkpoint."""

import dataclasses
import os
from typing import Any, Literal

from landscape.cli import common, subject
from landscape.errors import RequestError
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    grid: str = "50"
    """Points per axis: 51, or 51x41."""
    range: float = 1.0
    """Coordinates run from minus this to plus this, in units of the directions."""
    normalize: Literal["filter", "layer", "weight", "none"] = "filter"
    """What every filter, layer or weight of a direction is scaled to: its weights' norm."""
    ignore: str | None = None
    """Parameters that stay fixed, a regular expression (default: biases and normalisation)."""
    picture: str | None = None
    """Also draw the surface into this file (.png, .pdf, .svg)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject, _Request):
    pass


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Evaluate the grid; points that the result file already holds are not repeated."""
    from landscape import results
    from landscape.surface import compute_surface, coordinates, random_direction

    columns, rows = _grid(options.grid)
    x = coordinates(-options.range, options.range, columns)
    y = coordinates(-options.range, options.range, rows)
    loaded = None if options.objective else subject.load(options)
    path = subject.result_path(options, loaded, "surface")
    objective = subject.objective(options, loaded)
    directions = [
        random_direction(
            objective.params,
            2 * options.seed + axis,
            normalization=options.normalize,
            ignore=options.ignore,
        )
        for axis in (0, 1)
    ]
    settings = {"normalization": options.normalize, "seed": options.seed, "ignore": options.ignore}
    left = columns * rows
    if path.exists():
        left -= int(results.read(path, "surface")["done"].sum())
    make_bar = common.bars(options, make_bar)
    with make_bar("surface", max(left, 1)) as advance:
        compute_surface(
            objective,
            directions,
            x,
            y,
            out=path,
            request=settings,
            origin=results.provenance(**settings, command=common.command_line("surface", options)),
            progress=advance,
        )
    if options.picture is not None:
        _draw(path, options.picture)
    return summary(path, options.picture)


def _grid(text: str) -> tuple[int, int]:
    try:
        numbers = [int(part) for part in text.lower().split("x")]
        columns, rows = numbers if len(numbers) == 2 else numbers * 2
    except ValueError:
        raise RequestError(f"grid: {text!r} is no grid; write 51 or 51x41") from None
    return columns, rows


def _draw(path: os.PathLike, picture: str) -> None:
    from landscape.plots import compare
    from landscape.surface import read_surface

    found = read_surface(path)
    figure = compare({"": (found.x, found.y, found.loss)})
    try:
        figure.savefig(picture, bbox_inches="tight", dpi=200)
    except (OSError, ValueError) as error:
        raise RequestError(f"picture: {picture} cannot be written ({error})") from error


def summary(path: os.PathLike, picture: str | None = None) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    import numpy as np

    from landscape.surface import read_surface

    found = read_surface(path)
    finite = found.loss[np.isfinite(found.loss)]
    centre = found.loss[np.ix_(found.y == 0, found.x == 0)].ravel()
    data = {
        "file": os.fspath(path),
        "points": int(found.done.sum()),
        "grid": [len(found.x), len(found.y)],
        "examples": found.attributes["examples"],
        "centre": float(centre[0]) if len(centre) else None,
        "minimum": float(finite.min()) if len(finite) else None,
        "maximum": float(finite.max()) if len(finite) else None,
        "not_finite": int((found.done & ~np.isfinite(found.loss)).sum()),
        "cosine": found.cosine,
        "lengths": list(found.lengths),
    }

    def show(console: Any) -> None:
        bold = common.grid("Loss surface", ("quantity", "value"), [
            ["points", f"{data['grid'][0]} x {data['grid'][1]}, {data['points']} done"],
            ["loss at the centre", _number(data["centre"])],
            ["smallest, largest loss", f"{_number(data['minimum'])}, {_number(data['maximum'])}"],
            ["points with a loss that is not finite", str(data["not_finite"])],
            ["cosine of the two directions", f"{found.cosine:.4f}"],
            ["their lengths / ‖w‖", ", ".join(f"{length:.4f}" for length in found.lengths)],
        ])  # fmt: skip
        console.print(bold)
        console.print(f"written to {path}" + (f", drawn in {picture}" if picture else ""))

    return common.Outcome(data, show)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
