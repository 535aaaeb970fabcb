"""The part of HDF5 that result files are made of, read without HDF5's library.

The library runs into endless loops and worse over damaged files, follows links to other files, and
takes memory for whatever a file declares. This reads superblocks of version 0, groups of version 1,
and contiguous datasets of numbers and text, which is what h5py writes unless asked for
more; everything else is refused. Only bytes of the file itself are ever looked at, each once or
twice. See the HDF5 File Format Specification Version 3.0.
"""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from landscape import disk

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NOWHERE = 2**64 - 1
_UNALLOCATED = 64 * 2**20  # bytes of values that were declared and never written
_MOST_DIMENSIONS = 32
_SPACE, _TYPE, _FILL, _EXTERNAL, _LAYOUT, _FILTERS = 0x01, 0x03, 0x05, 0x07, 0x08, 0x0B
_ATTRIBUTE, _CONTINUATION, _GROUP, _LINKS = 0x0C, 0x10, 0x11, (0x02, 0x06)
_CONTIGUOUS = 1

# The properties of the floats of IEEE 754: exponents, mantissas, biases.
_FLOATS = {
    2: struct.pack("<HHBBBBI", 0, 16, 10, 5, 0, 10, 15),
    4: struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127),
    8: struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023),
}


@dataclass(frozen=True)
class Dataset:
    """Where the values of a dataset are.

    Attributes
    ----------
    shape
        Its shape.
    dtype
        Of the values; None for text of any length.
    place
        Offset in the file; None where no value was ever written.
    fill
        The bytes of the value that the others have then.
    """

    shape: tuple[int, ...]
    dtype: np.dtype | None
    place: int | None
    fill: bytes = b""

    @property
    def is_text(self) -> bool:
        return self.dtype is None or self.dtype.kind == "S"

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * (16 if self.dtype is None else self.dtype.itemsize)


