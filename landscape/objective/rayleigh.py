"""Quadratic forms of the curvature matrix by forward differentiation, and Rayleigh quotients."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from landscape.devices import gathered
from landscape.errors import RequestError
from landscape.objective.float64 import NoFloat64
from landscape.parameters import Tree

if TYPE_CHECKING:
    from landscape.objective.objective import Objective


class RayleighQuotient(NamedTuple):
    """A Rayleigh quotient and the size of its rounding error.

    NaN where there is none, infinite where its evaluation was not finite.
    """

    value: float
    error: float


def quadratic_forms(
    objective: "Objective", vector: Tree, *, only: int | None = None, float64: bool = False
) -> Iterator[np.ndarray]:
    """``v'A_n v`` without the L2 term, of each micro-batch's examples (B,), or of one of them.

    With ``float64`` every operation is carried out in it.
    """
    step = dataclasses.replace(objective._step("form"), float64=float64)
    for position, micro in enumerate(objective._data):
        if only not in (None, position):
            continue
        inputs = (objective.params, objective._fixed, vector, objective._scalar(1.0))
        program = step.program(*inputs, micro)
        with jax.enable_x64(True) if float64 else contextlib.nullcontext():
            values = program(*inputs, micro.batch, micro.mask)
        yield gathered(values)[: micro.examples].astype(np.float64)


def rayleigh_quotient(objective: "Objective", vector: Tree) -> RayleighQuotient:
    """See :meth:`landscape.Objective.rayleigh_quotient`; of a whole objective, not a block."""
    try:
        forms = list(quadratic_forms(objective, vector))
    except RequestError:  # no memory, or no second forward derivative: it cannot be had
        return RayleighQuotient(float("nan"), float("nan"))
    sizes = [float(np.abs(part).sum()) for part in forms]
    if not np.isfinite(sizes).all():
        return RayleighQuotient(float("inf"), 0.0)
    shares = []
    # The second, since the data of one may happen to be exact in the network's precision.
    for position in np.argsort(sizes)[::-1][:2]:
        try:
            (precise,) = quadratic_forms(objective, vector, only=int(position), float64=True)
        except (NoFloat64, RequestError, TypeError, ValueError):
            break  # tracing it anew in another precision fails in ways of each operation
        if not np.isfinite(precise).all():
            break
        error = float(np.abs(precise - forms[position]).sum())
        larger = max(sizes[position], float(np.abs(precise).sum()))
        shares.append(error / larger if error else 0.0)
        sizes[position], forms[position] = 0.0, precise
    if not shares:
        first = next(iter(objective._data))
        inputs = (objective.params, objective._fixed, None, objective._scalar(1.0))
        shares = [10 * objective._step("loss").epsilon(*inputs, first)]
    share = max(shares)
    leaves = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(vector))
    scale = sum(map(len, forms)) * sum(float(np.vdot(leaf, leaf)) for leaf in leaves)
    total = sum(float(part.sum()) for part in forms)
    return RayleighQuotient(total / scale + objective.l2, share * sum(sizes) / scale)
