"""The Fisher matrix with targets drawn from the model's own distribution."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from landscape.errors import RequestError
from landscape.objective import Composite, Objective


def fisher(objective: Objective, *, samples: int = 1, seed: int = 0) -> Objective:
    """The objective whose product multiplies with a Monte Carlo estimate of the Fisher matrix.

    Targets are drawn once per example and sample and stay fixed, so the matrix is the same in every
    product; it is the mean outer product of the gradients at these targets, symmetric and positive
    semi-definite, plus the L2 term. For softmax cross-entropy its expectation is the Gauss-Newton
    matrix. An example stays one example: what is told of each, and every error over examples, is of
    the mean of its draws.

    Parameters
    ----------
    objective
        Its loss must be a :class:`landscape.Composite` with ``sample``.
    samples
        Draws per example; products cost as many times more.
    seed
        Decides the draws.

    Raises
    ------
    RequestError
        If the loss is no Composite or has no ``sample``, ``samples`` is below 1, or the objective
        is a block.

    References
    ----------
    Kunstner, Balles, Hennig, Limitations of the empirical Fisher approximation,
    arXiv:1905.12558.
    """
    if objective.composite.sample is None:
        raise RequestError(
            "loss: the Fisher matrix needs Composite(..., sample=...) to draw targets"
        )
    if objective.is_block:
        raise RequestError("objective: it is a block; use fisher(objective).block(names)")
    if samples < 1:
        raise RequestError(f"samples: {samples} is below 1")
    draws = _Draws(objective, samples, seed)
    drawn = objective.with_drawn_targets(draws, draws=samples, seed=seed)
    return drawn.with_curvature("empirical_fisher")


class _Draws:
    """The objective's batches with drawn targets, once per sample; the same on every pass."""

    def __init__(self, objective: Objective, samples: int, seed: int):
        self._composite: Composite = objective.composite
        state = () if objective.state is None else (objective.state,)
        self._inputs = jax.device_get((objective.params, *state))
        self._batches = objective.batches
        self._samples, self._seed = samples, seed
        self._drawn = jax.jit(functools.partial(_drawn, self._composite))

    def __iter__(self) -> Iterator[Any]:
        key = jax.random.key(self._seed)
        for sample in range(self._samples):
            first = 0
            for batch in self._batches:
                count = np.shape(jax.tree.leaves(batch)[0])[0]
                numbers = np.arange(first, first + count, dtype=np.uint32)
                yield self._draw(jax.random.fold_in(key, sample), self._inputs, numbers, batch)
                first += count

    def _draw(self, key, inputs, numbers, batch):
        drawn = self._drawn(key, inputs, numbers, batch)
        return jax.tree.map(np.asarray, drawn)


def _drawn(composite: Composite, key, inputs, numbers, batch):
    # A key per example: the draws depend neither on the batches nor on the devices.
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    return jax.vmap(composite.sample)(keys, composite.outputs(*inputs, batch), batch)
