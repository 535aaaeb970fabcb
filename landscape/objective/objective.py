"""The objective: the mean of a per-example loss over a fixed data set, and its derivatives.

Every pass is a Python loop over micro-batches around one compiled step whose accumulator is
donated: XLA:CPU runs convolution gradients inside ``lax.scan`` about 50 times slower, and the loop
streams data. On a mesh each device accumulates its own examples and the devices are summed once,
at the end of the pass.
"""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from landscape import parameters
from landscape.devices import place, refuse_too_large, replicated
from landscape.errors import RequestError, about_block, check_choice
from landscape.lifetimes import kept_with
from landscape.objective.batches import MicroBatch, MicroBatches
from landscape.objective.consistency import check_losses, total_in_float64
from landscape.objective.derivatives import Kind, Matrix
from landscape.objective.differences import Differences, choose_differences
from landscape.objective.inputs import is_traced, params_like, state_like, vector_like
from landscape.objective.linear_operator import as_scipy
from landscape.objective.linearized import Linearized
from landscape.objective.passes import Assembly, ById, Cache, Fixed, Step, sum_over_devices
from landscape.objective.rayleigh import RayleighQuotient, quadratic_forms, rayleigh_quotient
from landscape.parameters import Tree

Loss = Callable[..., jax.Array]
SecondDerivative = Literal["exact", "central_differences"]


