"""The plane in which a training trajectory moves most: principal components of its checkpoints."""

from collections.abc import Sequence

import jax
import numpy as np

from landscape import parameters
from landscape.errors import RequestError
from landscape.parameters import Tree
from landscape.surface.plane import Plane, check_like


def principal_plane(
    params: Tree, trajectory: Sequence[Tree], *, components: int = 2, ignore=None
) -> Plane:
    """The plane of the largest variance of a trajectory, with the projected path.

    Principal components of the differences between the checkpoints and ``params``, from the Gram
    matrix of the checkpoints: the only large arrays are the checkpoints themselves.

    Parameters
    ----------
    params
        The parameters the plane goes through, usually the last of the trajectory.
    trajectory
        Checkpoints in the order of training, at least ``components + 1``; all are in memory.
    components
        1 for a line, 2 for a plane.
    ignore
        ``ignore(name, leaf) -> bool``: leaves that are left out (biases, say); by default none.

    Returns
    -------
    Plane
        Unit directions, mutually orthogonal; ``path`` holds the coordinates of every checkpoint
        and ``explained`` the fraction of the variance along each direction. The losses of the path
        lie above those of the plane: the path itself is not in it.

    Raises
    ------
    RequestError
        If there are too few checkpoints, they do not fit the parameters, or do not move.

    References
    ----------
    Li et al., arXiv:1712.09913, Section 7.
    """
    if len(trajectory) < components + 1:
        raise RequestError(
            f"trajectory: {len(trajectory)} checkpoints span no {components} directions; keep more "
            "steps while training"
        )
    for tree in trajectory:
        check_like(tree, params, "trajectory")
    count = len(trajectory)
    names = list(parameters.named_leaves(params))
    origin = parameters.named_leaves(params)
    rows = [parameters.named_leaves(tree) for tree in trajectory]
    used = [name for name in names if ignore is None or not ignore(name, origin[name])]

    def differences(name: str) -> np.ndarray:
        start = np.asarray(origin[name], np.float64).ravel()
        return np.stack([np.asarray(row[name], np.float64).ravel() - start for row in rows])

    gram = np.zeros((count, count))
    for name in used:
        moved = differences(name)
        moved -= moved.mean(0)
        gram += moved @ moved.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    if not values[-1] > 1e-10 * np.trace(gram):
        raise RequestError("trajectory: it moves along fewer directions; use more, other steps")
    weights = vectors / np.sqrt(values)  # of the centred differences, for unit directions
    weights -= weights.mean(0)
    leaves, path = [], np.zeros((count, components))
    for name in names:
        shape = np.shape(origin[name])
        if name not in used:
            leaves.append(np.zeros((components, *shape)))
            continue
        moved = differences(name)
        along = weights.T @ moved
        path += moved @ along.T
        leaves.append(along.reshape(components, *shape))
    directions = tuple(
        parameters.placed_like(
            [leaf[c].astype(origin[name].dtype) for leaf, name in zip(leaves, names, strict=True)],
            jax.tree.map(jax.numpy.asarray, params),
        )
        for c in range(components)
    )
    explained = tuple(float(value / np.trace(gram)) for value in values)
    return Plane(directions, path=path, explained=explained)
