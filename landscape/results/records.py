"""What a number depends on, as JSON, and how two requests differ."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.errors import RequestError
from landscape.printable import printable

_MOST = 1000  # numbers of an array


def as_json(record: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A record of text, numbers, booleans, None, lists and mappings as JSON gives it back.

    Numbers of NumPy become Python's, small arrays lists, and paths text.

    Raises
    ------
    RequestError
        Which names the first entry that is none of these.
    """
    found = {}
    for name, value in record.items():
        if not isinstance(name, str):
            raise RequestError(f"record: {above + repr(name)} is no name; use text")
        found[str(name)] = _plain(value, above + name)
    return found


def _plain(value: Any, name: str) -> Any:
    if value is None or type(value) in (bool, float, str):
        return value
    try:
        if isinstance(value, Mapping):
            return as_json(value, f"{name}.")
        if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str):
            return os.fspath(value)
        if isinstance(value, list | tuple):
            return [_plain(item, name) for item in value]
        if hasattr(value, "__array__") and math.prod(value.shape) <= _MOST:
            return _plain(np.asarray(value).tolist(), name)
        if isinstance(value, int | float | str):
            return json.loads(json.dumps(value))
    except RequestError:
        raise
    except (RecursionError, ValueError) as error:  # or an integer of too many digits
        raise RequestError(f"record: {name:.60} is too deep or too long; leave it out") from error
    raise RequestError(
        f"record: {name:.60} is {type(value).__name__}; use text, numbers, booleans, None, lists, "
        f"mappings or arrays of at most {_MOST:,} numbers"
    )


def other_precision(x64: bool) -> str:
    """What is wrong and what to do, for numbers whose precision is not this session's."""
    was, now = ("64", "32") if x64 else ("32", "64")
    return (
        f"was made in float{was}, this session computes in float{now}; set JAX_ENABLE_X64="
        f"{int(x64)} to go on with it"
    )


def difference(found: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first setting in which two requests differ: its name, and both values, short.

    The schema comes first: where it differs, other settings do because of it.
    """
    found, request = _flat(found), _flat(request)
    for name in sorted(found.keys() | request.keys(), key=lambda name: (name != "schema", name)):
        was, now = found.get(name), request.get(name)
        if was != now and json.dumps(was) != json.dumps(now):  # NaN is not equal to itself
            return printable(name, 60), _short(was), _short(now)
    return None


def _flat(request: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """``{"data.split": "train"}`` for what is nested."""
    flat = {}
    for name, value in request.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{above}{name}.") if inner else {above + name: value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
