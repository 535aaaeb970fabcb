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

    HDF5 makes it in memory, so that it never sees an error of the disk: it hides errors until the
    file is closed, and crashes at the end of the process where it could not close it.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    with h5py.File(path.name, "w", libver=_LIBVER, driver="core", backing_store=False) as file:
        fill(file)
        file.flush()
        content = file.id.get_file_image()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        write_all(descriptor, content, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