@dataclass
class Hdf5:
    """An open file; see the module.

    Attributes
    ----------
    attributes
        Of the file as a whole: str, int, float, bool, or lists of them.
    datasets
        By path. None of their values has been read.

    Raises
    ------
    ValueError
        If it is damaged, or has what is refused.
    OSError
        If it cannot be read.
    """

    descriptor: int
    attributes: dict[str, Any] = field(init=False, default_factory=dict)
    datasets: dict[str, Dataset] = field(init=False, default_factory=dict)

    def __post_init__(self):
        self._size = os.fstat(self.descriptor).st_size
        self._left = 4 * self._size + 2**20  # bytes of structure that may be read
        self._heaps: dict[int, dict[int, bytes]] = {}
        start = self._at(0, 96)
        if start[:8] != _SIGNATURE:
            raise ValueError("no signature of HDF5")
        if start[8] or start[13:15] != b"\x08\x08" or start[24:32] != bytes(8):
            raise ValueError("not of the first version of HDF5")
        if _number(start, 40) > self._size:
            raise ValueError("its end is missing")
        seen: set[int] = set()
        waiting, total = [("", _number(start, 64))], 0
        while waiting:
            path, place = waiting.pop()
            if place in seen:
                raise ValueError(f"{path[:60]!r} is in it twice")
            seen.add(place)
            messages = list(self._messages(place))
            kinds = {kind for kind, _ in messages}
            if _GROUP in kinds:
                table = next(body for kind, body in messages if kind == _GROUP)
                above = f"{path}/" if path else ""
                waiting += [(above + name, at) for name, at in self._members(table)]
            elif {_SPACE, _TYPE, _LAYOUT} <= kinds:
                found = self.datasets[path] = self._dataset(dict(messages), path)
                total += found.nbytes
                if total > self._size + _UNALLOCATED:
                    raise ValueError(f"it declares {total:,} bytes or more and has {self._size:,}")
            elif kinds & {*_LINKS}:
                raise ValueError(f"{path[:60] or 'its root'!r} may have links to something else")
            if not path:
                texts = [self._attribute(body) for kind, body in messages if kind == _ATTRIBUTE]
                self.attributes = dict(texts)
        ordered = sorted(self.datasets.items(), key=lambda item: item[0].split("/"))
        self.datasets = dict(ordered)  # as HDF5's library has them

    def read(self, name: str) -> np.ndarray:
        """The values of a dataset; text as str.

        Raises
        ------
        ValueError
            If text is not UTF-8, or more than the file has room for.
        """
        held = self.datasets[name]
        if not math.prod(held.shape):
            return np.empty(held.shape, object if held.is_text else held.dtype)
        if held.place is None:
            return np.full(held.shape, np.frombuffer(held.fill, held.dtype)[0])
        raw, done = bytearray(held.nbytes), 0
        while done < len(raw):  # a call gives 2 GiB at most
            count = os.preadv(self.descriptor, [memoryview(raw)[done:]], held.place + done)
            if not count:
                raise ValueError(f"the end of {name[:60]!r} is missing")
            done += count
        return self._values(raw, held)

    def _values(self, raw: bytes | bytearray, held: Dataset) -> np.ndarray:
        if held.dtype is not None and not held.is_text:
            found = np.frombuffer(raw, held.dtype, math.prod(held.shape)).reshape(held.shape)
            return found.astype(held.dtype.newbyteorder("="), copy=False)
        size = 16 if held.dtype is None else held.dtype.itemsize
        pieces = [raw[i * size : (i + 1) * size] for i in range(math.prod(held.shape))]
        found, length = np.empty(len(pieces), object), 0
        for place, piece in enumerate(pieces):
            text = bytes(piece).rstrip(b"\0") if held.dtype is not None else self._text(piece)
            length += len(text)
            if length > self._size:  # all of them may be the same long one
                raise ValueError("its text is longer than the file")
            found[place] = text.decode("utf-8")
        return found.reshape(held.shape)

    def _text(self, reference: bytes) -> bytes:
        """Text of any length lies in a heap that all share."""
        length, heap, index = struct.unpack("<IQI", reference)
        if not length:
            return b""
        if heap not in self._heaps:
            head = self._at(heap, 16)
            if head[:5] != b"GCOL\x01":
                raise ValueError("its text is not where it should be")
            block, place = self._at(heap, _number(head, 8)), 16
            self._heaps[heap] = {}
            while place + 16 <= len(block) and (number := _number(block, place, 2)):
                size = _number(block, place + 8)
                self._heaps[heap][number] = block[place + 16 : place + 16 + size]
                place += 16 + _padded(size)
        found = self._heaps[heap].get(index, b"")
        if len(found) < length:
            raise ValueError("its text is not where it should be")
        return found[:length]

    def _at(self, place: int, length: int) -> bytes:
        """Bytes of the structure."""
        self._left -= length
        if place + length > self._size:
            raise ValueError("it points behind its end")
        if self._left < 0:
            raise ValueError("its structure is larger than the file")
        return os.pread(self.descriptor, length, place)

    def _messages(self, place: int) -> Iterator[tuple[int, bytes]]:
        """Kinds and bodies of what an object's header says."""
        head = self._at(place, 16)
        if head[0] != 1:
            raise ValueError("not of the first version of HDF5")
        blocks = [(place + 16, _number(head, 8, 4))]
        while blocks:
            block = self._at(*blocks.pop(0))
            at = 0
            while at + 8 <= len(block):
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                body = block[at + 8 : at + 8 + length]
                at += 8 + length
                if len(body) < length:
                    raise ValueError("a header is cut off")
                if kind == _CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", body))
                elif flags & 2:
                    raise ValueError("parts of it are shared")
                else:
                    yield kind, body

    def _members(self, table: bytes) -> Iterator[tuple[str, int]]:
        """Names and places of what is in a group."""
        tree, heap = struct.unpack_from("<QQ", table)
        head = self._at(heap, 32)
        if head[:5] != b"HEAP\0":
            raise ValueError("the names of a group are not where they should be")
        names = self._at(_number(head, 24), _number(head, 8))
        nodes = [tree]
        while nodes:
            node = nodes.pop()
            head = self._at(node, 8)
            if head[:4] == b"TREE" and head[4] == 0:
                children = self._at(node + 24, 8 + 16 * _number(head, 6, 2))
                nodes += [_number(children, at) for at in range(8, len(children), 16)]
            elif head[:5] == b"SNOD\x01":
                entries = self._at(node + 8, 40 * _number(head, 6, 2))
                for at in range(0, len(entries), 40):
                    name, place, cached = struct.unpack_from("<QQI", entries, at)
                    text = names[name : names.index(b"\0", name)].decode("utf-8")
                    if cached == 2 or place == _NOWHERE:
                        raise ValueError(f"{text[:60]!r} is a link to something else")
                    if not text or "/" in text:
                        raise ValueError(f"{text[:60]!r} is no name")
                    yield text, place
            else:
                raise ValueError("the members of a group are not where they should be")

    def _dataset(self, messages: dict[int, bytes], path: str) -> Dataset:
        shape, dtype = _shape(messages[_SPACE]), _dtype(messages[_TYPE])
        layout = messages[_LAYOUT]
        elsewhere = {_EXTERNAL, _FILTERS} & messages.keys()
        if layout[0] != 3 or layout[1] != _CONTIGUOUS or elsewhere:
            raise ValueError(f"the values of {path[:60]!r} are not stored as landscape stores them")
        place, stored = struct.unpack_from("<QQ", layout, 2)
        fill = _fill(messages.get(_FILL, b"")) or bytes(16 if dtype is None else dtype.itemsize)
        found = Dataset(shape, dtype, None if place == _NOWHERE else place, fill)
        declared = found.nbytes
        if found.place is None and (declared > _UNALLOCATED or (declared and dtype is None)):
            raise ValueError(f"{path[:60]!r} declares {declared:,} bytes and has none")
        if found.place is not None and (declared > stored or place + declared > self._size):
            raise ValueError(f"{path[:60]!r} declares {declared:,} bytes and has fewer")
        return found

    def _attribute(self, body: bytes) -> tuple[str, Any]:
        version, shared, *sizes = struct.unpack_from("<BBHHH", body)
        if version not in (1, 2, 3) or (version > 1 and shared):
            raise ValueError("an attribute is not stored as landscape stores it")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            parts.append(body[at : at + size])
            at += _padded(size) if version == 1 else size
        name = parts[0].rstrip(b"\0").decode("utf-8")
        held = Dataset(_shape(parts[2]), _dtype(parts[1]), at)
        if held.nbytes > len(body) - at:
            raise ValueError(f"attribute {name[:60]!r} is cut off")
        return name, self._values(body[at : at + held.nbytes], held).tolist()