@dataclass(frozen=True)
class Composite:
    """A loss made of a model and a criterion: ``criterion(outputs(params, batch), batch)``.

    Written this way a loss also has Gauss-Newton products.

    Attributes
    ----------
    outputs
        ``(params, batch) -> (B, ...)`` model outputs; ``(params, state, batch)`` with a state.
    criterion
        ``(outputs, batch) -> (B,)`` per-example losses.
    sample
        ``(key, output, example) -> example`` whose target is drawn from the model's own
        distribution, for one example; the Monte Carlo Fisher matrix needs it.
    """

    outputs: Callable[..., Any]
    criterion: Callable[[Any, Any], jax.Array]
    sample: Callable[[jax.Array, Any, Any], Any] | None = None

    def __call__(self, params: Tree, *rest: Any) -> jax.Array:
        return self.criterion(self.outputs(params, *rest), rest[-1])


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
    state
        A tree of arrays that the loss takes and that is not differentiated, such as the running
        statistics of BatchNorm. Loss and metrics are then called with ``(params, state, batch)``.
    estimate_state
        ``(params, batch, mask) -> state`` of one batch whose real examples ``mask`` (B,) marks,
        for surfaces that re-estimate the state at every point.
    record
        What the loss contained, for provenance: loss name, augmentation, BatchNorm mode. No number
        depends on it.
    split_size
        Number of examples of the split that these are a random part of, drawn without replacement,
        or all of it. With it surfaces have standard errors about the mean over that split; see
        :func:`landscape.compute_surface`.
    second_derivative
        ``"exact"``, or ``"central_differences"`` of gradients for losses that can be
        differentiated only once; :attr:`noise` is then the estimated error of the products.
    share_programs
        Whether compiled programs are shared with every objective of this very loss function, such
        as those of other checkpoints, and last as long as it does. Only for a loss that closes over
        nothing that changes; what differs from checkpoint to checkpoint belongs into ``params`` and
        ``state``.

    Attributes
    ----------
    curvature
        The matrix that :meth:`product` multiplies with: ``"hessian"`` (see
        :meth:`with_curvature`).
    split_size
        As passed in; None once the data are others.

    Raises
    ------
    RequestError
        At once if ``params`` has leaves that are not floating or not finite, or ``batches`` can be
        iterated only once. At the first evaluation if two passes disagree (shuffling, random
        augmentation), if an example's loss depends on its place in the batch (dropout) or on the
        other examples (BatchNorm in training mode), if losses are not of shape (B,), if
        ``split_size`` is below the number of examples, or if a pass does not fit into memory.

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
        metrics: Callable[..., Mapping[str, jax.Array]] | None = None,
        state: Tree = None,
        estimate_state: Callable[[Tree, Any, jax.Array], Tree] | None = None,
        record: Mapping[str, Any] | None = None,
        split_size: int | None = None,
        second_derivative: SecondDerivative = "exact",
        share_programs: bool = False,
    ):
        parameters.check_floating(params)
        check_choice("second_derivative", second_derivative, get_args(SecondDerivative))
        self.mesh = mesh
        self.l2 = float(l2)
        self.curvature: Matrix = "hessian"
        self._second_derivative = second_derivative
        self._differences: Differences | None = None
        self._linearized: Linearized | None = None
        self._loss = ById(loss)
        self._metrics = ById(metrics)
        self._record = dict(record or {})
        self.split_size = _checked_size(split_size)
        self._labelled: Objective | None = None
        self._target_seed: int | None = None
        self._data, self._draws = MicroBatches(batches, mesh), 1
        self._shared = {"checked": False}  # with the blocks made from this objective
        self._cache = kept_with(loss, "programs", Cache) if share_programs else Cache()
        if mesh is None:
            params, state = jax.tree.map(jnp.asarray, (params, state))
        else:
            params, state = place((params, state), replicated(mesh))
        parameters.check_finite(params)  # as this session rounds them
        self.params = params
        self._fixed = Fixed({}, state)
        self._estimate = ById(estimate_state) if estimate_state else None
        names = tuple(parameters.leaf_names(params))
        self._assembly = Assembly(jax.tree.structure(params), names, whole=True)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def examples(self) -> int:
        """Number of examples the mean is over; several draws of one count as one."""
        self._check()
        return self._data.examples // self._draws

    @property
    def size(self) -> int:
        """Number of scalars that are differentiated."""
        return parameters.size(self.params)

    def describe(self) -> dict[str, Any]:
        """What the numbers depend on: examples, identity of data and parameters, loss terms."""
        self._check()
        whole = self._whole(self.params)
        drawn = {"draws": self._draws, "seed": self._target_seed}
        return {
            **self._record,  # which may hold any name
            "examples": self.examples,
            **({} if self.split_size is None else {"split_size": self.split_size}),
            **({} if self._draws == 1 else {"draws": self._draws}),
            **({} if self._labelled is None else {"drawn_targets": drawn}),
            "data_hash": self._data.hash,
            "parameters_hash": parameters.content_hash(whole),
            **({} if self.state is None else {"state_hash": parameters.content_hash(self.state)}),
            "l2": self.l2,
            "curvature": self.curvature,
            "second_derivative": self._second_derivative,
        }

    @property
    def noise(self) -> float:
        """Estimated error of the product with a unit vector beyond rounding; 0 where exact."""
        return 0.0 if self._exact else self._central().error

    @property
    def _exact(self) -> bool:
        return self._second_derivative == "exact" or self.curvature != "hessian"

    @property
    def is_block(self) -> bool:
        """Whether it is a function of some leaves only; see :meth:`block`."""
        return not self._assembly.whole

    @property
    def batch_size(self) -> int:
        """Size of a micro-batch, padding included."""
        self._check()
        return self._data.size

    @property
    def batches(self) -> Iterable:
        """The batches as they were passed in."""
        return self._data.source

    @property
    def state(self) -> Tree:
        """What the loss takes beside the parameters; see the parameter."""
        return self._fixed.state

    @property
    def can_estimate_state(self) -> bool:
        return self._estimate is not None

    @property
    def composite(self) -> Composite:
        """The loss as model and criterion.

        Raises
        ------
        RequestError
            If it is not a :class:`Composite`.
        """
        if not isinstance(self._loss.value, Composite):
            raise RequestError(
                "loss: this needs model and criterion apart; "
                "pass loss=Composite(outputs, criterion)"
            )
        return self._loss.value

    # --- the same with something changed ----------------------------------------------------------

    def with_curvature(self, curvature: Matrix) -> "Objective":
        """The same objective with another matrix behind :meth:`product`.

        ``"hessian"``; ``"gauss_newton"``, ``J' (d2 criterion) J`` with J the derivative of the
        model (for softmax cross-entropy it is the Fisher matrix); ``"empirical_fisher"``, the mean
        over the examples of the outer product of their gradients. The L2 term adds ``l2`` times
        the identity to each.

        Raises
        ------
        RequestError
            For an unknown name, and for Gauss-Newton if the loss is not a :class:`Composite`.

        References
        ----------
        Schraudolph, Fast curvature matrix-vector products for second-order gradient descent,
        Neural Computation 14 (2002).
        """
        check_choice("curvature", curvature, get_args(Matrix))
        if curvature == "gauss_newton":
            _ = self.composite
        other = self._changed()
        other.curvature = curvature
        return other

    def with_l2(self, l2: float) -> "Objective":
        """The same objective with another coefficient of the L2 term."""
        other = copy.copy(self)
        other.l2 = float(l2)
        return other

    def with_record(self, record: Mapping[str, Any]) -> "Objective":
        """The same objective with more in its record; see the parameter."""
        other = copy.copy(self)
        other._record = {**self._record, **record}
        return other

    def with_second_derivative(self, second_derivative: SecondDerivative) -> "Objective":
        """The same objective with products by the other way; see the parameter."""
        check_choice("second_derivative", second_derivative, get_args(SecondDerivative))
        other = self._changed()
        other._second_derivative = second_derivative
        return other

    def linearized(self) -> "Objective":
        """The same objective with faster products that take much more memory.

        What the products of one micro-batch have in common is kept, for all micro-batches: a
        quarter to a third less time a product, many times the memory of the network's values.

        Raises
        ------
        OutOfMemory
            If it does not fit.
        RequestError
            On a mesh, with central differences, and where the loss has no forward derivative.
        """
        if self.mesh is not None or not self._exact:
            raise RequestError("linearize: not on a mesh, and not with central differences")
        self._check()
        other = copy.copy(self)
        other._linearized = self._step("product").linearized(
            self.params, self._fixed, self._scalar(1 / self._data.examples), self._data
        )
        return other

    def with_batches(self, batches: Iterable) -> "Objective":
        """The same loss and parameters over other data.

        Raises
        ------
        RequestError
            If the targets were drawn for these data; see :func:`landscape.fisher`.
        """
        self._refuse_drawn("batches")
        other = self._over(batches, draws=1)
        other.split_size = None  # of the old data
        return other

    def with_drawn_targets(self, batches: Iterable, *, draws: int, seed: int) -> "Objective":
        """The same loss over ``draws`` passes over the same examples, with targets drawn anew.

        The draws of an example are averaged: they are not independent examples. They belong to
        these parameters and data, so neither can be exchanged any more.
        """
        other = self._over(batches, draws=int(draws) * self._draws)
        other._labelled, other._target_seed = self._labelled or self, int(seed)
        return other

    @property
    def labelled(self) -> "Objective":
        """The objective over the data's own targets; itself, if none were drawn."""
        return self if self._labelled is None else self._labelled.with_l2(self.l2)

    def _refuse_drawn(self, name: str) -> None:
        if self._labelled is not None:
            raise RequestError(
                f"{name}: the targets were drawn for the old ones; draw anew, with "
                f"fisher(objective.with_{name}(...))"
            )

    def _over(self, batches: Iterable, draws: int) -> "Objective":
        other = self._changed()
        other._draws = draws
        other._data = MicroBatches(batches, self.mesh)
        other._shared = {"checked": False}
        return other

    def with_params(self, params: Tree) -> "Objective":
        """The same objective at other parameters of the same shapes.

        Raises
        ------
        RequestError
            If their structure or shapes differ, if they are not floating or not finite, and if the
            targets were drawn at the own ones (see :func:`landscape.fisher`).
        """
        self._refuse_drawn("params")
        other = self._changed()
        other.params = self._at(params)
        parameters.check_finite(other.params)
        return other

    def with_state(self, state: Tree) -> "Objective":
        """The same objective with another state of the same shapes; others are refused."""
        self._refuse_drawn("state")
        other = self._changed()
        other._fixed = self._fixed._replace(state=state_like(state, self.state))
        return other

    def _changed(self) -> "Objective":
        """A copy without what belongs to this one's products."""
        other = copy.copy(self)
        other._differences = other._linearized = None
        return other

    def subset(self, examples: Sequence[int]) -> "Objective":
        """The same over some of the examples, by position, in that order; batches keep their size.

        The chosen examples are gathered in host memory.

        Raises
        ------
        RequestError
            If a position is out of range or none is given.
        """
        chosen = np.asarray(examples)
        integers = chosen.dtype.kind in "iu" and chosen.size > 0
        if not integers or chosen.min() < 0 or chosen.max() >= self.examples:
            raise RequestError(f"examples: need positions from 0 to {self.examples - 1}")
        rows = self.examples * np.arange(self._draws)[:, None] + chosen
        return self._over(self._data.gather(rows.ravel()), draws=self._draws)

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
        names, leaves = list(names), parameters.named_leaves(self._whole(self.params))
        unknown = [name for name in names if name not in leaves]
        if unknown or not names:
            found = repr(unknown[0]) if unknown else "in an empty list"
            raise RequestError(f"block: no parameter {found}; see parameters.leaf_names(params)")
        part = self._changed()
        part.params = {name: leaves[name] for name in names}
        others = {name: leaf for name, leaf in leaves.items() if name not in part.params}
        part._fixed = self._fixed._replace(leaves=others)
        part._assembly = Assembly(self._assembly.structure, self._assembly.names, whole=False)
        return part

    # --- evaluations ------------------------------------------------------------------------------

    def evaluate(self, params: Tree | None = None) -> dict[str, float]:
        """``{"loss": mean loss, ...mean of every metric}`` at ``params`` (the own by default)."""
        self._check()
        return self._evaluate(self._at(params))

    def loss(self, params: Tree | None = None) -> float:
        """The mean loss, L2 term included."""
        return self.evaluate(params)["loss"]

    def loss_in_float64(self, params: Tree | None = None) -> float:
        """The mean loss with every operation in float64, whatever the network computes in.

        NaN where an operation cannot be carried out in it, or where it does not fit in memory.
        """
        self._check()
        params = self._at(params)
        total = total_in_float64(self, params, next(iter(self._data)))
        if total is None:
            return float("nan")
        leaves = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(self._whole(params)))
        square = sum(float(np.vdot(leaf, leaf)) for leaf in leaves) if self.l2 else 0.0
        return sum(map(total, self._data)) / self._data.examples + self.l2 / 2 * square

    def gradient(self, params: Tree | None = None) -> Tree:
        """Gradient of the mean loss, shaped like ``params``, float32 or better."""
        self._check()
        return self._mean("gradient", self._at(params))

    def product(self, vector: Tree) -> Tree:
        """Product of the curvature matrix (the Hessian by default) with a vector.

        Forward-over-reverse differentiation, at matmul precision "highest". Inside ``jax.jit`` the
        passes over the micro-batches are unrolled, so that solvers that trace it can use it.

        Parameters
        ----------
        vector
            A tree of the structure and shapes of ``params``.

        Returns
        -------
        Tree
            Same structure, float32 or better.

        References
        ----------
        Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
        """
        return self.products({"": self}, {"": vector})[""]

    def products(
        self, parts: Mapping[str, "Objective"], vectors: Mapping[str, Tree]
    ) -> dict[str, Tree]:
        """Products of several blocks of this objective in one pass over the data.

        Parameters
        ----------
        parts
            Objectives made by :meth:`block` from this one.
        vectors
            A vector for each that is wanted, by the same names.
        """
        traced = is_traced(vectors)
        self._check(traced=traced)
        vectors = {name: vector_like(v, parts[name].params) for name, v in vectors.items()}
        if not self._exact:
            with jax.ensure_compile_time_eval() if traced else contextlib.nullcontext():
                differences = {name: parts[name]._central() for name in vectors}
            return {
                name: differences[name].product(parts[name].gradient, parts[name].params, v)
                for name, v in vectors.items()
            }
        kept = {name: parts[name]._linearized for name in vectors if parts[name]._linearized}
        sums = {name: linear.product(vectors[name]) for name, linear in kept.items()}
        left = [name for name in vectors if name not in kept]
        weight = self._scalar(1 / self._data.examples)
        for micro in self._data if left else ():
            for name in left:
                with about_block(name):
                    sums[name] = parts[name]._add(
                        sums.get(name), "product", vectors[name], weight, micro
                    )
        reduced = {name: sum_over_devices(self.mesh)(total) for name, total in sums.items()}
        if not self.l2:
            return reduced
        return {
            name: _with_l2(reduced.pop(name), self.l2, vector) for name, vector in vectors.items()
        }

    def prepare(self, kind: Kind, *, vectors: int = 0) -> None:
        """Compile what a pass of this kind needs, and tell whether it fits at this moment.

        Parameters
        ----------
        kind
            ``"product"``, ``"loss"``, ``"gradient"``.
        vectors
            Vectors that will be kept beside it and must fit as well.

        Raises
        ------
        OutOfMemory
            If it does not fit.
        """
        self._check()
        if kind == "product" and not self._exact:
            kind = "gradient"
        inputs = (self.params, self._fixed, None, self._scalar(1.0))
        if kind == "product":
            wide = jax.tree.map(lambda p: p.astype(parameters.wide(p.dtype)), self.params)
            inputs = (self.params, self._fixed, wide, self._scalar(1.0))
        step, micro = self._step(kind), next(iter(self._data))
        program = step.program(*inputs, micro)
        each = sum(
            parameters.wide(leaf.dtype).itemsize * leaf.size
            for leaf in jax.tree.leaves(self.params)
        )
        # Also of a program that was compiled before, for other vectors or in other memory.
        refuse_too_large(
            program.compiled, what=step.what, examples=micro.size, beside=vectors * each
        )

    def quadratic_forms(self, vector: Tree) -> np.ndarray:
        """``v'A_n v`` of every example (N,), float64, in the order of the data; their mean is
        ``v'Av``.

        One pass by forward differentiation, cheaper than a product, L2 term included. With central
        differences it is not available (RequestError).
        """
        self._check()
        vector = vector_like(vector, self.params)
        if not self._exact:
            raise RequestError(
                "second_derivative: central differences give no curvature per example; "
                "leave the data error out"
            )
        length = float(parameters.dot(vector, vector))
        forms = np.concatenate(list(quadratic_forms(self, vector)))
        return forms.reshape(self._draws, -1).mean(axis=0) + self.l2 * length

    def rayleigh_quotient(self, vector: Tree) -> RayleighQuotient:
        """``v'Av / v'v`` by a program that has nothing in common with the product's.

        The loss is differentiated twice in forward mode, over all parameters also for a block: half
        the time of a product. The two micro-batches that contribute most are evaluated once more
        with every operation in float64, whatever precision the network computes in, which shows how
        far products are off. So it tells products that are miscompiled or of low precision.

        Parameters
        ----------
        vector
            A tree like ``params``, not zero.

        Returns
        -------
        RayleighQuotient
            NaN where there is none: with central differences, without a second forward derivative,
            and where it does not fit in memory. Where float64 was refused its error is ten machine
            epsilons of the coarsest type that the network computes in.
        """
        self._check()
        vector = vector_like(vector, self.params)
        if not self._exact:
            return RayleighQuotient(float("nan"), float("nan"))
        return rayleigh_quotient(*self._unblocked(vector))

    def as_scipy(self) -> Any:
        """This matrix as a ``scipy.sparse.linalg.LinearOperator`` on raveled vectors."""
        return as_scipy(self)

    # --- passes -----------------------------------------------------------------------------------

    def _unblocked(self, vector: Tree) -> tuple["Objective", Tree]:
        """The objective of all parameters that a block is part of, and the block's vector there."""
        if not self.is_block:
            return self, vector
        whole = self._changed()
        whole.params = self._whole(self.params)
        whole._fixed = self._fixed._replace(leaves={})
        whole._assembly = dataclasses.replace(self._assembly, whole=True)
        zeros = jax.tree.map(jnp.zeros_like, whole.params)
        return whole, parameters.with_leaves(zeros, vector)

    def _at(self, params: Tree | None) -> Tree:
        """These parameters on the devices, or the own ones."""
        return self.params if params is None else params_like(params, self.params)

    def _mean(self, kind: Kind, at: Tree) -> Tree:
        """Mean of a step over the data, plus the L2 term's part."""
        mean = sum_over_devices(self.mesh)(self._accumulate(kind, at, self._data))
        return _with_l2(mean, self.l2, at) if self.l2 else mean

    def _evaluate(self, params: Tree) -> dict[str, float]:
        means = self._sums(params, self._data, 1 / self._data.examples)
        if self.l2:
            whole = self._whole(params)
            means["loss"] += self.l2 / 2 * float(parameters.dot(whole, whole))
        return means

    def _sums(self, params: Tree, data: Iterable[MicroBatch], weight: float) -> dict[str, float]:
        sums = sum_over_devices(self.mesh)(self._accumulate("loss", params, data, weight))
        return {name: float(total) for name, total in sums.items()}

    def _accumulate(
        self, kind: Kind, at: Tree, data: Iterable[MicroBatch], weight: float | None = None
    ) -> Tree:
        """Weighted sum over the examples of ``data``; with a mesh, one partial sum per device."""
        each = self._scalar(1 / self._data.examples if weight is None else weight)
        sums = None
        for micro in data:
            sums = self._add(sums, kind, None, each, micro, at)
        return sums

    def _add(
        self,
        sums: Tree | None,
        kind: Kind,
        vector: Tree | None,
        weight: jax.Array,
        micro: MicroBatch,
        at: Tree | None = None,
    ) -> Tree:
        inputs = (self.params if at is None else at, self._fixed, vector, weight)
        step = self._step(kind)
        if is_traced((inputs[0], vector)):
            return step.traced(sums, *inputs, micro)
        program = step.program(*inputs, micro)
        return program(program.zeros() if sums is None else sums, *inputs, micro.batch, micro.mask)

    def _step(self, kind: Kind, *, points_on: Mesh | None = None) -> Step:
        matrix = self.curvature if kind in ("product", "form") else "hessian"
        return Step(
            kind,
            self._loss,
            self._metrics,
            self._assembly,
            points_on or self.mesh,
            ById(self._cache),
            matrix,
            self._estimate,
            points=points_on is not None,
        )

    def _whole(self, free: Tree) -> Tree:
        return self._assembly.merge(free, self._fixed)[0]

    def _central(self) -> Differences:
        if self._differences is None:
            key = jax.random.key(0)
            self._differences = choose_differences(self.gradient, self.params, key)
        return self._differences

    def _scalar(self, value: float) -> jax.Array:
        value = np.asarray(value, "f8" if jax.config.jax_enable_x64 else "f4")
        return jnp.asarray(value) if self.mesh is None else place(value, replicated(self.mesh))

    # --- the check --------------------------------------------------------------------------------

    def _check(self, *, traced: bool = False) -> None:
        """Once: two passes agree, and an example's loss depends on nothing but itself."""
        if self._shared["checked"]:
            return
        # Needed where a product is traced; elsewhere it would run models' initialisers eagerly.
        with jax.ensure_compile_time_eval() if traced else contextlib.nullcontext():
            self._data.read()
            count = self._data.examples // self._draws
            if self.split_size is not None and self.split_size < count:
                raise RequestError(
                    f"split_size: {self.split_size}, and there are {count} examples; it is the "
                    "number of all examples of the split that these are from"
                )
            check_losses(self)
        self._shared["checked"] = True


def _checked_size(split_size: int | None) -> int | None:
    if split_size is None:
        return None
    whole = isinstance(split_size, int | np.integer) and not isinstance(split_size, bool)
    if not whole or split_size < 1:
        raise RequestError(
            f"split_size: {split_size!r} is no number of examples; leave it out if it is not known"
        )
    return int(split_size)


@functools.partial(jax.jit, donate_argnums=0)
def _with_l2(total: Tree, l2: jax.Array | float, direction: Tree) -> Tree:
    return parameters.add_scaled(total, l2, direction)
