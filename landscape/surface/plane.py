"""A plane or a line through parameters: its directions, how long they are, and what lies in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from landscape import parameters
from landscape.errors import RequestError
from landscape.parameters import Tree


@dataclass(frozen=True)
class Plane:
    """One or two directions from the parameters, and places of interest in their plane.

    Attributes
    ----------
    directions
        Trees like the parameters: one for a line, two for a plane.
    identity
        How they came about, for the result file: a file made with another identity is refused.
        Without one the directions' own values identify them.
    markers
        Places of other checkpoints: ``{name: coordinates}``.
    path
        (steps, directions) coordinates of a training trajectory's projection, or None.
    explained
        Fraction of the trajectory's variance along each direction, or None.
    """

    directions: tuple[Tree, ...]
    identity: Mapping[str, Any] = field(default_factory=dict)
    markers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    path: np.ndarray | None = None
    explained: tuple[float, ...] | None = None


def cosine(a: Tree, b: Tree) -> float:
    """Cosine of the angle between two directions; in high dimensions near zero for random ones."""
    return float(parameters.dot(parameters.unit(a), parameters.unit(b)))


def relative_lengths(directions: Sequence[Tree], params: Tree) -> tuple[float, ...]:
    """Norm of each direction in units of the norm of the parameters."""
    length = float(parameters.norm(params))
    return tuple(float(parameters.norm(d)) / length if length else np.inf for d in directions)


def orthogonal(direction: Tree, to: Tree) -> Tree:
    """What is left of a direction after its part along another is taken off.

    Raises
    ------
    RequestError
        If nothing but rounding is left.
    """
    left, along = direction, parameters.unit(to)
    for _ in range(2):  # once more, against rounding
        left = parameters.add_scaled(left, -parameters.dot(left, along), along)
    if float(parameters.norm(left)) <= 1e-4 * float(parameters.norm(direction)):
        raise RequestError("orthogonalize: the two directions are parallel; choose another one")
    return left


def difference(params: Tree, other: Tree) -> Tree:
    """The direction from ``params`` to ``other``, which lies at coordinate 1.

    Raises
    ------
    RequestError
        If the two trees differ in structure or shapes, or are equal.
    """
    check_like(other, params, "checkpoint")
    found = jax.tree.map(lambda b, a: np.asarray(b, a.dtype) - np.asarray(a), other, params)
    if not any(np.any(leaf) for leaf in jax.tree.leaves(found)):
        raise RequestError("checkpoint: the other checkpoint has the same parameters; use another")
    return parameters.placed_like(jax.tree.leaves(found), params)


def coordinates_of(tree: Tree, params: Tree, directions: Sequence[Tree]) -> tuple[float, ...]:
    """Coordinates of the point of the plane that is nearest to ``tree``."""
    offset = parameters.add_scaled(tree, -1.0, params)
    gram = np.array([[float(parameters.dot(a, b)) for b in directions] for a in directions])
    along = np.array([float(parameters.dot(offset, d)) for d in directions])
    return tuple(float(c) for c in np.linalg.solve(gram, along))


def through(params: Tree, others: Mapping[str, Tree], *, orthogonalize: bool = True) -> Plane:
    """The line through two checkpoints, or the plane through three.

    Parameters
    ----------
    params
        The first checkpoint, at the origin.
    others
        ``{name: parameters}`` of one or two more. The first lies at ``(1, 0)``; the second at
        ``(0, 1)``, or where its projections put it if ``orthogonalize`` makes the directions
        perpendicular, so that distances in the picture are distances between the parameters.
    orthogonalize
        Take the first direction off the second, as Garipov et al. do.

    References
    ----------
    Goodfellow, Vinyals, Saxe, arXiv:1412.6544; Garipov et al., arXiv:1802.10026.
    """
    if len(others) not in (1, 2):
        raise RequestError(f"checkpoints: a plane goes through 1 or 2 others, not {len(others)}")
    directions = [difference(params, other) for other in others.values()]
    if orthogonalize and len(directions) == 2:
        directions[1] = orthogonal(directions[1], directions[0])
    origin = tuple(0.0 for _ in directions)
    places = {name: coordinates_of(other, params, directions) for name, other in others.items()}
    return Plane(tuple(directions), markers={"checkpoint": origin, **places})


def check_like(tree: Tree, params: Tree, what: str) -> None:
    """Refuse a tree that has not the names and shapes of the parameters.

    Raises
    ------
    RequestError
        Naming the first difference.
    """
    found, expected = parameters.named_leaves(tree), parameters.named_leaves(params)
    for name in expected.keys() | found.keys():
        if name not in found or name not in expected:
            lacking = "has no" if name not in found else "has another parameter,"
            raise RequestError(f"{what}: it {lacking} {name!r}; use one of the same network")
        if np.shape(found[name]) != np.shape(expected[name]):
            raise RequestError(
                f"{what}: {name!r} has shape {np.shape(found[name])}, not "
                f"{np.shape(expected[name])}; use one of the same network"
            )
