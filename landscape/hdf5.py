"""HDF5 files on disks that fill up, and from people who are not trusted.

HDF5 hides errors of writing until a file is closed, and crashes at the end of the process where it
cannot write what it still holds. So it writes through :class:`Disk`, which remembers the first
error and tells it when asked. What is read is checked first: only values stored in the file itself,
and no more of them than it has room for.
"""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# Files of newer versions carry a flag that SIGKILL leaves set, and then cannot be opened again.
LIBVER = ("earliest", "v108")
_ALLOWANCE = 64 * 2**20  # bytes of datasets that have no values yet, and so no storage
_LONGEST_LIST = 2**16  # numbers in an attribute


class Disk:
    """A file that HDF5 writes through; locked against other writers until it is closed.

    After the first error nothing is written any more. HDF5 is not told, so that it can close the
    file in peace: what is on the disk is what it would be had the process been killed.

    Attributes
    ----------
    error
        The first error of writing, or None.

    Raises
    ------
    BlockingIOError
        If another process writes the file.
    OSError
        If it cannot be opened, or is no regular file.
    """

    def __init__(self, path: Path, *, new: bool = False):
        self.error: OSError | None = None
        self._place = 0
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        self._descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o666)
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(f"{path} is no regular file")
            _lock(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    def is_at(self, path: Path) -> bool:
        """Whether the path names this file: it may have been replaced meanwhile."""
        return os.path.samestat(os.fstat(self._descriptor), os.stat(path))

    def close(self, *, sync: bool) -> None:
        """Let go of the file; with ``sync`` once it is on the disk."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if sync:
                self._trying(os.fsync, descriptor)
            self._trying(os.close, descriptor)

    # What HDF5 calls:

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = os.fstat(self._descriptor).st_size if whence == os.SEEK_END else 0
        self._place = offset + (self._place if whence == os.SEEK_CUR else size)
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        found = os.pread(self._descriptor, size, self._place)
        self._place += len(found)
        return found

    def readinto(self, buffer: memoryview) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def write(self, values: memoryview) -> int:
        rest, place = memoryview(values), self._place
        while len(rest) and self.error is None:
            written = self._trying(os.pwrite, self._descriptor, rest, place) or 0
            rest, place = rest[written:], place + written
        self._place += len(values)
        return len(values)

    def truncate(self, size: int) -> int:
        if os.fstat(self._descriptor).st_size != size:
            self._trying(os.ftruncate, self._descriptor, size)
        return size

    def flush(self) -> None:
        pass  # the system has it all

    def _trying(self, call: Any, *arguments: Any) -> Any:
        if self.error is None or call is os.close:
            try:
                return call(*arguments)
            except OSError as error:
                self.error = self.error or error
        return None


def _lock(descriptor: int) -> None:
    """As HDF5 itself does; where the file system has no locks, do without."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """A file to read, also while another process writes it.

    Raises
    ------
    OSError
        If it is no regular file, or not HDF5's.
    """
    if not path.is_file():  # a pipe would never end
        raise OSError(f"{path} is no regular file")
    with h5py.File(path, "r", libver=LIBVER, locking=False) as file:
        yield file


def datasets(file: h5py.File, size: int) -> dict[str, h5py.Dataset]:
    """The datasets of a file of so many bytes, by path; none of their values is read.

    Raises
    ------
    ValueError
        For values that are stored elsewhere (external or virtual datasets, links), that are no
        numbers or text, or that are more than the file has room for.
    """
    found: dict[str, h5py.Dataset] = {}
    seen, groups, total = {_address(file)}, [("", file["/"])], 0
    while groups:
        above, group = groups.pop()
        for name in group:
            path = above + _text(name)
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{path[:60]!r} is a link to something else")
            item = group[name]
            if _address(item) in seen:
                raise ValueError(f"{path[:60]!r} is in it twice")
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                groups.append((path + "/", item))
            elif isinstance(item, h5py.Dataset):
                total += _checked(item, path, size)
                if total > size + _ALLOWANCE:
                    raise ValueError(f"it declares {total:,} bytes or more and has {size:,}")
                found[path] = item
    return found


def _checked(item: h5py.Dataset, path: str, size: int) -> int:
    """The bytes of values that a dataset declares."""
    made = item.id.get_create_plist()
    layout = made.get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or made.get_external_count():
        raise ValueError(f"the values of {path[:60]!r} are not stored as landscape stores them")
    if item.shape is None or not _is_known(item.dtype):
        raise ValueError(f"{path[:60]!r} holds neither numbers nor text")
    declared, stored = math.prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size()
    place = item.id.get_offset()
    if layout == h5py.h5d.CONTIGUOUS and place is not None and place + stored > size:
        raise ValueError(f"{path[:60]!r} ends behind the end of the file")
    if declared > (stored or _ALLOWANCE):
        raise ValueError(f"{path[:60]!r} declares {declared:,} bytes and has {stored:,}")
    return declared


def _is_known(dtype: np.dtype) -> bool:
    return (dtype.kind in "biuf" and dtype.itemsize <= 8) or _is_text(dtype)


def _is_text(dtype: np.dtype) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def values(item: h5py.Dataset, size: int) -> np.ndarray:
    """The values of a checked dataset of a file of so many bytes; text as str.

    Raises
    ------
    ValueError
        If text is not in UTF-8, or more of it than the file has room for.
    """
    if not _is_text(item.dtype):
        return item[...]
    found, length = np.empty(item.shape, object), 0
    for index in np.ndindex(item.shape):  # one by one: all may be the same long one
        found[index] = _text(item[index])
        length += len(found[index])
        if length > size:
            raise ValueError("its text is longer than the file")
    return found


def attributes(file: h5py.File) -> dict[str, Any]:
    """The attributes of a file: str, int, float, bool, or lists of numbers.

    Raises
    ------
    ValueError
        For others.
    """
    found = {}
    for name in file.attrs:
        held = file.attrs.get_id(name)
        few = held.shape is not None and math.prod(held.shape) <= _LONGEST_LIST
        if not few or not _is_known(held.dtype) or (_is_text(held.dtype) and held.shape != ()):
            raise ValueError(f"attribute {name[:60]!r} is neither text nor a number")
        value = file.attrs[name]
        text = _is_text(held.dtype)
        found[_text(name)] = _text(value) if text else np.asarray(value).tolist()
    return found


def _text(value: Any) -> str:
    """Text that HDF5 gives as bytes, or as str with escapes for what is not UTF-8."""
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8")


def _address(item: Any) -> int:
    return h5py.h5o.get_info(item.id).addr
