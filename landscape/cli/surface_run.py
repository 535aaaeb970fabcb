"""``surface``: from a request to a finished result file."""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from landscape.cli import common, subject, surface_pictures
from landscape.cli.surface_plane import Directions
from landscape.errors import RequestError
from landscape.progress import MakeBar

_BYTES_OF_A_POINT = 256  # in a result: some thirty numbers


def compute(options: Any, make_bar: MakeBar) -> list[Path]:
    """The surface of a checkpoint; returns its result file."""
    return [_compute(options, make_bar)[0]]


def along_training(options: Any, make_bar: MakeBar) -> list[Path]:
    """A surface for every saved step of a run, along the directions of the last one.

    Raises
    ------
    RequestError
        If the checkpoint is no run folder, or has no complete step.
    """
    from landscape import checkpoints
    from landscape.checkpoints import native

    folder, last = checkpoints.located(options.checkpoint or "")
    if not options.checkpoint or not folder.is_dir():
        raise RequestError("along_training: it needs the steps of a run; use --checkpoint FOLDER")
    steps = [step for step in native.steps(folder) if last is None or step <= last]
    if not steps:
        native.existing_step(folder, last)  # says what is missing
    base = Path(options.out or folder / "surface.h5")

    def at(step: int) -> Any:
        out = base.with_stem(f"{base.stem}-{step}")
        return dataclasses.replace(options, checkpoint=f"{folder}@{step}", out=str(out))

    path, plane, ranges = _compute(at(steps[-1]), make_bar)
    identity = {"of_step": steps[-1], **plane.identity}
    fixed = dataclasses.replace(plane, identity=identity, markers={}, path=None, explained=None)
    earlier = [_compute(at(step), make_bar, fixed, ranges)[0] for step in steps[:-1]]
    return [*earlier, path]


def _compute(options: Any, make_bar: MakeBar, plane: Any = None, ranges: Any = None) -> tuple:
    """One surface: its file, its plane and the ranges of its coordinates."""
    from landscape import results
    from landscape.devices import data_mesh
    from landscape.surface import Measures, compute_surface, coordinates, read_surface

    directions = Directions(options)
    points = _grid(options.grid, len(directions.specs))
    if options.picture and options.metric and len(points) == 1:
        raise RequestError(surface_pictures.NO_METRIC_OF_LINES)
    asked = _ranges(options.range, len(points))
    measures = Measures(options.gradient_norm, options.lambda_max, options.batchnorm)
    divide = options.spread == "images" or options.lambda_max is not None
    loaded = None if options.objective else subject.load(options)
    path = subject.result_path(options, loaded, "surface")
    objectives = {options.split: subject.objective(options, loaded, divide=divide)}
    if options.both_splits:
        other = "test" if options.split == "train" else "train"
        objectives[other] = subject.held_out_objective(options, loaded, divide=divide)
    objective, layout = objectives[options.split], loaded and loaded.layout
    if plane is None:
        plane = _plane(directions, objective, layout, path, make_bar)
    ranges = asked or ranges or directions.default_range(plane, points)
    axes = [coordinates(*ends, count) for ends, count in zip(ranges, points, strict=True)]
    mesh = data_mesh(options.devices) if options.devices > 1 and not divide else None
    settings = {"normalization": options.normalize, "seed": options.seed}
    left = math.prod(map(len, axes))
    if path.exists():
        left -= int(read_surface(path).done.sum())
    with make_bar("surface", max(left, 1)) as advance:
        compute_surface(
            objectives,
            plane,
            *axes,
            measures=measures,
            metric=options.metric,
            adaptive=options.adaptive,
            mesh=mesh,
            out=path,
            labels=loaded and loaded.split.labels,
            origin=results.provenance(**settings, command=common.command_line("surface", options)),
            progress=advance,
        )
    if options.li_directions is not None:
        from landscape.surface.li_files import write_li_directions

        write_li_directions(options.li_directions, plane.directions, layout)
    return path, plane, ranges


def _plane(directions: Directions, objective: Any, layout: Any, path: Path, make_bar: MakeBar):
    """The plane asked for; from the result file if that is there already."""
    from landscape.journal import Journal
    from landscape.surface import Plane, read_directions, read_surface

    identity = directions.identity()
    if path.exists():
        kept = read_surface(path)
        found = kept.attributes.get("directions")
        if found != identity:
            raise RequestError(
                f"result: {path} was made with the directions {found!s:.200}, this request has "
                f"{identity}; use another --out or move the file away"
            )
        explained = kept.attributes.get("explained")
        made = tuple(read_directions(path, objective.params))
        return Plane(made, identity, kept.markers, kept.path, explained and tuple(explained))
    if not directions.takes_long:
        return directions.plane(objective, layout, make_bar, Journal())
    request = {**identity, "objective": objective.describe()}
    journal = Journal.of_request(path.with_name(f"{path.name}.partial"), request)
    made = directions.plane(objective, layout, make_bar, journal)
    journal.discard()
    return made


def _grid(text: str, axes: int) -> list[int]:
    """Points of each axis, at least 2, and altogether as many as there is memory for."""
    from landscape.host import available_memory

    parts = text.lower().split("x")
    if len(parts) > 2 or not all(re.fullmatch("[0-9]{1,12}", part) for part in parts):
        raise RequestError(f"grid: {text!r:.60} is no grid; write 51 or 51x41")
    points = [int(part) for part in (parts if len(parts) == 2 else parts * 2)][:axes]
    if min(points) < 2:
        raise RequestError(f"grid: {text} has an axis of {min(points)} points; use 2 or more")
    needed, free = math.prod(points) * _BYTES_OF_A_POINT, available_memory()
    if free is not None and needed > free:
        raise RequestError(
            f"grid: {math.prod(points):,} points need {needed / 1e9:,.1f} GB of memory, "
            f"{free / 1e9:,.1f} GB are free; take fewer"
        )
    return points


def _ranges(text: str | None, axes: int) -> list[tuple[float, float]] | None:
    """``"1"``, ``"-0.5:1.5"``, ``"-1:1,0:2"``."""
    if text is None:
        return None
    try:
        found = []
        for part in text.split(","):
            ends = [float(end) for end in part.split(":")]
            low, high = ends if len(ends) == 2 else (-ends[0], ends[0])
            found.append((low, high))
        if len(found) not in (1, axes) or (":" not in text and len(ends) > 1):
            raise ValueError
    except ValueError:
        raise RequestError(
            f"range: {text!r:.60} is no range; write 1, --range=-0.5:1.5 or --range=-1:1,0:2"
        ) from None
    for low, high in found:
        if not (low < high and math.isfinite(high - low)):
            raise RequestError(f"range: from {low:g} to {high:g} there is no range; write LOW:HIGH")
    return found * axes if len(found) == 1 else found
