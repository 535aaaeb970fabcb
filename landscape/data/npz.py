"""Reading an ``.npz`` of plain arrays; nothing in it is ever run."""

import io
import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from landscape.errors import OutOfMemory, RequestError
from landscape.host import available_memory
from landscape.printable import printable

# dSprites, whose images are mostly black, unpacks to 116 times its size.
_EXPANSION, _ALLOWANCE = 200, 64 * 2**20
_LONGEST_READ = 2**20  # bytes at once; arrays are read in pieces of 256 KiB
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(
    path: Path, needed: Sequence[str], others: Sequence[str], what: str
) -> dict[str, np.ndarray]:
    """The named arrays of an ``.npz``.

    Parameters
    ----------
    path
        The file.
    needed, others
        Names of the arrays that must be there, and that may be. All else is left unread.
    what
        How messages call it, e.g. ``data 'FILE.npz'``.

    Raises
    ------
    RequestError
        If there is no such file, an array is missing, it is damaged, one of the arrays holds
        pickled objects, or they unpack to more than 200 times the file's size and 64 MiB.
    """
    if not os.path.isfile(path):
        raise RequestError(f"{what}: no such file")
    try:
        with warnings.catch_warnings(action="ignore"), _archive(path) as members:
            inside = [name.removesuffix(".npy") for name in members.namelist()]
            _require(needed, inside, what)
            wanted = [name for name in (*needed, *others) if name in inside]
            size, free = _unpacked(members, wanted), available_memory()
            if free is not None and size > free:
                raise OutOfMemory(
                    f"{what}: its arrays need {size / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; "
                    "give fewer images"
                )
            return {name: _array(members, f"{name}.npy") for name in wanted}
    except RequestError:
        raise
    except Exception as error:  # a damaged file can raise anything
        reason = printable(" ".join(str(error).split()), 160) or "it is empty"
        raise RequestError(
            f"{what}: not a complete .npz of plain arrays ({reason}); write it with numpy.savez"
        ) from error


def _require(needed: Sequence[str], inside: Sequence[str], what: str) -> None:
    for name in needed:
        if name not in inside:
            some = ", ".join(printable(each, 40) for each in inside[:5])
            raise RequestError(
                f"{what}: no array {name!r} among {some or 'none'}; "
                f"name the arrays {' and '.join(needed)}"
            )


class _Sparing(io.FileIO):
    """Keeps `zipfile` from making objects of whatever a file calls its directory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _LONGEST_READ:
            raise ValueError(f"it has parts of {size:,} bytes")
        return super().read(size)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive that does not unpack to more than a file of its length can hold."""
    size = path.stat().st_size
    most = _EXPANSION * size + _ALLOWANCE
    with _Sparing(path) as file, zipfile.ZipFile(file) as members:
        infos = members.infolist()
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("two of its arrays have one name")
        if any(i.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for i in infos):
            raise ValueError("its arrays are packed in a way that NumPy does not write")
        if sum(info.compress_size for info in infos) > size:
            raise ValueError("its arrays overlap")
        if sum(info.file_size for info in infos) > most:
            raise ValueError(f"it unpacks to more than {most:,} bytes")
        yield members


def _unpacked(members: zipfile.ZipFile, names: Sequence[str]) -> int:
    return sum(members.getinfo(f"{name}.npy").file_size for name in names)


def _array(members: zipfile.ZipFile, name: str) -> np.ndarray:
    with members.open(name) as member:
        needed = _length(member)
    length = members.getinfo(name).file_size
    if needed != length:
        raise ValueError(f"{name} has {length:,} bytes for an array of {needed:,}")
    with members.open(name) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # the checksum is compared at the end
            raise ValueError(f"{name} is longer than it says")
    return array


def _length(member: BinaryIO) -> int:
    """Bytes that an array in a file takes, by its header."""
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return member.tell() + math.prod(shape) * dtype.itemsize
