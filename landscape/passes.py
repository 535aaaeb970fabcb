"""Compiled steps of a pass over the data: what one micro-batch contributes, summed in place."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from landscape.batches import MicroBatch
from landscape.devices import DATA_AXIS, compile_within_memory, place, split
from landscape.errors import RequestError
from landscape.parameters import Tree, wide


class ById:
    """Makes any object hashable by identity, so that steps can be cached for it."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return isinstance(other, ById) and self.value is other.value


@dataclass(frozen=True)
class Assembly:
    """How the whole tree is put together from what is differentiated and what is fixed."""

    structure: Any
    names: tuple[str, ...]
    whole: bool

    def merge(self, free: Tree, frozen: dict[str, jax.Array]) -> Tree:
        if self.whole:
            return free
        leaves = {**frozen, **free}
        return jax.tree.unflatten(self.structure, [leaves[name] for name in self.names])


@dataclass(frozen=True)
class Program:
    """A compiled step: call it with sums (donated) and inputs; ``zeros()`` makes fresh sums."""

    compiled: Any
    shapes: Tree
    mesh: Mesh | None

    def __call__(self, *inputs: Any) -> Tree:
        return self.compiled(*inputs)

    def zeros(self) -> Tree:
        return _zeros(self.shapes, self.mesh)


@dataclass(frozen=True)
class Step:
    """What is summed over the examples: ``"loss"`` (and metrics), ``"gradient"``, ``"hessian"`` or
    ``"gauss_newton"`` (products with a vector).

    Equal steps share their compiled programs, also between checkpoints of one model.
    """

    kind: str
    loss: ById
    metrics: ById
    assembly: Assembly
    mesh: Mesh | None

    def program(
        self,
        free: Tree,
        frozen: dict[str, jax.Array],
        vector: Tree | None,
        weight: jax.Array,
        micro: MicroBatch,
    ) -> Program:
        """The program for inputs of these shapes, refused before it runs if it cannot fit.

        ``weight`` is that of one example in the sum: one over their number for a mean.

        Raises
        ------
        RequestError
            If it needs more memory than there is, or an operation cannot be differentiated twice.
        """
        inputs = (free, frozen, vector, weight, micro.batch, micro.mask)
        leaves, structure = jax.tree.flatten(inputs)
        key = (self, structure, tuple((x.shape, x.dtype, x.sharding) for x in leaves))
        if key not in _programs:
            while len(_programs) >= 512:
                _programs.pop(next(iter(_programs)))
            _programs[key] = self._compile(inputs, micro.size)
        return _programs[key]

    def _compile(self, inputs: tuple, examples: int) -> Program:
        what = {"loss": "forward pass", "gradient": "gradient"}.get(
            self.kind, f"{self.kind.replace('_', '-')} product"
        )
        contribution, step = _functions(self)
        with jax.default_matmul_precision("highest"):
            try:
                # A derivative is shaped like what it is taken of; tracing it twice takes seconds.
                shapes = inputs[0]
                if self.kind == "loss":
                    shapes = jax.eval_shape(contribution, *inputs)
                sums = _zeros(shapes, self.mesh)
                compiled = compile_within_memory(step, sums, *inputs, what=what, examples=examples)
            except (NotImplementedError, ValueError) as error:
                if isinstance(error, RequestError) or not re.search("JVP|iffer", str(error)):
                    raise
                raise RequestError(
                    f"loss: no {what}, an operation in it cannot be differentiated twice "
                    f"({str(error).splitlines()[0]}); re-create the model without custom kernels, "
                    "attention with implementation='xla'"
                ) from error
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shapes)
        return Program(compiled, shapes, self.mesh)


_programs: dict[Any, Program] = {}


@functools.lru_cache(maxsize=256)
def _functions(step: Step) -> tuple[Callable, Callable]:
    """``contribution(free, frozen, vector, weight, batch, mask)``, and the step that adds it."""
    loss, metrics, assembly = step.loss.value, step.metrics.value, step.assembly

    def contribution(free, frozen, vector, weight, batch, mask):
        def masked(losses):
            if jnp.shape(losses) != mask.shape:
                raise RequestError(
                    f"loss: must return per-example losses of shape {mask.shape}, got "
                    f"{jnp.shape(losses)}; do not average over the batch"
                )
            losses = losses.astype(wide(losses.dtype))
            total = jnp.sum(jnp.where(mask, losses, jnp.zeros_like(losses)))
            return total * weight.astype(losses.dtype)

        def total(free):
            return masked(loss(assembly.merge(free, frozen), batch))

        if step.kind == "loss":
            extra = metrics(assembly.merge(free, frozen), batch) if metrics else {}
            return {"loss": total(free)} | {name: masked(value) for name, value in extra.items()}
        if step.kind == "gradient":
            return jax.grad(total)(free)
        tangent = jax.tree.map(lambda v, p: v.astype(p.dtype), vector, free)
        if step.kind == "hessian":
            return jax.jvp(jax.grad(total), (free,), (tangent,))[1]

        def outputs(free):
            return loss.outputs(assembly.merge(free, frozen), batch)

        def criterion(out):
            return masked(loss.criterion(out, batch))

        out, out_tangent = jax.jvp(outputs, (free,), (tangent,))
        cotangent = jax.jvp(jax.grad(criterion), (out,), (out_tangent,))[1]
        return jax.vjp(outputs, free)[1](cotangent)[0]

    def add(sums, *inputs):
        return jax.tree.map(lambda s, c: s + c.astype(s.dtype), sums, contribution(*inputs))

    if step.mesh is None:
        return contribution, jax.jit(add, donate_argnums=0)

    # Each device adds to its own sums. check_vma would insert one all-reduce per micro-batch.
    def add_local(sums, *inputs):
        return _stacked(add(_unstacked(sums), *inputs))

    everywhere = PartitionSpec()
    sharded = jax.shard_map(
        add_local,
        mesh=step.mesh,
        in_specs=(_ON_DATA, *[everywhere] * 4, _ON_DATA, _ON_DATA),
        out_specs=_ON_DATA,
        check_vma=False,
    )
    return contribution, jax.jit(sharded, donate_argnums=0)


_ON_DATA = PartitionSpec(DATA_AXIS)


def _stacked(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[None], tree)


def _unstacked(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[0], tree)


def _zeros(shapes: Tree, mesh: Mesh | None) -> Tree:
    """Zeros in float32 or better; on a mesh with a leading axis of devices."""
    if mesh is None:
        return jax.tree.map(lambda x: jnp.zeros(x.shape, wide(x.dtype)), shapes)
    stacked = jax.tree.map(lambda x: np.zeros((mesh.size, *x.shape), wide(x.dtype)), shapes)
    return place(stacked, split(mesh))


@functools.lru_cache(maxsize=8)
def sum_over_devices(mesh: Mesh | None) -> Callable[[Tree], Tree]:
    """Sum of the devices' partial sums: the one all-reduce of a pass."""
    if mesh is None:
        return lambda sums: sums

    def reduce(sums):
        return jax.lax.psum(_unstacked(sums), DATA_AXIS)

    return jax.jit(
        jax.shard_map(
            reduce, mesh=mesh, in_specs=_ON_DATA, out_specs=PartitionSpec(), check_vma=False
        )
    )
