"""Directions from derivatives: the gradient, what SAM follows, and Hessian eigenvectors."""

from collections.abc import Callable

import jax

from landscape import parameters
from landscape.curvature import eigenpairs, panel
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import Tree


def gradient_direction(objective: Objective) -> Tree:
    """The gradient at the parameters, of unit length: where SAM looks for its worst neighbour.

    Raises
    ------
    RequestError
        If the gradient is zero or not finite.
    """
    return _unit(objective.gradient(), objective.params, "gradient")


def sam_direction(objective: Objective, rho: float) -> Tree:
    """The direction against which SAM steps: the gradient at its worst neighbour, unit length.

    Parameters
    ----------
    objective
        The whole data set takes the place of a batch.
    rho
        Distance of the worst neighbour ``params + rho * gradient / ||gradient||``.

    References
    ----------
    Foret et al., Sharpness-aware minimization, arXiv:2010.01412.
    """
    if not rho > 0:
        raise RequestError(f"rho: {rho:g} is no distance; use a positive one such as 0.05")
    up = gradient_direction(objective)
    there = parameters.add_scaled(objective.params, rho, up)
    return _unit(objective.gradient(there), objective.params, "SAM gradient")


def eigenvector_directions(
    objective: Objective,
    count: int,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> tuple[list[Tree], list[float], list[float]]:
    """Unit eigenvectors of the largest Hessian eigenvalues.

    Along the i-th the loss is ``loss + slope x + eigenvalue/2 x^2`` near the parameters.

    Returns
    -------
    tuple
        The vectors, their eigenvalues (descending) and residual norms.

    Raises
    ------
    RequestError
        If the iteration does not converge.
    """
    found = eigenpairs(
        objective, count, tolerance=tolerance, seed=seed, progress=progress, journal=journal
    )
    if not found.converged or len(found.values) < count:
        raise RequestError(
            f"direction: the {count} largest eigenvectors did not converge in {found.products} "
            "products; use fewer of them"
        )
    vectors = [
        jax.tree.map(lambda v, p: v.astype(p.dtype), panel.take(found.vectors, i), objective.params)
        for i in range(count)
    ]
    return vectors, found.values.tolist(), found.residuals.tolist()


def _unit(tree: Tree, like: Tree, what: str) -> Tree:
    length = float(parameters.norm(tree))
    if not 0 < length < float("inf"):
        raise RequestError(f"direction: the {what} has norm {length:g}; choose another direction")
    return jax.tree.map(lambda t, p: t.astype(p.dtype), parameters.unit(tree), like)
