"""Compiled steps of a pass over the data: what one micro-batch contributes, summed in place."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from landscape.devices import DATA_AXIS, compile_within_memory, split
from landscape.errors import RequestError
from landscape.objective.batches import MicroBatch, MicroBatches
from landscape.objective.derivatives import Kind, Matrix, Order, contribution
from landscape.objective.float64 import InFloat64, coarsest_epsilon
from landscape.objective.linearized import Linearized
from landscape.objective.spread import Spread
from landscape.parameters import Tree, wide


class ById:
    """Makes any object hashable by identity, so that steps can be cached for it."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return isinstance(other, ById) and self.value is other.value


class Fixed(NamedTuple):
    """What the loss takes but is not differentiated: leaves by name, and the model's state."""

    leaves: dict[str, jax.Array]
    state: Tree


@dataclass(frozen=True)
class Assembly:
    """How the whole tree is put together from what is differentiated and what is fixed."""

    structure: Any
    names: tuple[str, ...]
    whole: bool

    def merge(self, free: Tree, fixed: Fixed | None) -> tuple:
        """What the loss takes in front of the batch: the parameters, and the state if any."""
        params = free
        if not self.whole:
            leaves = {**fixed.leaves, **free}
            params = jax.tree.unflatten(self.structure, [leaves[name] for name in self.names])
        return (params,) if fixed is None or fixed.state is None else (params, fixed.state)


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
    """What is computed of every micro-batch: sums, or the examples' quadratic forms.

    See :mod:`landscape.objective.derivatives`. On a mesh the examples are divided among the
    devices, or with ``points`` every device has parameters and a state of its own, stacked along a
    leading axis, and all examples. With ``float64`` losses and quadratic forms are computed in that
    precision and not added up: on a mesh the losses' sums come stacked, one per device. Such a
    program is to be called under ``jax.enable_x64(True)``.

    Equal steps share their compiled programs, which are in ``cache``. What the loss closes over is
    part of a program, and may have changed by the next objective: an objective and its copies have
    a cache of their own, unless the loss closes over nothing that changes.
    """

    kind: Kind
    loss: ById
    metrics: ById
    assembly: Assembly
    mesh: Mesh | None
    cache: ById
    matrix: Matrix = "hessian"
    estimate: ById | None = None
    points: bool = False
    float64: bool = False

    def program(
        self,
        free: Tree,
        fixed: Fixed,
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
        inputs = (free, fixed, vector, weight, micro.batch, micro.mask)
        leaves, structure = jax.tree.flatten(inputs)
        key = (self, structure, tuple((x.shape, x.dtype, x.sharding) for x in leaves))
        known = self.cache.value.programs
        if key not in known:
            while len(known) >= 512:
                known.pop(next(iter(known)))
            compile_ = functools.partial(compile_within_memory, what=self.what, examples=micro.size)
            known[key] = self._compile(inputs, compile_)
        return known[key]

    def linearized(
        self,
        free: Tree,
        fixed: Fixed,
        weight: jax.Array,
        data: MicroBatches,
    ) -> Linearized:
        """The products' linear maps, by forward differentiation only."""
        contribute, _ = _functions(self, "forward")
        try:
            return Linearized(contribute, free, fixed, weight, data, data.count)
        except _UNDIFFERENTIABLE as error:
            if not _about_differentiation(error):
                raise
            raise RequestError(
                f"linearize: an operation has no forward derivative ({str(error).splitlines()[0]})"
                "; leave it out"
            ) from error

    def epsilon(
        self, free: Tree, fixed: Fixed, vector: Tree | None, weight: jax.Array, micro: MicroBatch
    ) -> float:
        """The machine epsilon of the coarsest floating type that it computes in."""
        inputs = (free, fixed, vector, weight, micro.batch, micro.mask)
        return coarsest_epsilon(_functions(self, "forward")[0], *self._of_one_device(inputs))

    def traced(
        self,
        sums: Tree | None,
        free: Tree,
        fixed: Fixed,
        vector: Tree,
        weight: jax.Array,
        micro: MicroBatch,
    ) -> Tree:
        """One micro-batch more, inside a function that is being traced."""
        sums = _zeros(free, self.mesh) if sums is None else sums
        inputs = (sums, free, fixed, vector, weight, micro.batch, micro.mask)
        with jax.default_matmul_precision("highest"):
            try:
                return _functions(self, "forward")[1](*inputs)
            except _UNDIFFERENTIABLE as error:
                if not _about_differentiation(error):
                    raise
            return _functions(self, "reverse")[1](*inputs)

    def _compile(self, inputs: tuple, compile_: Callable) -> Program:
        with jax.default_matmul_precision("highest"):
            try:
                return self._compile_in_order("forward", inputs, compile_)
            except _UNDIFFERENTIABLE as error:
                if not _about_differentiation(error):
                    raise
            try:
                return self._compile_in_order("reverse", inputs, compile_)
            except _UNDIFFERENTIABLE as error:
                if not _about_differentiation(error):
                    raise
                raise RequestError(
                    f"loss: no {self.what}, an operation in it cannot be differentiated twice "
                    f"({str(error).splitlines()[0]}); re-create the model without custom kernels, "
                    "attention with implementation='xla', or ask for central differences"
                ) from error

    def _compile_in_order(self, order: Order, inputs: tuple, compile_: Callable) -> Program:
        contribute, step = _functions(self, order)
        if self.float64:
            contribute.trace(*self._of_one_device(inputs))
            with jax.enable_x64(True):
                return Program(compile_(step, *inputs), None, self.mesh)
        if self.kind == "form":
            return Program(compile_(step, *inputs), None, self.mesh)
        # A derivative is shaped like what it is taken of; tracing it twice takes seconds.
        shapes = inputs[0]
        if self.kind in ("loss", "moments", "slope", "state"):
            shapes = jax.eval_shape(contribute, *self._of_one_point(inputs))
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shapes)
        sums = _zeros(shapes, self.mesh)
        return Program(compile_(step, sums, *inputs), shapes, self.mesh)

    def _of_one_device(self, inputs: tuple) -> tuple:
        """Shapes of what each device gets: its share of the examples."""
        if self.mesh is None:
            return inputs
        *whole, batch, mask = inputs
        share = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((len(x) // self.mesh.size, *x.shape[1:]), x.dtype),
            (batch, mask),
        )
        return *whole, *share

    def _of_one_point(self, inputs: tuple) -> tuple:
        if not self.points:
            return inputs
        (free, fixed), rest = jax.eval_shape(_unstacked, inputs[:2]), inputs[2:]
        return free, fixed, *rest

    @property
    def what(self) -> str:
        """Its name in messages."""
        if self.kind in ("gradient", "slope"):
            return "gradient"
        if self.kind in ("loss", "moments", "state"):
            return "forward pass"
        return f"{self.matrix.replace('_', '-')} {self.kind}"


class Cache:
    """Compiled programs and the functions that they were made of, by step."""

    def __init__(self):
        self.programs: dict[Any, Program] = {}
        self.functions: dict[Any, tuple[Callable, Callable]] = {}


# What JAX raises where a derivative does not exist; the text decides.
_UNDIFFERENTIABLE = (NotImplementedError, TypeError, ValueError)


def _about_differentiation(error: Exception) -> bool:
    if isinstance(error, RequestError):
        return False
    return bool(re.search("JVP|jvp|autodiff|ifferentiation", str(error)))


def _functions(step: Step, order: Order) -> tuple[Callable, Callable]:
    """``contribute(free, fixed, vector, weight, batch, mask)``, and the step that adds it up."""
    known = step.cache.value.functions
    if (step, order) not in known:
        while len(known) >= 256:
            known.pop(next(iter(known)))
        known[step, order] = _made(step, order)
    return known[step, order]


def _made(step: Step, order: Order) -> tuple[Callable, Callable]:
    contribute = contribution(
        step.kind,
        step.matrix,
        order,
        step.loss.value,
        step.metrics.value,
        step.estimate.value if step.estimate else None,
        step.assembly.merge,
    )
    if step.float64:
        contribute = InFloat64(contribute)
    everywhere = PartitionSpec()
    inputs_on = (*[everywhere] * 4, _ON_DATA, _ON_DATA)
    if step.points:
        inputs_on = (_ON_DATA, _ON_DATA, *[everywhere] * 4)
    if step.kind == "form" or step.float64:
        if step.mesh is None:
            return contribute, jax.jit(contribute)

        def local(*inputs):
            found = contribute(*inputs)
            return found if step.kind == "form" else _stacked(found)

        return contribute, jax.jit(_sharded(local, step.mesh, inputs_on))

    def add(sums, *inputs):
        return jax.tree.map(_added, sums, contribute(*inputs), is_leaf=_is_spread)

    if step.mesh is None:
        return contribute, jax.jit(add, donate_argnums=0)

    # Each device adds to its own sums.
    def add_local(sums, free, fixed, *rest):
        if step.points:
            free, fixed = _unstacked((free, fixed))
        return _stacked(add(_unstacked(sums), free, fixed, *rest))

    return contribute, jax.jit(
        _sharded(add_local, step.mesh, (_ON_DATA, *inputs_on)), donate_argnums=0
    )


def _added(total: Any, part: Any) -> Any:
    return total.joined(part) if _is_spread(total) else total + part.astype(total.dtype)


def _is_spread(node: Any) -> bool:
    return isinstance(node, Spread)


def _sharded(function: Callable, mesh: Mesh, in_specs: tuple) -> Callable:
    # check_vma would insert one all-reduce per micro-batch.
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=_ON_DATA, check_vma=False
    )


_ON_DATA = PartitionSpec(DATA_AXIS)


def _stacked(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[None], tree)


def _unstacked(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[0], tree)


def _zeros(shapes: Tree, mesh: Mesh | None) -> Tree:
    """Zeros in float32 or better; on a mesh with a leading axis of devices."""
    leaves, structure = jax.tree.flatten(shapes)
    made = _zero_leaves(tuple((x.shape, np.dtype(wide(x.dtype))) for x in leaves), mesh)()
    return jax.tree.unflatten(structure, made)


@functools.lru_cache(maxsize=256)
def _zero_leaves(shapes: tuple, mesh: Mesh | None) -> Callable[[], list[jax.Array]]:
    """One program for all leaves: an operation a leaf would take longer than a small product."""
    front, sharding = ((), None) if mesh is None else ((mesh.size,), split(mesh))

    def zeros():
        return [jnp.zeros((*front, *shape), dtype) for shape, dtype in shapes]

    return jax.jit(zeros, out_shardings=sharding)


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
