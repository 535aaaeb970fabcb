"""Reading an ``.npz`` of plain arrays; nothing in it is ever run."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from landscape.errors import RequestError


def read_npz(path: Path, what: str) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` by name.

    Parameters
    ----------
    path
        The file.
    what
        How messages call it, e.g. ``data 'FILE.npz'``.

    Raises
    ------
    RequestError
        If there is no such file, it is damaged, or it holds pickled objects.
    """
    if not path.is_file():
        raise RequestError(f"{what}: no such file")
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            with file:
                return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise RequestError(
            f"{what}: not a complete .npz of plain arrays ({reason}); write it again"
        ) from error
