"""Options from a TOML file, and what the value of an option has to keep to wherever it is from."""

import dataclasses
import difflib
import math
import os
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

from landscape.errors import RequestError
from landscape.printable import printable

_LONGEST = 64 * 2**10  # bytes of a file
_MOST_NESTED = 10**7  # dots times keys, which is the time that tomllib takes
_MOST_SHOWN = 60  # characters of a value in a message
_SEEDS = 2**32
_INTEGERS = 2**63


class FromFile(str):
    """The name of a function that stands in a file: nobody has asked for it to be called."""


def from_toml(options: type, path: str) -> dict[str, Any]:
    """The options that a file sets, by their names in Python; functions as `FromFile`.

    Raises
    ------
    RequestError
        If it cannot be read, is no TOML, or sets what is no option or not of its type.
    """
    hints, settings = typing.get_type_hints(options), {}
    for key, value in _read(path).items():
        name = key.replace("-", "_")
        if name not in hints or name == "config":
            near = difflib.get_close_matches(name[:_MOST_SHOWN], hints, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            hint = "; options stand at the top, without [tables]" if type(value) is dict else hint
            raise RequestError(f"config: {path} sets {_shown(key)}, which is no option here{hint}")
        if name in settings:
            raise RequestError(
                f"config: {path} sets {_shown(key)} twice, with - and _; set it once"
            )
        settings[name] = _typed(value, hints[name], f"config: {path}: {key}")
        if _is_function(name, settings[name]):
            settings[name] = FromFile(settings[name])
    return settings


def check(options: Any) -> None:
    """Refuse values that no option takes.

    Raises
    ------
    RequestError
        For a number that is not finite or too large, a seed outside [0, 2³²), no devices, a text
        that is no name of a file, and a function that only a file names.
    """
    for field in dataclasses.fields(options):
        name, value = field.name, getattr(options, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            _check(name, each)
    if not 0 <= options.seed < _SEEDS:
        raise RequestError(f"seed: found {_shown(options.seed)}; give a number from 0 to 2³² - 1")
    if getattr(options, "devices", 1) < 1:
        raise RequestError(f"devices: found {_shown(options.devices)}; give 1 or more")


def _check(name: str, value: Any) -> None:
    if isinstance(value, FromFile):
        option = f"--{name.replace('_', '-')} {printable(value, _MOST_SHOWN)}"
        raise RequestError(
            f"{name}: the file of --config names the function {_shown(str(value))}, which is code; "
            f"if you trust it, name it on the command line: {option}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{name}: found {value}; give a finite number")
    if isinstance(value, int) and abs(value) >= _INTEGERS:
        raise RequestError(f"{name}: found {_shown(value)}; give a smaller number")
    if isinstance(value, str):
        try:
            usable = b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise RequestError(f"{name}: {_shown(value)} has characters that no name has; rename")


def _read(path: str) -> dict[str, Any]:
    if not os.path.isfile(path):  # a pipe would not end
        found = "is no file" if os.path.exists(path) else "is not there"
        raise RequestError(f"config: {path} {found}; name a TOML file")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise RequestError(f"config: {path} cannot be read ({error.strerror})") from error
    if len(content) > _LONGEST or content.count(b".") * content.count(b"=") > _MOST_NESTED:
        raise RequestError(f"config: {path} is longer or more nested than options need; shorten it")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # of TOML, UTF-8, and numbers of many digits
        raise RequestError(
            f"config: {path} is no TOML file ({error}); text needs quotes"
        ) from error


def _is_function(name: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    plain = os.path.isdir(value) or value.endswith(".npz")
    return name == "objective" or (name == "data" and ":" in value and not plain)


def _typed(value: Any, hint: Any, where: str) -> Any:
    """A TOML value as its option's type; tyro checks only what comes from flags."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    words = [word for kind in kinds for word in _words(kind)]
    for kind in kinds:
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            return tuple(_typed(each, typing.get_args(kind)[0], where) for each in value)
        if kind is float and type(value) is int and abs(value) < _INTEGERS:
            return float(value)
        if type(value) is kind or (isinstance(value, str) and value in _words(kind)):
            return value
    if words:
        raise RequestError(f"{where} is {_shown(value)}, use one of {', '.join(map(str, words))}")
    names = " or ".join(_KINDS[kind] for kind in kinds if kind in _KINDS)
    raise RequestError(f"{where} is {_shown(value)}, not {names or 'a list'}")


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    bool: "true or false",
}


def _words(kind: Any) -> tuple:
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def _shown(value: Any) -> str:
    try:
        return printable(repr(value), _MOST_SHOWN)
    except ValueError:
        return "a number of thousands of digits"
