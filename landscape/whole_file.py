"""Files that appear complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landscape.errors import RequestError


@contextmanager
def whole_file(path: str | os.PathLike, what: str = "out") -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it once the block has ended without error.

    It has the suffix of ``path``; folders are made. ``what`` names the argument in the error.

    Raises
    ------
    RequestError
        If the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(
            f"{what}: {path} cannot be written ({error.strerror or error}); name another file"
        ) from error
