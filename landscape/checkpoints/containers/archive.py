"""Zip archives, opened with their sizes checked; `npz` and PyTorch's files are such."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landscape.checkpoints.containers.container import MOST_ARRAYS
from landscape.checkpoints.containers.limits import LONGEST_INDEX, most_bytes

ZIP = b"PK\x03\x04"


class _Guarded(io.BufferedReader):
    """Keeps `zipfile` from reading, and making objects of, whatever a file calls its directory."""

    guarded = True

    def read(self, size: int | None = -1) -> bytes:
        if self.guarded and size is not None and size > LONGEST_INDEX:
            raise ValueError(f"its directory has {size:,} bytes")
        content = super().read(size)
        if self.guarded and content.count(zipfile.stringCentralDir) > MOST_ARRAYS:
            raise ValueError(f"it has more than {MOST_ARRAYS:,} members")
        return content


@contextmanager
def archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose members, stored or deflated, are no longer than its length allows.

    Raises
    ------
    Exception
        If it is damaged, or its members are encrypted, of other kinds, or of one name.
    """
    with _Guarded(io.FileIO(path)) as file, zipfile.ZipFile(file) as members:
        file.guarded = False
        infos, size = members.infolist(), path.stat().st_size
        if any(i.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for i in infos):
            raise ValueError("its members are packed in a way that is not read")
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("two of its members have one name")
        if sum(info.compress_size for info in infos) > size:
            raise ValueError("its members are longer than the file")
        if sum(info.file_size for info in infos) > most_bytes(size):
            raise ValueError(f"it unpacks to more than {most_bytes(size):,} bytes")
        if any(i.compress_size != i.file_size for i in infos if not i.compress_type):
            raise ValueError("its members have two lengths")
        yield members
