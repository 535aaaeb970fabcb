"""A surface in memory, and how it is read back from its file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from landscape import parameters, results
from landscape.errors import RequestError
from landscape.parameters import Tree

DIRECTIONS = "directions"  # the group of them in a file: as large as the network


@dataclass(frozen=True)
class Surface:
    """Metrics on a grid ``params + x * direction_x + y * direction_y``, or on a line.

    Attributes
    ----------
    x, y
        Coordinates, shapes (nx,) and (ny,), in units of the directions; ``y`` is None on a line.
    metrics
        ``{name: (ny, nx)}`` float64, on a line (nx,); NaN where not computed yet. A diverged loss
        is stored as it came out (inf or NaN), see ``done``. Names as in the surface files of Li et
        al.: ``train_loss``, ``test_loss``, and ``train_acc``, ``test_acc`` in percent. Each has two
        standard errors: ``train_loss_population_error``, over the drawing of the examples from
        all there could be, and ``train_loss_split_error``, over the drawing from the split they
        are a part of, where its size is recorded; see :class:`landscape.objective.points.Points`.
    done
        Booleans of the same shape: which points hold values.
    interpolated
        Which of those values were interpolated by adaptive refinement rather than evaluated.
    cosine
        Cosine of the angle between the two directions; NaN on a line.
    lengths
        Norm of each direction in units of the norm of the parameters.
    markers
        Places of other checkpoints in the plane: ``{name: coordinates}``.
    path
        (steps, 2) the projected path of a training trajectory, or None.
    attributes
        Provenance, if the surface was stored.
    """

    x: np.ndarray
    y: np.ndarray | None
    metrics: dict[str, np.ndarray]
    done: np.ndarray
    interpolated: np.ndarray
    cosine: float
    lengths: tuple[float, ...]
    markers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    path: np.ndarray | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> np.ndarray:
        """That of the first data asked for."""
        return self.metrics[self.loss_name]

    @property
    def loss_name(self) -> str:
        return next(name for name in self.metrics if name.endswith("_loss"))

    def metric(self, name: str | None = None) -> np.ndarray:
        """The values of one metric, by default the loss.

        Raises
        ------
        RequestError
            If there is no such metric.
        """
        if name is None:
            return self.loss
        if name not in self.metrics:
            raise RequestError(f"metric: there is no {name!r}; use {', '.join(self.metrics)}")
        return self.metrics[name]

    @property
    def axes_names(self) -> tuple[str, str]:
        """What the two directions are, from the request stored with the surface."""
        said = self.attributes.get("directions")
        said = said if isinstance(said, dict) else {}
        specs = [str(said.get(axis, "random")).partition(":")[::2] for axis in "xy"]
        ends = [Path(argument).name for kind, argument in specs if kind == "to"]
        found = []
        for place, (kind, argument) in enumerate(specs, 1):
            end = Path(argument).name
            names = {
                "random": f"direction {place}",
                "gradient": "along the gradient",
                "sam": "along SAM's gradient",
                "eigenvector": f"eigenvector {argument or 1}",
                "pca": f"component {argument or 1}",
                "to": f"towards {end if ends.count(end) == 1 else argument}",
            }
            found.append(names.get(kind, f"direction {place}"))
        return found[0], found[1]

    @property
    def is_line(self) -> bool:
        return self.y is None


def read_surface(path: str | os.PathLike) -> Surface:
    """Read a stored surface, finished or not, without its directions.

    Raises
    ------
    RequestError
        If the file is missing, damaged, or not a surface.
    """
    stored = results.read(path, "surface", without=[DIRECTIONS])
    fault = _fault(stored)
    if fault:
        raise RequestError(f"surface: {path} is damaged ({fault}); move it away and run again")
    done, path = stored["done"].astype(bool), stored.group("path")
    return Surface(
        x=stored["xcoordinates"],
        y=stored.data.get("ycoordinates"),
        metrics={name: stored[name] for name in stored.attributes["metrics"]},
        done=done,
        interpolated=stored["interpolated"].astype(bool),
        cosine=float(stored.attributes["cosine"]),
        lengths=lengths_of(stored.attributes),
        markers={k: tuple(v) for k, v in stored.attributes.get("markers", {}).items()},
        path=np.stack([path[axis] for axis in "xy"], 1) if path else None,
        attributes=stored.attributes,
    )


def _fault(stored: results.Stored) -> str:
    """What a surface lacks of being one; nothing where it is."""
    data, has, shape = stored.data, stored.attributes, stored["done"].shape
    names = has.get("metrics")
    if not isinstance(names, list) or not any(str(name).endswith("_loss") for name in names):
        return "metrics names no loss"
    axes = ("xcoordinates", "ycoordinates")[: len(shape)]
    if not 1 <= len(shape) <= 2 or (len(shape) == 1 and "ycoordinates" in data) or 0 in shape:
        return f"done has shape {shape}"
    expected = dict.fromkeys([*map(str, names), "interpolated"], shape)
    expected |= {axis: (length,) for axis, length in zip(axes, reversed(shape), strict=True)}
    for name, wanted in expected.items():
        found = data.get(name)
        if found is None or found.dtype.kind not in "biuf" or found.shape != wanted:
            return f"{name[:60]!r} is no numbers of shape {wanted}"
    if not all(np.isfinite(data[axis]).all() for axis in axes):
        return "its coordinates are not finite"
    path = {axis: values.shape for axis, values in stored.group("path").items()}
    if path and (path.keys() != set("xy") or path["x"] != path["y"] or len(path["x"]) != 1):
        return "its path is no places of a plane"
    markers, explained = has.get("markers", {}), has.get("explained") or []
    places = [*markers.values()] if isinstance(markers, dict) else [None]
    if not all(_are_numbers(place, len(shape)) for place in places):
        return "its markers are no places of it"
    numbers = [has.get(name, 0.0) for name in ("length_x", "length_y")]
    if not _are_numbers([has.get("cosine"), *numbers], 3) or not _are_numbers(explained):
        return "its directions are not described by numbers"
    return ""


def _are_numbers(values: Any, count: int | None = None) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == (len(values) if count is None else count)
        and all(
            isinstance(value, float) or (isinstance(value, int) and abs(value) < 1e300)
            for value in values
        )
    )


def lengths_of(attributes: Mapping[str, Any]) -> tuple[float, ...]:
    """The directions' lengths among a file's attributes."""
    names = [name for name in ("length_x", "length_y") if name in attributes]
    return tuple(float(attributes[name]) for name in names)


def read_directions(path: str | os.PathLike, like: Tree) -> list[Tree]:
    """The directions a surface file holds, as trees like the parameters.

    Raises
    ------
    RequestError
        If the file has none, or they do not fit.
    """
    stored = results.read(path, "surface")
    names, found = parameters.leaf_names(like), []
    for axis in "xy":
        leaves = stored.group(f"{DIRECTIONS}/{axis}")
        if not leaves:
            continue
        wrong = [n for n, leaf in parameters.named_leaves(like).items()
                 if n not in leaves or leaves[n].shape != np.shape(leaf)
                 or leaves[n].dtype.kind != "f"]  # fmt: skip
        if wrong or leaves.keys() - set(names):
            raise RequestError(
                f"directions: those of {path} are of another network "
                f"({wrong[0] if wrong else 'it has more parameters'}); use its checkpoint"
            )
        found.append(parameters.placed_like([leaves[name] for name in names], like))
    if not found:
        raise RequestError(f"directions: {path} holds none; use a file that `surface` has written")
    return found
