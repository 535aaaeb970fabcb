"""The gradient of sharpness-aware minimisation (SAM), in front of an ordinary optimiser.

Foret, Kleiner, Mobahi and Neyshabur 2021 (arXiv:2010.01412): the gradient is taken at
``w + epsilon``, ``epsilon = rho g / ||g||`` with ``g`` the gradient at ``w``. Epsilon is computed
for each group of ``m`` examples and the gradients of the groups are averaged ("m-sharpness"). In
the reference implementation a group is what one device holds; here it is a number of examples,
whatever the number of devices. Clipping, momentum and weight decay come after and do not enter
epsilon, as in Chen, Hsieh and Gong 2021 (arXiv:2106.01548).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import axis_index
from jax.sharding import Mesh, PartitionSpec

from landscape.devices import DATA_AXIS, place, replicated, split
from landscape.errors import RequestError
from landscape.parameters import add_scaled, norm, scaled

Tree = Any
BatchLoss = Callable[[Tree, Any, jax.Array], jax.Array]


def perturbation(gradient: Tree, rho: float) -> Tree:
    """``rho g / ||g||`` with the norm over all leaves together; zero for a zero gradient."""
    length = norm(gradient)
    nonzero = length > 0
    return scaled(gradient, jnp.where(nonzero, rho / jnp.where(nonzero, length, 1.0), 0.0))


def group_gradient(
    loss: BatchLoss, rho: float, params: Tree, batch: Any, key: jax.Array
) -> tuple[jax.Array, Tree]:
    """Loss at ``params`` and the SAM gradient of one group; ``key`` serves both passes.

    With ``rho=0`` it is the plain gradient, in one pass.
    """

    def mean_loss(at):
        return jnp.mean(loss(at, batch, key))

    value, gradient = jax.value_and_grad(mean_loss)(params)
    if rho > 0:
        gradient = jax.grad(mean_loss)(add_scaled(params, 1.0, perturbation(gradient, rho)))
    return value, gradient


def divide(examples: int, rho: float, group: int | None, mesh: Mesh | None) -> tuple[int, bool]:
    """Number of groups of a batch, and whether every device takes whole groups of its own.

    Raises
    ------
    RequestError
        If the groups do not divide the batch, or neither the number of groups nor their size can
        be divided among the devices.
    """
    size = examples if group is None or rho == 0 else group
    devices = 1 if mesh is None else mesh.size
    if size < 1 or examples % size:
        raise RequestError(f"group: {group} does not divide the batch of {examples} examples")
    groups = examples // size
    apart = devices > 1 and groups % devices == 0
    if not apart and size % devices:
        raise RequestError(
            f"batch_size: {groups} groups of {size} examples cannot be shared by {devices} "
            f"devices; make the number of groups or their size a multiple of {devices}"
        )
    return groups, apart


def sam_gradient(
    loss: BatchLoss, *, rho: float, group: int | None = None, mesh: Mesh | None = None
) -> Callable[[Tree, Any, jax.Array, int], tuple[jax.Array, Tree]]:
    """A function that computes the SAM gradient of a batch.

    Parameters
    ----------
    loss
        ``loss(params, batch, key) -> per-example losses (B,)``.
    rho
        Radius of the perturbation; 0 gives the plain gradient (and ignores ``group``).
    group
        Examples per group, m; None takes the whole batch as one group. It must divide the batch.
        Groups are runs of consecutive examples.
    mesh
        Devices. If their number divides the number of groups, every device works on groups of
        its own; otherwise every group is spread over all devices, whose number must then divide m.

    Returns
    -------
    ``gradient(params, batch, key, step) -> (loss, gradient)``: the mean loss at ``params`` and the
    mean gradient over the groups. ``batch`` is a tree of arrays with B rows; group ``i`` draws
    its randomness from ``fold_in(fold_in(key, step), i)``, so the result does not depend on the
    number of devices beyond rounding.

    Raises
    ------
    RequestError
        For a negative rho and, when called, for a batch that cannot be divided as asked.

    Notes
    -----
    The groups are a loop in Python around one compiled step with donated sums: XLA runs
    convolution gradients inside ``lax.scan`` some fifty times slower on CPUs, and ``vmap`` over
    groups would hold one copy of the parameters per group.
    """
    if not 0 <= rho < float("inf"):
        raise RequestError(f"rho: {rho} is not a radius; use 0 (plain gradient) or more")
    everywhere = None if mesh is None else replicated(mesh)
    devices = 1 if mesh is None else mesh.size

    def one_group(params, batch, key, step, index):
        key = jax.random.fold_in(jax.random.fold_in(key, step), index)
        return group_gradient(loss, rho, params, batch, key)

    def add_group(total, params, batch, key, step, index):
        return _add(total, one_group(params, batch, key, step, index))

    def add_group_per_device(total, params, batch, key, step, index):
        def local(total, params, batch, key, step, index):
            mine = one_group(params, batch, key, step, index * devices + axis_index(DATA_AXIS))
            return _add(total, jax.tree.map(lambda x: x[None], mine))

        shared, divided = PartitionSpec(), PartitionSpec(DATA_AXIS)
        specs = (divided, shared, divided, shared, shared, shared)
        # Unchecked, so that gradients stay those of one device: the sum comes once, at the end.
        run = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=divided, check_vma=False)
        return run(total, params, batch, key, step, index)

    def mean_of_devices(total, groups):
        return _mean(jax.tree.map(lambda x: jnp.sum(x, axis=0), total), groups)

    alone = jax.jit(one_group, out_shardings=everywhere)
    zeros = jax.jit(_zeros, out_shardings=everywhere)
    add = jax.jit(add_group, donate_argnums=0, out_shardings=everywhere)
    mean = jax.jit(_mean, out_shardings=everywhere)
    if mesh is not None:
        stacked_zeros = jax.jit(partial(_zeros, shape=(devices,)), out_shardings=split(mesh))
        add_apart = jax.jit(add_group_per_device, donate_argnums=0)
        mean_apart = jax.jit(mean_of_devices, out_shardings=everywhere)

    def gradient(params, batch, key, step):
        examples, step = len(jax.tree.leaves(batch)[0]), np.int32(step)
        groups, apart = divide(examples, rho, group, mesh)
        rounds = groups // devices if apart else groups

        def part(index):
            rows = slice(index * examples // rounds, (index + 1) * examples // rounds)
            cut = jax.tree.map(lambda x: x[rows], batch)
            return cut if mesh is None else place(cut, split(mesh))

        if groups == 1:
            return alone(params, part(0), key, step, np.int32(0))
        one_round = add_apart if apart else add
        total = (stacked_zeros if apart else zeros)(params)
        for index in range(rounds):
            total = one_round(total, params, part(index), key, step, np.int32(index))
        return (mean_apart if apart else mean)(total, np.int32(groups))

    return gradient


def _zeros(params: Tree, shape: tuple[int, ...] = ()) -> tuple[jax.Array, Tree]:
    """Where losses and gradients are summed, in float32 or better; ``shape`` comes in front."""
    dtypes = jax.tree.map(lambda x: np.promote_types(x.dtype, np.float32), params)
    total = jax.tree.map(lambda x, dtype: jnp.zeros((*shape, *x.shape), dtype), params, dtypes)
    return jnp.zeros(shape, np.result_type(*jax.tree.leaves(dtypes))), total


def _add(total: Tree, more: Tree) -> Tree:
    return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, more)


def _mean(total: Tree, groups: jax.Array) -> Tree:
    return jax.tree.map(lambda x: x / groups.astype(x.dtype), total)
