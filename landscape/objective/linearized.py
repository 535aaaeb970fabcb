"""Products with what they have in common computed once and kept: a quarter to a third faster.

A product of one micro-batch is linear in its vector; everything else in it, the network's values
and the first derivatives, is the same every time. It takes many times the memory of the network's
values, for all micro-batches at once.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from landscape.devices import available_memory, compile_within_memory
from landscape.errors import OutOfMemory
from landscape.objective.batches import MicroBatch
from landscape.parameters import Tree, wide


class Linearized:
    """The linear maps ``v -> product`` of all micro-batches, in memory.

    Parameters
    ----------
    contribute
        ``contribute(free, fixed, vector, weight, batch, mask)``, linear in ``vector``.
    free, fixed, weight
        Its arguments that stay.
    data
        The micro-batches.
    count
        How many.

    Raises
    ------
    OutOfMemory
        If the maps of all micro-batches do not fit.
    """

    def __init__(
        self,
        contribute: Callable,
        free: Tree,
        fixed: Any,
        weight: jax.Array,
        data: Iterable[MicroBatch],
        count: int,
    ):
        def linearize(free, fixed, weight, batch, mask):
            zero = jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), free)
            return jax.linearize(
                lambda vector: contribute(free, fixed, vector, weight, batch, mask), zero
            )[1]

        self._maps: list[Any] = []
        compiled = None
        with jax.default_matmul_precision("highest"):
            for micro in data:
                inputs = (free, fixed, weight, micro.batch, micro.mask)
                if compiled is None:
                    compiled = compile_within_memory(
                        jax.jit(linearize), *inputs, what="linearization", examples=micro.size
                    )
                self._maps.append(compiled(*inputs))
                if len(self._maps) == 1:
                    self._refuse_too_many(count)

    def _refuse_too_many(self, count: int) -> None:
        each = sum(leaf.nbytes for leaf in jax.tree.leaves(self._maps[0]))
        free = available_memory()
        if free is not None and each * (count - 1) > free:
            needed = each * count / 2**30
            raise OutOfMemory(
                f"linearize: the maps of {count} micro-batches need {needed:.1f} GiB, "
                f"{free / 2**30:.1f} GiB are free; leave it out or use fewer examples"
            )

    def product(self, vector: Tree) -> Tree:
        """Sum of the micro-batches' products."""
        with jax.default_matmul_precision("highest"):
            sums = jax.tree.map(lambda v: jnp.zeros(v.shape, wide(v.dtype)), vector)
            for one in self._maps:
                sums = _add(sums, one, vector)
        return sums


@functools.partial(jax.jit, donate_argnums=0)
def _add(sums: Tree, one: Callable[[Tree], Tree], vector: Tree) -> Tree:
    wider = jax.tree.map(lambda v: v.astype(wide(v.dtype)), vector)
    return jax.tree.map(lambda s, c: s + c.astype(s.dtype), sums, one(wider))
