"""Writing onto disks that fill up, so that every error is told and nothing is left half done."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import h5py

# Files of newer versions carry a flag that SIGKILL leaves set, and then cannot be opened again.
_LIBVER = ("earliest", "v108")


def write_all(descriptor: int, values: bytes | memoryview, place: int) -> None:
    """Write at a place, all of it.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    rest = memoryview(values).cast("B")
    while len(rest):
        written = os.pwrite(descriptor, rest, place)
        rest, place = rest[written:], place + written


def opened(path: Path, *, write: bool) -> int:
    """The descriptor of a regular file; a pipe would never end.

    Raises
    ------
    OSError
        If it cannot be opened, or is none.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor


def lock(descriptor: int) -> None:
    """Keep other writers away until it is closed; where the file system has no locks, do without.

    Raises
    ------
    BlockingIOError
        If another process has it.
    """
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


def write_hdf5(path: Path, fill: Callable[[h5py.File], object]) -> None:
    """Make a new HDF5 file; it is on the disk then.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    disk = _Disk(path)
    try:
        with h5py.File(disk, "w", libver=_LIBVER) as file:
            fill(file)
    except Exception:
        if disk.error is None:
            raise
    finally:
        disk.close()
    if disk.error is not None:
        raise disk.error


class _Disk:
    """What HDF5 writes through.

    After the first error nothing is written any more, and HDF5 is not told: it hides errors until
    the file is closed, and crashes at the end of the process where it could not close it.
    """

    def __init__(self, path: Path):
        self.error: OSError | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._descriptor, self._place = os.open(path, flags, 0o666), 0

    def close(self) -> None:
        for step in (os.fsync, os.close):
            try:
                step(self._descriptor)
            except OSError as error:
                self.error = self.error or error

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
        if self.error is None:
            try:
                write_all(self._descriptor, values, self._place)
            except OSError as error:
                self.error = error
        self._place += len(values)
        return len(values)

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        pass  # the system has it all
