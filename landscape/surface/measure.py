"""What is measured at a point of a surface, and the devices it is measured on."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax
import numpy as np
from jax.sharding import Mesh

from landscape import parameters
from landscape.curvature import extremes
from landscape.devices import place, replicated, split
from landscape.errors import NotFinite, RequestError, check_choice
from landscape.objective import Objective
from landscape.objective.points import Points
from landscape.parameters import Tree

BatchNorm = Literal["frozen", "re-estimated"]

# As in the surface files of Li et al., whose accuracies are in percent.
_PERCENT = {
    "accuracy": "acc",
    "accuracy_population_error": "acc_population_error",
    "accuracy_split_error": "acc_split_error",
}


@dataclass(frozen=True)
class Measures:
    """What to measure beside the loss and the objective's metrics.

    Attributes
    ----------
    gradient_norm
        The norm of the gradient: a forward and a backward pass instead of a forward pass.
    lambda_max
        Certify the largest Hessian eigenvalue of the first objective to this relative width:
        ``max_eig`` with its bounds ``max_eig_low`` and ``max_eig_high``, and whether it converged
        (``max_eig_converged``, 1 or 0); NaN where the loss or a product is not finite. None leaves
        it out. Some twenty to sixty forward passes a point.
    confidence
        Of the bounds on λmax, at each point by itself.
    batchnorm
        ``"frozen"``: the running statistics of the checkpoint everywhere. ``"re-estimated"``: those
        of the displaced network, over the first objective's batches (Garipov et al.,
        arXiv:1802.10026, Appendix A).
    """

    gradient_norm: bool = False
    lambda_max: float | None = None
    batchnorm: BatchNorm = "frozen"
    confidence: float = 0.999

    def __post_init__(self):
        check_choice("batchnorm", self.batchnorm, get_args(BatchNorm))

    def describe(self) -> dict[str, Any]:
        return {
            "gradient_norm": self.gradient_norm,
            "lambda_max": self.lambda_max,
            "batchnorm": self.batchnorm,
            **({} if self.lambda_max is None else {"confidence": self.confidence}),
        }


@dataclass
class Measurement:
    """Evaluates points ``params + coordinates . directions`` one after the other, started ahead.

    Parameters
    ----------
    objectives
        ``{"train": objective, ...}`` at the same parameters.
    directions
        Trees like the parameters.
    measures
        What is measured.
    mesh
        Devices over which points are spread, each with all data; None for the objectives' own.

    Raises
    ------
    RequestError
        If what is asked for cannot be had of these objectives.
    """

    objectives: Mapping[str, Objective]
    directions: Sequence[Tree]
    measures: Measures
    mesh: Mesh | None
    _points: dict[str, Points] = field(init=False)

    def __post_init__(self):
        first = next(iter(self.objectives.values()))
        wanted = self.measures
        if wanted.batchnorm == "re-estimated" and not first.can_estimate_state:
            raise RequestError(
                "batchnorm: the network keeps no running statistics, there is nothing to "
                "re-estimate; use frozen"
            )
        if wanted.lambda_max is not None and self.mesh is not None:
            raise RequestError(
                "lambda_max: its products divide the examples among the devices; do not spread "
                "the points"
            )
        self._points = {
            name: Points(objective, mesh=self.mesh, gradient=wanted.gradient_norm)
            for name, objective in self.objectives.items()
        }
        inputs = (first.params, tuple(self.directions))
        self._centre, self._directions = (
            inputs if self.mesh is None else place(inputs, replicated(self.mesh))
        )
        self._displace = _displacement(self.mesh)

    @property
    def at_once(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    def centre(self) -> dict[str, float]:
        """The metrics at the checkpoint itself, which need not be a point of the grid."""
        return next(self.along([[0.0] * len(self.directions)]))[0]

    def along(self, points: Sequence[Sequence[float]]) -> Iterator[list[dict[str, float]]]:
        """The metrics of points, in groups of at most :attr:`at_once`.

        The next group is on the devices before the last one is read.
        """
        started = None
        for start in range(0, len(points), self.at_once):
            group = list(points[start : start + self.at_once])
            following = (len(group), self._start(group))
            if started is not None:
                yield self._read(*started)
            started = following
        if started is not None:
            yield self._read(*started)

    def _start(self, group: list) -> tuple[Tree, dict[str, Any]]:
        padded = np.array(group + group[-1:] * (self.at_once - len(group)), float)
        where = padded[0] if self.mesh is None else place(padded, split(self.mesh))
        params = self._displace(self._centre, self._directions, where)
        state = None
        if self.measures.batchnorm == "re-estimated":
            state = next(iter(self._points.values())).estimate(params)
        started = {name: points.start(params, state) for name, points in self._points.items()}
        return (params, state), started

    def _read(self, count: int, started: tuple) -> list[dict[str, float]]:
        (params, state), sums = started
        found: list[dict[str, float]] = [{} for _ in range(count)]
        for name, points in self._points.items():
            for metrics, values in zip(found, points.read(sums[name]), strict=False):
                for metric, value in values.items():
                    percent = 100.0 if metric in _PERCENT else 1.0
                    metrics[f"{name}_{_PERCENT.get(metric, metric)}"] = percent * value
        if self.measures.lambda_max is not None:
            found[0] |= self._sharpness(params, state, found[0])
        return found

    def _sharpness(self, params: Tree, state: Tree, found: Mapping[str, float]) -> dict[str, float]:
        name, objective = next(iter(self.objectives.items()))
        names = ("max_eig", "max_eig_low", "max_eig_high", "max_eig_converged")
        if not np.isfinite(found[f"{name}_loss"]):
            return dict.fromkeys(names, np.nan)
        try:
            objective = objective.with_params(params)
            if state is not None:
                objective = objective.with_state(state)
            width, confidence = self.measures.lambda_max, self.measures.confidence
            top = extremes(objective, width=width, confidence=confidence, ends="max").lambda_max
        except NotFinite:  # the loss overflows next to the point; all else ends the surface
            return dict.fromkeys(names, np.nan)
        values = (top.estimate, top.lower, top.upper, float(top.converged))
        return dict(zip(names, values, strict=True))


@functools.lru_cache(maxsize=8)
def _displacement(mesh: Mesh | None) -> Callable[[Tree, tuple[Tree, ...], jax.Array], Tree]:
    if mesh is None:
        return jax.jit(_displaced)
    return jax.jit(jax.vmap(_displaced, (None, None, 0)), out_shardings=split(mesh))


def _displaced(params: Tree, directions: tuple[Tree, ...], where: jax.Array) -> Tree:
    for position, direction in enumerate(directions):
        params = parameters.add_scaled(params, where[position], direction)
    return params
