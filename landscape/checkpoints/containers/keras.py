"""Keras's files, and HDF5 files as such: recognised, so that it can be said what to do instead.

They are not opened: HDF5 is a large library in C, and what it would find needs Keras to be read.
"""

from pathlib import Path

from landscape.checkpoints.containers.archive import ZIP
from landscape.errors import RequestError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MEMBERS = (b"config.json", b"model.weights.h5")
_OF_RESULTS = (b"kind\0", b"schema\0", b"request\0")  # attributes that `landscape.results` writes


def recognises(path: Path) -> bool:
    """Whether a file's content is HDF5's, or a zip archive with the members that Keras writes."""
    return _is_hdf5(path) or _is_keras_zip(path)


def refusal(path: Path) -> RequestError:
    """What to do with a file that is recognised."""
    if _is_hdf5(path) and _is_result(path):
        return RequestError(
            f"checkpoint: {path} is a result file, it holds no parameters; draw it with `report`, "
            "or name the checkpoint it was made from"
        )
    kind = "an HDF5 file" if _is_hdf5(path) else "a .keras archive"
    return RequestError(
        f"checkpoint: {path} is {kind}, which is not read; load it in Keras and save "
        "numpy.savez('weights.npz', **{v.path: v.numpy() for v in model.weights})"
    )


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _is_keras_zip(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(512)
        file.seek(max(0, path.stat().st_size - 512))  # where archives list their members
        ends = start + file.read(512)
    return start.startswith(ZIP) and all(name in ends for name in _MEMBERS)


def _is_result(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2**16)
    return all(name in start for name in _OF_RESULTS)
