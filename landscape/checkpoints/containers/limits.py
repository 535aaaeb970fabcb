"""What is refused in files of every kind, before memory is taken for it."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from landscape.checkpoints.containers.container import Described, damaged
from landscape.errors import RequestError

LONGEST_INDEX = 8 * 2**20  # bytes of names and shapes
MOST_DIMENSIONS = 32
LONGEST_NAME = 1000
_EXPANSION, _ALLOWANCE = 20, 64 * 2**20


@contextmanager
def damage_told(path: Path, remedy: str = "get an undamaged copy") -> Iterator[None]:
    """Whatever is raised for a damaged file becomes one line."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise damaged(path, error, remedy) from error


def most_bytes(size: int) -> int:
    """What a file of ``size`` bytes may say that it expands to."""
    return _EXPANSION * size + _ALLOWANCE


def checked(described: Iterable[tuple[str, Described]], size: int) -> dict[str, Described]:
    """The arrays by name, if names and shapes are such as a file of ``size`` bytes can hold.

    Raises
    ------
    ValueError
        Naming the first array that is refused.
    """
    arrays: dict[str, Described] = {}
    total = 0
    for name, array in described:
        reason = _objection(name, array.shape) or ("appears twice" if name in arrays else None)
        total += math.prod(array.shape) * array.dtype.itemsize
        if reason is None and total > most_bytes(size):
            reason = f"is {array.shape} of {array.dtype}, more than {size:,} bytes can hold"
        if reason is not None:
            raise ValueError(f"array {name[:60]!r} {reason}")
        arrays[name] = array
    return arrays


def _objection(name: str, shape: tuple[int, ...]) -> str | None:
    if len(name) > LONGEST_NAME:
        return f"has a name of {len(name):,} characters"
    if not name or name.startswith("/") or ".." in name.split("/") or not name.isprintable():
        return "has a name that is empty, absolute, not printable, or with '..'"
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0:
        return f"has {len(shape)} dimensions or a negative one"
    return None
