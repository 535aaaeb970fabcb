"""NumPy's ``.npz``: a zip archive with one array per member, read without pickle."""

import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import ml_dtypes
import numpy as np

from landscape.checkpoints.containers.archive import ZIP, archive
from landscape.checkpoints.containers.container import Container, Described
from landscape.checkpoints.containers.limits import checked, damage_told

_SUFFIX = ".npy"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_VOID = np.dtype("V2")  # how big_vision stores bfloat16


def recognises(path: Path) -> bool:
    """Whether a file begins with a zip member called ``*.npy``; it may still be damaged."""
    with path.open("rb") as file:
        start = file.read(512)
    length = int.from_bytes(start[26:28], "little")
    return start.startswith(ZIP) and start[30 : 30 + length].endswith(_SUFFIX.encode())


def opened(path: Path) -> "Npz":
    """The described arrays; no values are read.

    Raises
    ------
    RequestError
        If the file is damaged, or holds Python objects.
    """
    with damage_told(path), archive(path) as members:
        described = [
            (info.filename.removesuffix(_SUFFIX), array)
            for info in members.infolist()
            if (array := _described(members, info)) is not None
        ]
        return Npz(path, checked(described, path.stat().st_size))


class Npz(Container):
    """The numbers of an ``.npz``. Text and dates in it are left out."""

    format = "npz"

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        with damage_told(self.path), archive(self.path) as members:
            for name in names:
                with members.open(name + _SUFFIX) as member:
                    array = _array(member)
                dtype = self.arrays[name].dtype
                void = array.dtype == _VOID
                yield name, array.view(dtype) if void else array.astype(dtype, copy=False)


def _described(members: zipfile.ZipFile, info: zipfile.ZipInfo) -> Described | None:
    """What the header of a member says, None if it is of text or dates."""
    if not info.filename.endswith(_SUFFIX):
        raise ValueError(f"{info.filename[:60]!r} is no array")
    with members.open(info) as member:
        version = np.lib.format.read_magic(member)
        with _tolerant():
            shape, _, dtype = _HEADERS[version](member)
        length = member.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or (dtype.kind == "V" and dtype != _VOID):
        raise ValueError(f"{info.filename[:60]!r} holds {str(dtype)[:60]}, no numbers")
    if length != info.file_size:
        raise ValueError(f"{info.filename[:60]!r} has {info.file_size:,} bytes for {length:,}")
    if dtype.kind in "SUMm":
        return None
    return Described(shape, _BFLOAT16 if dtype == _VOID else dtype.newbyteorder("="))


def _array(member: BinaryIO) -> np.ndarray:
    with _tolerant():
        return np.lib.format.read_array(member, allow_pickle=False)


def _tolerant() -> warnings.catch_warnings:
    """Headers that Python 2 wrote are read like all others."""
    return warnings.catch_warnings(action="ignore")
