"""The loss over a plane or along a line through the parameters, point by point, resumable."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from landscape import accuracy, parameters
from landscape.errors import RequestError
from landscape.objective import Objective
from landscape.parameters import Tree
from landscape.surface import order
from landscape.surface.measure import Measurement, Measures
from landscape.surface.plane import Plane, check_like
from landscape.surface.result import Surface
from landscape.surface.store import Store


def compute_surface(
    objective: Objective | Mapping[str, Objective],
    plane: Plane | Sequence[Tree],
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray | None = None,
    *,
    measures: Measures | None = None,
    metric: str | None = None,
    adaptive: float | None = None,
    mesh: Mesh | None = None,
    out: str | os.PathLike | None = None,
    labels: np.ndarray | None = None,
    request: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    progress: Callable[..., object] | None = None,
) -> Surface:
    """Evaluate the objective's loss and metrics on a grid, coarse first.

    Parameters
    ----------
    objective
        Loss, parameters, data. The origin of the grid is ``objective.params``. Or several that
        share them, evaluated together: ``{"train": objective, "test": another}``.
    plane
        A :class:`Plane`, or two trees like the parameters; one for a line.
    x, y
        Coordinates along the first and second direction; any spacing and any lengths. ``y`` is
        left out for a line.
    measures
        What is measured beside the loss and the objective's metrics, and with which BatchNorm
        statistics.
    metric
        Name of one that must be among those measured, because it will be drawn.
    adaptive
        Evaluate only where linear interpolation from half the grid was off by more than this
        fraction of the loss above its minimum; the rest is interpolated and marked as such. None
        for every point.
    mesh
        Spread the points over these devices, every one with all data; the same values as on one
        device. For objectives that have no mesh themselves.
    out
        Result file. Points are kept as they are finished: after a kill the same call goes on.
        The directions are stored in it under ``directions/{x,y}/<parameter name>``.
    labels
        Labels of the first objective's examples (N,): with them the file says whether its accuracy
        at the checkpoint is better than answering with the most frequent one.
    request, origin
        What else identifies the computation, and provenance, for the file.
    progress
        Called after each point; with ``steps=n`` where n points need not be evaluated.

    Returns
    -------
    Surface
        Every metric has shape (ny, nx), or (nx,) on a line.

    Raises
    ------
    RequestError
        If a direction does not fit the parameters, if ``out`` holds a different surface, or, before
        the grid is evaluated, if there is no such ``metric``.

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
    objectives = objective if isinstance(objective, Mapping) else {"train": objective}
    if adaptive is not None and not adaptive > 0:
        raise RequestError(f"adaptive: {adaptive:g} is no tolerance; use one such as 0.05")
    plane = plane if isinstance(plane, Plane) else Plane(tuple(plane))
    coordinates = [np.asarray(c, float) for c in ([x] if y is None else [x, y])]
    params = next(iter(objectives.values())).params
    _check(plane, params, len(coordinates))
    measures = measures or Measures()
    measurement = Measurement(objectives, plane.directions, measures, mesh)

    def describe() -> dict[str, Any]:
        first, *others = [(name, made.describe()) for name, made in objectives.items()]
        hashes = [parameters.content_hash(d) for d in plane.directions]
        return {
            **first[1],
            **({"together_with": dict(others)} if others else {}),
            **measures.describe(),
            "adaptive": adaptive,
            "directions": dict(plane.identity) or hashes,
            **{name: c.tolist() for name, c in zip("xy", coordinates, strict=False)},
            **(request or {}),
        }

    store = Store(coordinates, plane, params)
    if out is None:
        store.start(measurement.centre())
    else:
        centre, facts = functools.cache(measurement.centre), {**(origin or {}), **accuracy.UNKNOWN}
        if not os.path.exists(out):  # else it is known from there
            share = centre().get(f"{next(iter(objectives))}_acc")
            share = None if share is None else share / 100
            examples = next(iter(objectives.values())).examples
            facts |= accuracy.attributes(share, examples, labels)
        store.open(out, describe(), centre, facts)
    if metric is not None and metric not in store.metrics:
        raise RequestError(f"metric: there is no {metric!r}; use {', '.join(store.metrics)}")

    def evaluate(todo: np.ndarray) -> None:
        where = [[c[i] for c, i in zip(coordinates, reversed(t), strict=True)] for t in todo]
        finished = iter(todo)
        for group in measurement.along(where):
            for metrics in group:
                store.write(tuple(next(finished)), metrics)
                if progress is not None:
                    progress()

    order.refine(store.heights, store.done, adaptive, evaluate)
    skipped = store.interpolate_rest()
    if progress is not None and skipped:
        progress(steps=skipped)
    return store.surface()


def _check(plane: Plane, params: Tree, axes: int) -> None:
    if len(plane.directions) != axes:
        raise RequestError(
            f"directions: {len(plane.directions)} for {axes} axes of coordinates; give one "
            "direction per axis"
        )
    for axis, direction in zip("xy", plane.directions, strict=False):
        if jax.tree.structure(direction) != jax.tree.structure(params):
            raise RequestError(f"directions: the {axis} direction is no tree like the parameters")
        check_like(direction, params, f"directions: the {axis} direction")