@contextmanager
def reading(path: Path) -> Iterator[Hdf5]:
    """A file to read, also while another process writes it.

    Raises
    ------
    ValueError
        If it is damaged, or has what is refused.
    OSError
        If it cannot be read.
    """
    descriptor = disk.opened(path, write=False)
    try:
        yield Hdf5(descriptor)
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"it is damaged: {error}") from error
    finally:
        os.close(descriptor)


def _shape(body: bytes) -> tuple[int, ...]:
    version, rank, _, sort = body[:4]
    if version not in (1, 2) or rank > _MOST_DIMENSIONS or (version == 2 and sort > 1):
        raise ValueError("a shape is not stored as landscape stores it")
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


def _dtype(body: bytes) -> np.dtype | None:
    """The dtype of numbers and of text of a fixed length; None for text of any length."""
    sort, bits, size = body[0] & 15, _number(body, 1, 3), _number(body, 4, 4)
    order = ">" if bits & 1 else "<"
    if sort == 0 and size in (1, 2, 4, 8) and body[8:12] == struct.pack("<HH", 0, 8 * size):
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
    if sort == 1 and not bits & 64 and body[8:20] == _FLOATS.get(size):
        return np.dtype(f"{order}f{size}")
    if sort == 3 and 0 < size < 2**16:
        return np.dtype(f"S{size}")
    if sort == 8 and size == 1 and b"FALSE\0" in body and b"TRUE\0" in body:
        return np.dtype(bool)
    if sort == 9 and bits & 15 == 1 and size == 16:
        return None
    raise ValueError("it holds values that are neither numbers nor text")


def _fill(body: bytes) -> bytes:
    """The bytes of the value of what was never written; none where it is zero."""
    if body[:1] in (b"\x01", b"\x02") and body[3:4] == b"\x01":
        return body[8 : 8 + _number(body, 4, 4)]
    if body[:1] == b"\x03" and body[1] & 32:
        return body[6 : 6 + _number(body, 2, 4)]
    return b""


def _number(raw: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(raw[at : at + size], "little")


def _padded(size: int) -> int:
    return -(-size // 8) * 8
