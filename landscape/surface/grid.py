"""The loss over a plane through the parameters, point by point, resumable."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from landscape import parameters, results
from landscape.errors import RequestError
from landscape.objective import Objective
from landscape.parameters import Tree
from landscape.surface.directions import cosine

# Names as in the surface files of Li et al.
_STORED = {"loss": "train_loss", "accuracy": "train_acc"}


@dataclass(frozen=True)
class Surface:
    """Metrics on a grid ``params + x * direction_x + y * direction_y``.

    Attributes
    ----------
    x, y
        Coordinates, shapes (nx,) and (ny,), in units of the directions.
    metrics
        ``{name: (ny, nx)}`` float64; NaN where not computed yet. A diverged loss is stored as it
        came out (inf or NaN), see ``done``.
    done
        (ny, nx) booleans: which points were evaluated.
    cosine
        Cosine of the angle between the two directions.
    lengths
        Norm of each direction in units of the norm of the parameters.
    attributes
        Provenance, if the surface was stored.
    """

    x: np.ndarray
    y: np.ndarray
    metrics: dict[str, np.ndarray]
    done: np.ndarray
    cosine: float
    lengths: tuple[float, float]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> np.ndarray:
        return self.metrics["loss"]


def coordinates(low: float, high: float, points: int) -> np.ndarray:
    """``points`` equally spaced coordinates from ``low`` to ``high``, with an exact zero.

    Raises
    ------
    RequestError
        If the range is empty or there are fewer than 2 points.
    """
    if points < 2 or not low < high:
        raise RequestError(f"grid: {points} points from {low} to {high} are no grid; use 2 or more")
    values = np.linspace(low, high, points)
    values[np.abs(values) < 1e-12 * (high - low)] = 0.0
    return values


def compute_surface(
    objective: Objective,
    directions: Sequence[Tree],
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    *,
    out: str | os.PathLike | None = None,
    request: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    progress: Callable[[], object] | None = None,
) -> Surface:
    """Evaluate the objective's loss and metrics on a grid.

    Parameters
    ----------
    objective
        Loss, parameters, data. The centre of the grid is ``objective.params``.
    directions
        Two trees like the parameters, from :func:`random_direction` or anywhere else.
    x, y
        Coordinates along the first and second direction; any spacing and any lengths.
    out
        Result file. Points are kept as they are finished: after a kill the same call goes on.
        The directions are stored in it under ``directions/{x,y}/<parameter name>``.
    request, origin
        What else identifies the computation, and provenance, for the file.
    progress
        Called after each point that was computed.

    Returns
    -------
    Surface
        Every metric has shape (ny, nx).

    Raises
    ------
    RequestError
        If a direction does not fit the parameters, or ``out`` holds a different surface.

    References
    ----------
    Li et al., arXiv:1712.09913; Goodfellow, Vinyals, Saxe, arXiv:1412.6544.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from landscape import Objective
    >>> def loss(w, batch):
    ...     return 0.5 * (w[0] ** 2 + 3 * w[1] ** 2) * batch
    >>> bowl = Objective(loss, jnp.zeros(2), [jnp.ones(1)])
    >>> plane = (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    >>> compute_surface(bowl, plane, [-1.0, 0.0, 1.0], [0.0, 1.0]).loss.tolist()
    [[0.5, 0.0, 0.5], [2.0, 1.5, 2.0]]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    for axis, direction in zip("xy", directions, strict=True):
        if jax.tree.structure(direction) != jax.tree.structure(objective.params):
            raise RequestError(f"directions: the {axis} direction is no tree like the parameters")
    length = float(parameters.norm(objective.params))
    lengths = tuple(float(parameters.norm(d)) / length if length else np.inf for d in directions)
    angle = cosine(*directions)

    def evaluate(column: int, row: int) -> dict[str, float]:
        return objective.evaluate(_displaced(objective.params, *directions, x[column], y[row]))

    shape, names = (len(y), len(x)), list(objective.evaluate())
    if out is None:
        metrics = {name: np.full(shape, np.nan) for name in names}
        done = np.zeros(shape, bool)
        for row, column in np.ndindex(shape):
            for name, value in evaluate(column, row).items():
                metrics[name][row, column] = value
            done[row, column] = True
            if progress is not None:
                progress()
        return Surface(x, y, metrics, done, angle, lengths)

    axes = ("ycoordinates", "xcoordinates")
    described = {
        **objective.describe(),
        "directions": [parameters.content_hash(d) for d in directions],
    }
    with results.ResultFile(
        out,
        "surface",
        request={**described, "x": x.tolist(), "y": y.tolist(), **(request or {})},
        fields={_STORED.get(name, name): results.Field(shape, dims=axes) for name in names},
        done=shape,
        constants={
            "xcoordinates": x,
            "ycoordinates": y,
            **{
                f"directions/{axis}/{name}": np.asarray(leaf)
                for axis, direction in zip("xy", directions, strict=True)
                for name, leaf in parameters.named_leaves(direction).items()
            },
        },
        origin={
            **(origin or {}),
            **described,
            "cosine": angle,
            "length_x": lengths[0],
            "length_y": lengths[1],
        },
    ) as file:
        for row, column in np.argwhere(~file.done):
            values = evaluate(column, row)
            stored = {_STORED.get(name, name): value for name, value in values.items()}
            file.write((row, column), **stored)
            if progress is not None:
                progress()
    return read_surface(out)


def read_surface(path: str | os.PathLike) -> Surface:
    """Read a stored surface, finished or not.

    Raises
    ------
    RequestError
        If the file is missing, damaged, or not a surface.
    """
    stored = results.read(path, "surface")
    plain = {v: k for k, v in _STORED.items()}
    shape = stored["done"].shape
    return Surface(
        x=stored["xcoordinates"],
        y=stored["ycoordinates"],
        metrics={
            plain.get(name, name): values
            for name, values in stored.data.items()
            if values.shape == shape and name != "done" and not name.startswith("directions/")
        },
        done=stored["done"].astype(bool),
        cosine=stored.attributes["cosine"],
        lengths=(stored.attributes["length_x"], stored.attributes["length_y"]),
        attributes=stored.attributes,
    )


@jax.jit
def _displaced(params: Tree, dx: Tree, dy: Tree, x: jax.Array, y: jax.Array) -> Tree:
    return parameters.add_scaled(parameters.add_scaled(params, x, dx), y, dy)
