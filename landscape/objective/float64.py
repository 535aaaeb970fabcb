"""A function evaluated in float64 throughout, whatever precision it computes in itself.

Used to measure how far a product in float32, bfloat16 or TF32 is from the exact one. Casting the
arguments would not do: networks cast by themselves. So the function is traced as it is, and its
operations are carried out with every floating type replaced by float64. Its constants stay as it
rounds them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

# Matrix products that round their inputs, by the beginning of the name of their algorithm.
_ALGORITHMS = {"BF16_BF16_F32": 2.0**-7, "F16_F16": 2.0**-10, "TF32_TF32_F32": 2.0**-10,
               "ANY_F8": 2.0**-2}  # fmt: skip

# Calls that hold a function: its operations take the place of the call.
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "named_call",
    "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
}  # fmt: skip
_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")

# Operations whose settings hold a program for their own type: made anew.
_SCATTERS = {
    "scatter": jax.lax.scatter,
    "scatter-add": jax.lax.scatter_add,
    "scatter-sub": getattr(jax.lax, "scatter_sub", None),
    "scatter_mul": jax.lax.scatter_mul,
    "scatter-mul": jax.lax.scatter_mul,
    "scatter-min": jax.lax.scatter_min,
    "scatter-max": jax.lax.scatter_max,
}

# What works on the bits of a number, runs outside of XLA, or holds functions of another kind.
_REFUSED = {
    "bitcast_convert_type", "nextafter", "pallas_call", "ffi_call", "pure_callback", "io_callback",
    "shard_map", "custom_partitioning", "custom_root", "custom_linear_solve", "reduce",
    "reduce_window", "linear_call", "custom_lin", "custom_transpose",
}  # fmt: skip


class NoFloat64(Exception):
    """An operation of the function has no counterpart in float64."""


class InFloat64:
    """The function with every floating number and operation in float64.

    To be called or compiled under ``jax.enable_x64(True)``, after :meth:`trace` outside of it: the
    function is traced in the mode that it was written for, so its integers stay what they are.

    Parameters
    ----------
    function
        Of trees of arrays, traceable.

    Raises
    ------
    NoFloat64
        When the result is traced, if the function contains an operation that cannot be carried out
        in float64: a kernel of its own, a callback, an operation on bits.

    Examples
    --------
    >>> half = lambda x: jnp.sum(x.astype(jnp.bfloat16) / 3)
    >>> one = jnp.ones(1, jnp.float32)
    >>> precise = InFloat64(half).trace(one)
    >>> with jax.enable_x64(True):
    ...     print(float(precise(one)))
    0.3333333333333333
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self._traced: dict[Any, tuple[Any, Any]] = {}

    def trace(self, *arguments: Any) -> "InFloat64":
        """Trace it for arguments, or ``jax.ShapeDtypeStruct``, of these shapes; returns itself."""
        if self._key(arguments) not in self._traced:
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
            made = jax.make_jaxpr(self._function, return_shape=True)(*shapes)
            self._traced[self._key(arguments)] = made
        return self

    def __call__(self, *arguments: Any) -> Any:
        closed, out = self._traced[self._key(arguments)]
        found = _evaluate_closed(closed, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(out), found)

    @staticmethod
    def _key(arguments: tuple) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        return structure, tuple((x.shape, np.dtype(x.dtype)) for x in leaves)


def coarsest_epsilon(function: Callable[..., Any], *arguments: Any) -> float:
    """The machine epsilon of the coarsest floating type that a function computes in.

    ``arguments`` are arrays or ``jax.ShapeDtypeStruct``. Types that an operation rounds its inputs
    to count as well; what runs outside of JAX is not seen.
    """
    return _coarsest(jax.make_jaxpr(function)(*arguments).jaxpr)


def _coarsest(jaxpr: Any) -> float:
    found = [0.0]
    for equation in jaxpr.eqns:
        types = (getattr(variable.aval, "dtype", None) for variable in equation.outvars)
        found += [float(jnp.finfo(t).eps) for t in types if t and jnp.issubdtype(t, jnp.inexact)]
        if equation.primitive.name == "reduce_precision":
            found.append(2.0 ** -equation.params["mantissa_bits"])
        algorithm = getattr(equation.params.get("precision"), "name", "")
        found += [eps for name, eps in _ALGORITHMS.items() if algorithm.startswith(name)]
        for setting in equation.params.values():
            for inner in setting if isinstance(setting, tuple | list) else (setting,):
                inner = getattr(inner, "jaxpr", inner)
                found += [_coarsest(inner)] if hasattr(inner, "eqns") else []
    return max(found)


