"""An objective at many points: losses, metrics and gradient norms, started before they are read.

A surface costs its forward passes, so the next point is started while the last one is computed,
and on a mesh every device works on a point of its own.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from landscape import parameters
from landscape.devices import gathered, place, replicated
from landscape.errors import RequestError
from landscape.objective.batches import MicroBatches
from landscape.objective.objective import Objective
from landscape.objective.passes import Fixed, sum_over_devices
from landscape.objective.spread import Spread, standard_deviation
from landscape.parameters import Tree


class Points:
    """Evaluations of one objective at one point or, on a mesh, at one point per device.

    With a mesh parameters and states come stacked: every leaf has a leading axis of ``size``
    points, divided among the devices.

    Parameters
    ----------
    objective
        Loss, metrics and data; a whole objective, not a block.
    mesh
        Devices over which the points are spread; each holds all examples. None for one point at a
        time, on the objective's own devices.
    gradient
        Whether the gradient's norm is measured as well.

    Raises
    ------
    RequestError
        If points are to be spread and the objective divides its examples among devices already.
    """

    def __init__(self, objective: Objective, *, mesh: Mesh | None = None, gradient: bool = False):
        if mesh is not None and objective.mesh is not None:
            raise RequestError("devices: spread either the points or the examples, not both")
        self.size = 1 if mesh is None else mesh.size
        self._objective = objective
        self._kind = "slope" if gradient else "moments"
        self._mesh = mesh
        self._examples = objective.examples
        split = objective.split_size
        # Drawn without replacement: the whole split leaves nothing to be uncertain of.
        self._left_out = None if split is None else 1 - self._examples / split
        self._data = objective._data
        if mesh is not None:
            self._data = MicroBatches(objective.batches, mesh, divided=False)
            self._data.read()
            state = objective.state
            self._state = jax.tree.map(lambda x: jnp.broadcast_to(x, (self.size, *x.shape)), state)

    def start(self, params: Tree, state: Tree = None) -> dict[str, Any]:
        """Start an evaluation; the values are on their way to the devices' memory.

        ``state`` is by default the objective's own.
        """
        sums = self._sums(self._kind, params, state)
        l2 = self._objective.l2
        gradient = sums.pop("gradient", None)
        measure = _measures_of_each if self._mesh is not None else _measures
        return sums | measure(gradient, params, l2) if l2 or gradient is not None else sums

    def estimate(self, params: Tree) -> Tree:
        """The state at ``params``: the mean of the batches' states, weighted by their examples."""
        if self._objective.mesh is not None:
            raise RequestError(
                "batchnorm: statistics need whole batches; spread the points over the devices"
            )
        return self._sums("state", params, None)

    def read(self, started: Mapping[str, Any]) -> list[dict[str, float]]:
        """Wait for an evaluation: one dictionary per point.

        ``loss`` and every metric, each with two standard errors of its mean:
        ``NAME_population_error``, of the mean over all that the examples could have been (for
        parameters that do not depend on them: a loss on training images is none of the
        population's), and ``NAME_split_error``, of the mean over the split that they are a part of,
        zero if they are all of it. The latter only where the objective has a ``split_size``. NaN
        for a single example. Errors of
        ``accuracy`` are half of Wilson's interval of one standard error, which has a width also
        where all examples are right.

        ``gradient_norm``; where there is an L2 term, ``data_loss`` without it and ``l2_term``.

        References
        ----------
        Cochran, Sampling Techniques (1977), chapter 2; Wilson, Probable inference, the law of
        succession, and statistical inference, JASA 22 (1927).
        """
        values = jax.tree.map(lambda x: np.atleast_1d(gathered(x)), started)
        spreads = values.pop("spread")
        if self._mesh is None:  # what is left are the devices' parts of the one point's spreads
            each = [spreads]
        else:
            each = [jax.tree.map(lambda v, i=i: v[i : i + 1], spreads) for i in range(self.size)]
        return [
            self._one(jax.tree.map(lambda v, i=i: float(v[i]), values), spreads)
            for i, spreads in enumerate(each)
        ]

    def _one(self, values: dict[str, Any], spreads: dict[str, Spread]) -> dict[str, float]:
        found = {}
        for name in sorted(values["mean"], key=lambda name: name != "loss"):
            mean = found[name] = values["mean"][name]
            error = standard_deviation(spreads[name]) / np.sqrt(self._examples)
            if name == "accuracy" and abs(mean - 0.5) <= 0.5 + 1e-4:
                # A share of the examples: its sum was rounded, and may even be above one.
                mean = found[name] = round(mean * self._examples) / self._examples
            if name == "accuracy" and self._examples > 1 and 0 <= mean <= 1:
                error = np.sqrt(self._examples * mean * (1 - mean) + 0.25) / (self._examples + 1)
            error = float(error) if np.isfinite(mean) else np.nan
            found[f"{name}_population_error"] = error
            if self._left_out is not None:
                found[f"{name}_split_error"] = error * float(np.sqrt(self._left_out))
        if self._objective.l2:
            found |= {"data_loss": found["loss"], "l2_term": values["l2_term"]}
            found["loss"] += values["l2_term"]
        if "gradient_norm" in values:
            found["gradient_norm"] = values["gradient_norm"]
        return found

    def _sums(self, kind: str, params: Tree, state: Tree) -> Tree:
        objective = self._objective
        own = objective.state if self._mesh is None else self._state
        fixed = Fixed({}, own if state is None else state)
        step = objective._step(kind, points_on=self._mesh)
        share = 1 / objective._data.examples
        weight = np.asarray(share, "f8" if jax.config.jax_enable_x64 else "f4")
        on = self._mesh or objective.mesh
        weight = jnp.asarray(weight) if on is None else place(weight, replicated(on))
        inputs, sums = (params, fixed, None, weight), None
        for micro in self._data:
            program = step.program(*inputs, micro)
            sums = program(
                program.zeros() if sums is None else sums, *inputs, micro.batch, micro.mask
            )
        if self._mesh is not None:
            return sums
        if kind == "state":
            return sum_over_devices(objective.mesh)(sums)
        spread = sums.pop("spread")  # no sum: joined on the host
        return sum_over_devices(objective.mesh)(sums) | {"spread": spread}


@jax.jit
def _measures(gradient: Tree, params: Tree, l2: float) -> dict[str, jax.Array]:
    """What is said of the gradient and of the L2 term."""
    found = {"l2_term": l2 / 2 * parameters.dot(params, params)}
    if gradient is not None:
        found["gradient_norm"] = parameters.norm(parameters.add_scaled(gradient, l2, params))
    return found


_measures_of_each = jax.jit(jax.vmap(_measures.__wrapped__, in_axes=(0, 0, None)))
