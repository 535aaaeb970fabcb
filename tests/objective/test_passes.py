"""Compiled programs: how long they last, what they keep, and whether they fit."""

import copy
import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import curvature, devices
from landscape.errors import OutOfMemory
from landscape.objective import Composite, Objective
from landscape.surface import compute_surface

DATA = [np.linspace(1, 2, 12).astype("f4").reshape(4, 3)]


class Captured:
    """What a loss closes over."""

    def __init__(self):
        self.scale = np.float32(3)


def made(captured, *, shared, **options):
    def outputs(w, x):
        return x @ w * captured.scale

    def criterion(out, x):
        return (out - 1) ** 2

    loss = Composite(outputs, criterion, lambda key, out, example: example)
    metrics = lambda w, x: {"accuracy": (outputs(w, x) > 0).astype(jnp.float32)}  # noqa: E731
    return Objective(loss, jnp.ones(3), DATA, metrics=metrics, share_programs=shared, **options)


USES = {
    "evaluate": lambda one: one.evaluate(),
    "gradient": lambda one: one.gradient(),
    "product": lambda one: one.product(jnp.ones(3)),
    "Gauss-Newton": lambda one: one.with_curvature("gauss_newton").product(jnp.ones(3)),
    "quadratic forms": lambda one: one.quadratic_forms(jnp.ones(3)),
    "Rayleigh quotient": lambda one: one.rayleigh_quotient(jnp.ones(3)),
    "loss in float64": lambda one: one.loss_in_float64(),
    "linearized": lambda one: one.linearized().product(jnp.ones(3)),
    "traced": lambda one: jax.jit(one.product)(jnp.ones(3)),
    "extremes": lambda one: curvature.extremes(one),
    "fisher": lambda one: curvature.fisher(one).product(jnp.ones(3)),
    "surface": lambda one: compute_surface(one, [jnp.ones(3)], [0.0, 1.0]),
}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("use", USES)
def test_what_a_loss_closes_over_goes_with_it(use, shared):
    captured = Captured()
    one, there = made(captured, shared=shared), weakref.ref(captured)
    USES[use](one)
    del one, captured
    gc.collect()
    assert there() is None


def test_programs_end_with_their_objective():
    objective = Objective(lambda w, x: (x * w) ** 2, jnp.float32(2), [np.ones(3, "f4")])
    assert objective.loss() == 4
    programs = weakref.ref(objective._cache)
    assert programs().programs
    del objective
    gc.collect()
    assert programs() is None


def test_shared_programs_are_those_of_one_loss_and_are_not_copied_with_it():
    loss = Composite(lambda w, x: x @ w, lambda out, x: out**2)
    objectives = [Objective(loss, jnp.full(3, s), DATA, share_programs=True) for s in (1.0, 2.0)]
    for one in objectives:
        one.loss()
    first, second = (one._cache for one in objectives)
    assert first is second
    programs = len(first.programs)
    objectives[1].with_params(jnp.zeros(3)).loss()
    assert len(first.programs) == programs
    other = Objective(copy.copy(loss), jnp.ones(3), DATA, share_programs=True)
    assert other._cache is not first
    loss = Composite(abs, pow)
    Objective(loss, jnp.ones(3), DATA, share_programs=True)
    assert pickle.loads(pickle.dumps(loss)) == loss


class Network:
    """With a loss that is a method, a new object at every look at it."""

    def loss(self, w, x):
        return (x @ w) ** 2


def test_methods_share_the_programs_of_what_they_are_methods_of():
    one, other = Network(), Network()
    caches = [
        Objective(network.loss, jnp.ones(3), DATA, share_programs=True)._cache
        for network in (one, one, other)
    ]
    assert caches[0] is caches[1]
    assert caches[0] is not caches[2]


@pytest.mark.parametrize("shared", [True, False])
def test_what_a_loss_closes_over_counts_at_the_time_of_its_objective(shared):
    """Compiled programs keep it: λmax of a later checkpoint was that of an earlier one."""
    statistics = {}

    def loss(w, batch):
        return 0.5 * statistics["scale"] * jnp.vdot(w, w) * batch

    found = []
    for scale in (1.0, 9.0):
        statistics["scale"] = scale
        objective = Objective(loss, jnp.ones(2), [np.ones(3, "f4")], share_programs=shared)
        found.append(objective.loss())
        assert objective.with_params(2 * jnp.ones(2)).loss() == 4 * objective.loss()
    assert found == ([1.0, 1.0] if shared else [1.0, 9.0])


@pytest.mark.parametrize("kind", ["product", "gradient", "loss"])
def test_vectors_count_whether_or_not_the_program_is_compiled(kind):
    objective = made(Captured(), shared=False)
    objective.prepare(kind)
    with pytest.raises(OutOfMemory, match="of 4 examples at a time needs"):
        objective.prepare(kind, vectors=10**15)
    objective.prepare(kind, vectors=2)


def test_memory_that_has_gone_since_is_noticed(monkeypatch):
    objective = made(Captured(), shared=True)
    objective.prepare("product")
    monkeypatch.setattr(devices, "available_memory", lambda: 10)
    for one in (objective, made(Captured(), shared=True)):
        with pytest.raises(OutOfMemory):
            one.prepare("product")


def test_vectors_take_their_own_precision(x64, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "landscape.objective.objective.refuse_too_large",
        lambda _, *, beside, **__: asked.append(beside),
    )
    data = [np.ones((4, 3))]
    for dtype in (np.float32, np.float64):
        loss = lambda w, x: x.astype(w.dtype) @ w  # noqa: E731
        Objective(loss, jnp.ones(3, dtype), data).prepare("loss", vectors=5)
    assert asked == [5 * 3 * 4, 5 * 3 * 8]