def _wide(dtype: Any) -> Any:
    """The type in double precision that takes a type's place; the same for integers."""
    if jnp.issubdtype(dtype, jnp.floating):
        return np.dtype(np.float64)
    return np.dtype(np.complex128) if jnp.issubdtype(dtype, jnp.complexfloating) else dtype


def _widened(value: Any) -> Any:
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    return value if _wide(value.dtype) == value.dtype else value.astype(_wide(value.dtype))


def _evaluate_closed(closed: Any, arguments: Sequence[Any]) -> list[Any]:
    return _evaluate(closed.jaxpr, closed.consts, arguments)


def _evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(variable):
        if isinstance(variable, jax.extend.core.Literal):
            return _widened(np.asarray(variable.val, variable.aval.dtype))
        value = values[variable]
        if jnp.issubdtype(value.dtype, jnp.integer) and value.dtype != variable.aval.dtype:
            value = value.astype(variable.aval.dtype)  # closed over, and widened by the mode
        return value

    for variable, value in zip(jaxpr.constvars, constants, strict=True):
        values[variable] = _widened(value)
    for variable, value in zip(jaxpr.invars, arguments, strict=True):
        values[variable] = _widened(value)
    for equation in jaxpr.eqns:
        found = _apply(equation, [read(variable) for variable in equation.invars])
        for variable, value in zip(equation.outvars, found, strict=True):
            values[variable] = value
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, inputs: list[Any]) -> list[Any]:
    name, settings = equation.primitive.name, equation.params
    if name in _REFUSED:
        raise NoFloat64(name)
    if name in _CALLS:
        return _body(next(settings[key] for key in _BODIES if key in settings))(*inputs)
    if name == "scan":
        return _scan(settings, inputs)
    if name == "while":
        return _while(settings, inputs)
    if name == "cond":
        index, *operands = inputs
        return jax.lax.switch(index, [_body(branch) for branch in settings["branches"]], *operands)
    if name in _SCATTERS:
        kept = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        return [_SCATTERS[name](*inputs, **{key: settings[key] for key in kept})]
    if name == "reduce_precision":
        return inputs
    found = equation.primitive.bind(*inputs, **_wider(settings))
    return list(found) if equation.primitive.multiple_results else [found]


def _wider(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an operation with floating types replaced."""

    def wider(value):
        is_type = isinstance(value, np.dtype) or (
            isinstance(value, type) and issubclass(value, np.generic)
        )
        return _wide(value) if is_type else value

    return {name: wider(value) for name, value in settings.items()}


def _body(inner: Any) -> Callable[..., list[Any]]:
    if hasattr(inner, "consts"):
        return lambda *arguments: _evaluate_closed(inner, arguments)
    return lambda *arguments: _evaluate(inner, (), arguments)


def _scan(settings: Mapping[str, Any], inputs: list[Any]) -> list[Any]:
    body = _body(settings["jaxpr"])
    constants, carried = settings["num_consts"], settings["num_carry"]
    fixed, start = inputs[:constants], inputs[constants : constants + carried]

    def step(carry, row):
        found = body(*fixed, *carry, *row)
        return found[:carried], found[carried:]

    carry, rows = jax.lax.scan(
        step,
        [_widened(value) for value in start],
        inputs[constants + carried :],
        length=settings["length"],
        reverse=settings["reverse"],
        unroll=settings["unroll"],
    )
    return [*carry, *rows]


def _while(settings: Mapping[str, Any], inputs: list[Any]) -> list[Any]:
    test, body = _body(settings["cond_jaxpr"]), _body(settings["body_jaxpr"])
    tested, used = settings["cond_nconsts"], settings["body_nconsts"]
    for_test, for_body = inputs[:tested], inputs[tested : tested + used]
    return jax.lax.while_loop(
        lambda carry: test(*for_test, *carry)[0],
        lambda carry: body(*for_body, *carry),
        [_widened(value) for value in inputs[tested + used :]],
    )
