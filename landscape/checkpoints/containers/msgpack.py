"""Flax's msgpack files (``flax.serialization.to_bytes``): nested maps whose leaves are arrays.

Only the framing of msgpack is followed (github.com/msgpack/msgpack, spec.md): a few bytes per
entry, and the values stay in the file. A general unpacker would make an object of every entry
before it could be counted, and read all values to find the names.

An array is an extension of type 1, a NumPy scalar one of type 3; both contain the msgpack of
``(shape, name of the dtype, values)``. Arrays over 1 GiB are maps ``{"__msgpack_chunked_array__":
True, "shape": {"0": n, ...}, "chunks": {"0": array, ...}}``. Sequences are maps ``{"0": ...}``.
"""

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from landscape.checkpoints.containers.container import MOST_ARRAYS, Container, Described
from landscape.checkpoints.containers.limits import (
    LONGEST_NAME,
    MOST_DIMENSIONS,
    checked,
    damage_told,
)

_ARRAYS = (1, 3)  # types of extensions
_CHUNKED = "__msgpack_chunked_array__"
_DEEPEST = 64
_NUMBERS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_MORE_FLOATS = (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
_DTYPES = {np.dtype(kind).name: np.dtype(kind) for kind in (*_NUMBERS, *_MORE_FLOATS)}
_LENGTHS = {  # first byte: kind, bytes of the length that follows
    **{0xC4 + i: ("bytes", 1 << i) for i in range(3)},
    **{0xC7 + i: ("extension", 1 << i) for i in range(3)},
    **{0xD9 + i: ("text", 1 << i) for i in range(3)},
    **{0xDC + i: ("list", 2 << i) for i in range(2)},
    **{0xDE + i: ("map", 2 << i) for i in range(2)},
}
_FIXED = {  # first byte: kind, bytes of content
    **dict.fromkeys((0xC0, 0xC2, 0xC3), ("constant", 0)),
    **{0xCA + i: ("float", 4 << i) for i in range(2)},
    **{0xCC + i: ("unsigned", 1 << i) for i in range(4)},
    **{0xD0 + i: ("signed", 1 << i) for i in range(4)},
    **{0xD4 + i: ("extension", 1 << i) for i in range(5)},
}


def recognises(path: Path) -> bool:
    """Whether a file begins with a map whose first key is text. Ask last: others may, too."""
    with path.open("rb") as file:
        start = file.read(6)
    at = 1 if b"\x81" <= start[:1] <= b"\x8f" else {b"\xde": 3, b"\xdf": 5}.get(start[:1], 6)
    key = start[at : at + 1]
    return b"\xa0" <= key <= b"\xbf" or key in (b"\xd9", b"\xda", b"\xdb")


def opened(path: Path) -> "Msgpack":
    """The described arrays; no values are read. Leaves that are no arrays are left out.

    Raises
    ------
    RequestError
        If the file is damaged or not of Flax's kind.
    """
    with (
        damage_told(path),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        walk = _Walk(content)
        leaves = list(walk.leaves())
        if walk.position != len(content):
            raise ValueError(f"its map ends at byte {walk.position} of {len(content)}")
        arrays = checked(((name, leaf.described) for name, leaf in leaves), len(content))
        return Msgpack(path, arrays, {name: leaf.pieces for name, leaf in leaves})


@dataclass(frozen=True)
class Msgpack(Container):
    """The arrays of a Flax file. ``pieces`` says where the values are: start, length in bytes."""

    format = "Flax msgpack"

    pieces: Mapping[str, list[tuple[int, int]]] = field(repr=False)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        with damage_told(self.path), self.path.open("rb") as file:
            for name in names:
                array = np.empty(self.arrays[name].shape, self.arrays[name].dtype)
                room = memoryview(array.reshape(-1).view(np.uint8))
                for start, length in self.pieces[name]:
                    file.seek(start)
                    if file.readinto(room[:length]) < length:
                        raise ValueError("it has become shorter")
                    room = room[length:]
                yield name, array


class _Item(NamedTuple):
    """Where the content of an item is: ``length`` in entries or bytes."""

    kind: str
    start: int
    length: int


class _Leaf(NamedTuple):
    described: Described
    pieces: list[tuple[int, int]]


class _Walk:
    """Goes through the items of a file once, from its beginning."""

    def __init__(self, content: mmap.mmap):
        self.position = 0
        self._content = content
        self._entries = 0

    def leaves(self, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, _Leaf]]:
        """Names and places of the arrays of the map at the position."""
        if depth > _DEEPEST:
            raise ValueError(f"its maps are nested more than {_DEEPEST} deep")
        for _ in range(self._take("map").length):
            name = prefix + self._text()
            if len(name) > LONGEST_NAME:  # here, as what is below a name repeats it
                raise ValueError(f"it has a name of {len(name):,} characters")
            item = self._peek()
            if item.kind == "map":
                if leaf := self._chunked():
                    yield name, leaf
                else:
                    yield from self.leaves(f"{name}/", depth + 1)
            elif item.kind == "extension" and self._content[item.start] in _ARRAYS:
                yield name, self._array()
            else:
                self._skip()

    def _peek(self) -> _Item:
        first, at = self._content[self.position], self.position + 1
        if first < 0x80 or first >= 0xE0:
            return _Item("unsigned" if first < 0x80 else "signed", at - 1, 1)
        if first < 0xA0:
            return _Item("map" if first < 0x90 else "list", at, first & 0x0F)
        if first < 0xC0:
            kind, length = "text", first & 0x1F
        elif first in _LENGTHS:
            kind, width = _LENGTHS[first]
            length = int.from_bytes(self._content[at : at + width], "big")
            at += width
        elif first in _FIXED:
            kind, length = _FIXED[first]
        else:
            raise ValueError(f"byte {first:#x} begins nothing")
        if kind not in ("map", "list"):
            length += kind == "extension"  # the type
            if at + length > len(self._content):
                raise ValueError(f"{length:,} bytes from {at:,} on are beyond its end")
        return _Item(kind, at, length)

    def _take(self, *kinds: str) -> _Item:
        """The item at the position, which moves to what follows: for maps and lists, into them."""
        item = self._peek()
        if kinds and item.kind not in kinds:
            raise ValueError(f"{item.kind} where {kinds[0]} should be, at byte {self.position:,}")
        self.position = item.start
        if item.kind in ("map", "list"):
            self._entries += item.length
            if self._entries > 2 * MOST_ARRAYS:  # maps and arrays
                raise ValueError(f"it has more than {2 * MOST_ARRAYS:,} entries")
        else:
            self.position += item.length
        return item

    def _text(self) -> str:
        _, start, length = self._take("text")
        if length > 4 * LONGEST_NAME:
            raise ValueError(f"it has a name of {length:,} bytes")
        return self._content[start : start + length].decode()

    def _number(self) -> int:
        _, start, length = self._take("unsigned")
        return int.from_bytes(self._content[start : start + length], "big")

    def _skip(self) -> None:
        pending = 1
        while pending:
            item = self._take()
            pending += {"map": 2, "list": 1}.get(item.kind, 0) * item.length - 1

    def _array(self) -> _Leaf:
        _, start, length = self._take("extension")
        end, self.position = start + length, start + 1
        if self._take("list").length != 3:
            raise ValueError("an array without shape, dtype and values")
        dimensions = self._take("list").length
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"an array of {dimensions:,} dimensions")
        shape = tuple(self._number() for _ in range(dimensions))
        name = self._text()
        if name not in _DTYPES:
            raise ValueError(f"an array of dtype {name[:60]!r}")
        values = self._take("bytes")
        if self.position != end or values.length != math.prod(shape) * _DTYPES[name].itemsize:
            raise ValueError(f"{values.length:,} bytes for an array {shape} of {name}")
        return _Leaf(Described(shape, _DTYPES[name]), [(values.start, values.length)])

    def _chunked(self) -> _Leaf | None:
        """The array that the map at the position is in pieces, or None, and the position stays."""
        before = self.position, self._entries
        if self._take("map").length != 3 or self._text() != _CHUNKED:
            self.position, self._entries = before
            return None
        self._skip()
        shape = self._named("shape", self._number)
        chunks = self._named("chunks", self._array)
        (dtype,) = {chunk.described.dtype for chunk in chunks}
        pieces = [piece for chunk in chunks for piece in chunk.pieces]
        if sum(length for _, length in pieces) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"the pieces of an array {shape} of {dtype} are of another size")
        return _Leaf(Described(tuple(shape), dtype), pieces)

    def _named(self, name: str, entry) -> list:
        """The entries ``{"0": ..., "1": ...}`` of the map under a key."""
        if self._text() != name:
            raise ValueError(f"an array in pieces without {name}")
        entries = []
        for i in range(self._take("map").length):
            if self._text() != str(i):
                raise ValueError(f"an array in pieces with {name} out of order")
            entries.append(entry())
        return entries
