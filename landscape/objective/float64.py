"""A function evaluated in float64 throughout, whatever precision it computes in itself.

Used to measure how far a product in float32, bfloat16 or TF32 is from the exact one. Casting the
arguments would not do: networks cast by themselves. So the function is traced as it is, and its
operations are carried out with every floating type replaced by float64.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

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


def in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with every floating number and operation in float64.

    To be called or compiled under ``jax.enable_x64(True)``; the function itself is traced in the
    mode that is set when this is called, so its integers stay what they are.

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
    >>> precise = in_float64(half)
    >>> with jax.enable_x64(True):
    ...     print(float(precise(jnp.ones(1, jnp.float32))))
    0.3333333333333333
    """
    own_mode = bool(jax.config.jax_enable_x64)

    def precise(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        shapes = [jax.ShapeDtypeStruct(jnp.shape(x), jnp.asarray(x).dtype) for x in leaves]
        with jax.enable_x64(own_mode):
            closed, out = jax.make_jaxpr(function, return_shape=True)(
                *jax.tree.unflatten(structure, shapes)
            )
        return jax.tree.unflatten(jax.tree.structure(out), _evaluate_closed(closed, leaves))

    return precise


def _is_floating(value: Any) -> bool:
    return jnp.issubdtype(value, jnp.floating)


def _widened(value: Any) -> Any:
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    return value.astype(np.float64) if _is_floating(value.dtype) else value


def _evaluate_closed(closed: Any, arguments: Sequence[Any]) -> list[Any]:
    return _evaluate(closed.jaxpr, closed.consts, arguments)


def _evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(variable):
        if isinstance(variable, jax.extend.core.Literal):
            return _widened(np.asarray(variable.val, variable.aval.dtype))
        return values[variable]

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
        is_type = isinstance(value, np.dtype | type)
        return np.dtype(np.float64) if is_type and _is_floating(value) else value

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
