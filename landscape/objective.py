"""The objective: the mean of a per-example loss over a fixed data set, and its derivatives.

Every pass is a Python loop over micro-batches around one compiled step whose accumulator is
donated: XLA:CPU runs convolution gradients inside ``lax.scan`` about 50 times slower, and the loop
streams data. On a mesh each device accumulates its own examples and the devices are summed once,
at the end of the pass.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from landscape import parameters
from landscape.batches import MicroBatch, MicroBatches
from landscape.devices import place, replicated
from landscape.errors import RequestError
from landscape.parameters import Tree
from landscape.passes import Assembly, ById, Step, sum_over_devices

Loss = Callable[[Tree, Any], jax.Array]


@dataclass(frozen=True)
class Composite:
    """A loss made of a model and a criterion: ``criterion(outputs(params, batch), batch)``.

    Written this way a loss also has Gauss-Newton products.

    Attributes
    ----------
    outputs
        ``(params, batch) -> (B, ...)`` model outputs.
    criterion
        ``(outputs, batch) -> (B,)`` per-example losses.
    """

    outputs: Callable[[Tree, Any], Any]
    criterion: Callable[[Any, Any], jax.Array]

    def __call__(self, params: Tree, batch: Any) -> jax.Array:
        return self.criterion(self.outputs(params, batch), batch)


class Objective:
    """Mean of a per-example loss over a data set, plus ``l2/2 * ||params||^2``.

    Parameters
    ----------
    loss
        ``loss(params, batch) -> per-example losses``, shape (B,), without randomness.
        A :class:`Composite` also allows Gauss-Newton products.
    params
        Any pytree of floating arrays (linen, NNX, Equinox, Haiku, dicts, lists).
    batches
        Re-iterable of pytrees of arrays with a leading axis of examples; every pass must give the
        same examples in the same order. The last batch may be smaller: the mean is over examples.
    mesh
        A mesh from :func:`landscape.devices.data_mesh`; examples are divided over its axis
        ``data``. Without one everything runs on the default device.
    l2
        Coefficient of the L2 term; it shifts every Hessian eigenvalue by exactly ``l2``.
    metrics
        Optional ``metrics(params, batch) -> {name: (B,)}``, averaged in the same pass as the loss.
    record
        What the loss contained, for provenance: loss name, augmentation, BatchNorm mode.

    Raises
    ------
    RequestError
        At once if ``params`` has leaves that are not floating or not finite, or ``batches`` can be
        iterated only once. At the first evaluation if two passes disagree (shuffling, random
        augmentation), if an example's loss depends on its place in the batch (dropout) or on the
        other examples (BatchNorm in training mode), if losses are not of shape (B,), or if a pass
        does not fit into memory.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from landscape import Objective
    >>> def loss(w, batch):
    ...     return 0.5 * (batch["x"] @ w - batch["y"]) ** 2
    >>> data = [{"x": jnp.eye(2), "y": jnp.zeros(2)}]
    >>> objective = Objective(loss, jnp.array([1.0, 2.0]), data)
    >>> objective.loss()
    1.25
    >>> [float(x) for x in objective.product(jnp.array([1.0, 0.0]))]
    [0.5, 0.0]
    """

    def __init__(
        self,
        loss: Loss,
        params: Tree,
        batches: Iterable,
        *,
        mesh: Mesh | None = None,
        l2: float = 0.0,
        metrics: Callable[[Tree, Any], Mapping[str, jax.Array]] | None = None,
        record: Mapping[str, Any] | None = None,
    ):
        parameters.check_floating(params)
        parameters.check_finite(params)
        self.mesh = mesh
        self.l2 = float(l2)
        self._loss = ById(loss)
        self._metrics = ById(metrics)
        self._record = dict(record or {})
        self._data = MicroBatches(batches, mesh)
        self._state = {"checked": False}  # shared with the blocks made from this objective
        if mesh is None:
            params = jax.tree.map(jnp.asarray, params)
        else:
            params = place(params, replicated(mesh))
        self.params = params
        self._frozen: dict[str, jax.Array] = {}
        names = tuple(parameters.leaf_names(params))
        self._assembly = Assembly(jax.tree.structure(params), names, whole=True)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def examples(self) -> int:
        """Number of examples the mean is over."""
        self._check()
        return self._data.examples

    @property
    def size(self) -> int:
        """Number of scalars that are differentiated."""
        return parameters.size(self.params)

    def describe(self) -> dict[str, Any]:
        """What the numbers depend on: examples, identity of data and parameters, loss terms."""
        self._check()
        whole = self._assembly.merge(self.params, self._frozen)
        return {
            "examples": self._data.examples,
            "data_hash": self._data.hash,
            "parameters_hash": parameters.content_hash(whole),
            "l2": self.l2,
            **self._record,
        }

    def block(self, names: Sequence[str]) -> "Objective":
        """The objective as a function of the named leaves only, the others held fixed.

        Its Hessian is the sub-diagonal block; products differentiate with respect to the block
        alone, so nothing is computed for the leaves in front of it. ``params`` and vectors are
        dictionaries ``{name: leaf}``.

        Raises
        ------
        RequestError
            If a name is not a leaf of the parameters.
        """
        whole = self._assembly.merge(self.params, self._frozen)
        leaves = parameters.named_leaves(whole)
        unknown = [name for name in names if name not in leaves]
        if unknown or not names:
            found = repr(unknown[0]) if unknown else "in an empty list"
            raise RequestError(f"block: no parameter {found}; see parameters.leaf_names(params)")
        part = copy.copy(self)
        part.params = {name: leaves[name] for name in names}
        part._frozen = {name: leaf for name, leaf in leaves.items() if name not in part.params}
        part._assembly = Assembly(self._assembly.structure, self._assembly.names, whole=False)
        return part

    # --- evaluations ------------------------------------------------------------------------------

    def evaluate(self, params: Tree | None = None) -> dict[str, float]:
        """``{"loss": mean loss, ...mean of every metric}`` at ``params`` (the own by default)."""
        self._check()
        return self._evaluate(self.params if params is None else params)

    def loss(self, params: Tree | None = None) -> float:
        """The mean loss, L2 term included."""
        return self.evaluate(params)["loss"]

    def gradient(self, params: Tree | None = None) -> Tree:
        """Gradient of the mean loss, shaped like ``params``, float32 or better."""
        self._check()
        at = self.params if params is None else params
        return self._mean("gradient", at, None, at)

    def product(self, vector: Tree) -> Tree:
        """Hessian-vector product ``H v`` by forward-over-reverse differentiation.

        Parameters
        ----------
        vector
            A tree of the structure and shapes of ``params``.

        Returns
        -------
        Tree
            Same structure, float32 or better. Runs at matmul precision "highest".

        References
        ----------
        Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
        """
        return self._product("hessian", vector)

    def gauss_newton_product(self, vector: Tree) -> Tree:
        """Gauss-Newton-vector product ``J' (d2 criterion) J v``; see :meth:`product`.

        Raises
        ------
        RequestError
            If the loss is not a :class:`Composite`.

        References
        ----------
        Schraudolph, Fast curvature matrix-vector products for second-order gradient descent,
        Neural Computation 14 (2002).
        """
        if not isinstance(self._loss.value, Composite):
            raise RequestError(
                "loss: Gauss-Newton products need model and criterion apart; "
                "pass loss=Composite(outputs, criterion)"
            )
        return self._product("gauss_newton", vector)

    # --- passes -----------------------------------------------------------------------------------

    def _product(self, kind: str, vector: Tree) -> Tree:
        self._check()
        _check_like(vector, self.params)
        return self._mean(kind, self.params, vector, vector)

    def _mean(self, kind: str, at: Tree, vector: Tree | None, direction: Tree) -> Tree:
        """Mean of a step over the data, plus the L2 term's part along ``direction``."""
        sums = self._accumulate(kind, at, vector, self._data, 1 / self._data.examples)
        mean = sum_over_devices(self.mesh)(sums)
        return parameters.add_scaled(mean, self.l2, direction) if self.l2 else mean

    def _evaluate(self, params: Tree) -> dict[str, float]:
        means = self._sums(params, self._data, 1 / self._data.examples)
        if self.l2:
            whole = self._assembly.merge(params, self._frozen)
            means["loss"] += self.l2 / 2 * float(parameters.dot(whole, whole))
        return means

    def _sums(self, params: Tree, data: Iterable[MicroBatch], weight: float) -> dict[str, float]:
        sums = sum_over_devices(self.mesh)(self._accumulate("loss", params, None, data, weight))
        return {name: float(total) for name, total in sums.items()}

    def _accumulate(
        self,
        kind: str,
        params: Tree,
        vector: Tree | None,
        data: Iterable[MicroBatch],
        weight: float,
    ) -> Tree:
        """Weighted sum over the examples of ``data``; with a mesh, one partial sum per device."""
        step = Step(kind, self._loss, self._metrics, self._assembly, self.mesh)
        inputs = (params, self._frozen, vector, self._scalar(weight))
        sums = None
        for micro in data:
            program = step.program(*inputs, micro)
            sums = program.zeros() if sums is None else sums
            sums = program(sums, *inputs, micro.batch, micro.mask)
        return sums

    def _scalar(self, value: float) -> jax.Array:
        value = np.asarray(value, "f8" if jax.config.jax_enable_x64 else "f4")
        return jnp.asarray(value) if self.mesh is None else place(value, replicated(self.mesh))

    # --- the check --------------------------------------------------------------------------------

    def _check(self) -> None:
        """Once: two passes agree, and an example's loss depends on nothing but itself."""
        if self._state["checked"]:
            return
        self._data.read()
        first, second = self._evaluate(self.params)["loss"], self._evaluate(self.params)["loss"]
        if not _close(first, second, 1):
            raise RequestError(
                f"loss: two passes over the same data gave {first:.6g} and {second:.6g}: random? "
                "turn dropout and other randomness off"
            )
        self._check_independence(next(iter(self._data)))
        self._state["checked"] = True

    def _check_independence(self, micro: MicroBatch) -> None:
        size, half = micro.size, micro.examples // 2
        if not half:
            return
        rows = np.arange(size)

        def total(order: np.ndarray, mask: np.ndarray) -> float:
            return self._sums(self.params, [self._data.first(order, mask)], 1.0)["loss"]

        # The first half as it stands, then each of it twice: same examples, other company.
        alone = total(rows, rows < half)
        doubled = total(np.minimum(rows // 2, half - 1), (rows % 2 == 0) & (rows < 2 * half))
        if _close(alone, doubled, half):
            return
        mask = rows < micro.examples
        order = np.where(mask, micro.examples - 1 - rows, rows)
        if _close(total(rows, mask), total(order, mask), micro.examples):
            raise RequestError(
                "loss: an example's loss changes with the other examples of its batch: BatchNorm "
                "in training mode? use its running statistics"
            )
        raise RequestError(
            "loss: an example's loss changes with its place in the batch: dropout or augmentation "
            "under a fixed key? turn it off"
        )


def _close(a: float, b: float, examples: int) -> bool:
    """Equal up to rounding; NaN equals NaN, a diverged loss is not a disagreement."""
    return bool(np.isclose(a, b, rtol=1e-4, atol=1e-5 * examples, equal_nan=True))


def _check_like(vector: Tree, params: Tree) -> None:
    if jax.tree.structure(vector) != jax.tree.structure(params):
        raise RequestError("vector: its tree structure differs from that of params")
    for (name, v), p in zip(
        parameters.named_leaves(vector).items(), jax.tree.leaves(params), strict=True
    ):
        if np.shape(v) != np.shape(p):
            raise RequestError(f"vector: {name!r} has shape {np.shape(v)}, params {np.shape(p)}")
