"""A disk on which the n-th operation fails, for files that Python writes."""

import builtins
import contextlib
import errno
import io
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from landscape.errors import RequestError

ERRORS = pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])


class Disk:
    """Counts operations below a folder, of which one fails.

    Attributes
    ----------
    failed
        What failed, or None.
    """

    def __init__(self, root: Path, nth: int, number: int):
        self.root, self.left, self.number = os.path.realpath(root), nth, number
        self.failed: str | None = None

    def hit(self, what: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.failed = what
            raise OSError(self.number, os.strerror(self.number))

    def holds(self, path: object) -> bool:
        try:
            return os.path.realpath(os.fspath(path)).startswith(self.root)
        except TypeError:  # a descriptor
            return True


@contextlib.contextmanager
def failing(root: Path, nth: int, number: int) -> Iterator[Disk]:
    """Let the n-th write, flush, close, link, rename or new folder below a folder fail."""
    disk = Disk(root, nth, number)

    class Raw(io.FileIO):
        def write(self, values):
            disk.hit("write")
            return super().write(values)

        def close(self):
            was_open = not self.closed
            super().close()
            if was_open and disk.left > 0:
                disk.hit("close")

    opened = io.open

    def open_(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
        if not set(mode) & set("wax+") or isinstance(file, int) or not disk.holds(file):
            return opened(file, mode, buffering, encoding, errors, newline, **more)
        disk.hit("open")
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        made = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return made if "b" in mode else io.TextIOWrapper(made, encoding, errors, newline)

    def counted(name: str) -> Callable:
        call = getattr(os, name)

        def operation(path, *arguments, **more):
            if disk.holds(path) and not (name == "mkdir" and os.path.isdir(path)):
                disk.hit(name)
            return call(path, *arguments, **more)

        return operation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_)
        patch.setattr(builtins, "open", open_)
        for name in ("pwrite", "ftruncate", "fsync", "link", "replace", "rename", "mkdir"):
            patch.setattr(os, name, counted(name))
        yield disk


def every_failure(
    folder: Path,
    number: int,
    make: Callable[[Path], object],
    check: Callable[[Path], object],
    start: Callable[[Path], object] = lambda place: None,
) -> int:
    """Let every operation of ``make(place)`` fail once, each time in another place.

    ``start(place)`` comes before it.

    Each time the error is one line that names it, ``check`` looks at what is left, nothing
    temporary is, and the same goes well afterwards. Returns how many operations there are.
    """
    for nth in itertools.count(1):
        place = folder / f"{number}-{nth}"
        place.mkdir(parents=True)
        start(place)
        with failing(place, nth, number) as disk:
            try:
                make(place)
            except RequestError as error:
                told = str(error)
                assert disk.failed, told
                assert os.strerror(number) in told, told
                assert "\n" not in told
            else:
                if disk.failed == "open":  # zipfile tries another mode
                    continue
                assert disk.failed is None, f"{disk.failed} failed without a word"
                return nth - 1
        check(place)
        left = list(place.rglob(".*"))
        assert not left, left
        make(place)
    raise AssertionError


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let every file that grows beyond a size fail, also those that are not Python's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
