"""Files that appear complete or not at all, and what is said where they cannot."""

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from landscape.errors import RequestError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORGOTTEN = 24 * 3600.0  # seconds, after which a temporary file is one of a killed process


def is_full_or_broken(error: OSError) -> bool:
    """Whether the disk is at fault, and not the file's name or the rights to it."""
    return error.errno in (*_FULL, errno.EIO)


def cannot_write(what: str, path: str | os.PathLike, error: OSError) -> RequestError:
    """The line for a file that cannot be written: which, why, and what to do.

    ``what`` names the argument.
    """
    if error.errno in _FULL:
        remedy = "free space and repeat the command; what is finished is kept"
    elif error.errno == errno.EIO:
        remedy = "check the disk and repeat the command; what is finished is kept"
    else:
        remedy = "name another file"
    return RequestError(f"{what}: {path} cannot be written ({error.strerror or error}); {remedy}")


@contextmanager
def failure_told(what: str, path: str | os.PathLike) -> Iterator[None]:
    """Whatever the system says against writing a file becomes one line (RequestError)."""
    try:
        yield
    except OSError as error:
        raise cannot_write(what, path, error) from error


@contextmanager
def temporary_beside(path: str | os.PathLike, what: str = "out") -> Iterator[Path]:
    """A path beside another one for its content in the making; what is left there is deleted.

    It has the suffix of ``path``; folders are made. ``what`` names the argument in the error.

    Raises
    ------
    RequestError
        If the block, or making the folders, ends in an OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    with failure_told(what, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: str | os.PathLike, what: str = "out") -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it once the block has ended without error.

    Then it is on the disk. It has the suffix of ``path``; folders are made. ``what`` names the
    argument in the error.

    Raises
    ------
    RequestError
        If the file cannot be written; what was there before stays.
    """
    with temporary_beside(path, what) as temporary:
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)  # some file systems notice only now that they are full
        finally:
            os.close(descriptor)
        os.replace(temporary, path)


def _sweep(path: Path) -> None:
    """Delete what processes left that were killed while they made this file."""
    ours = re.compile(rf"\.\d+-[0-9a-f]{{8}}-{re.escape(path.name)}")
    with suppress(OSError):  # another process may do the same
        for found in path.parent.iterdir():
            if ours.fullmatch(found.name) and time.time() - found.stat().st_mtime > _FORGOTTEN:
                found.unlink()
