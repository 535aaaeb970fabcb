"""Files of arrays, one kind per module: what they hold is described first and read when asked."""

from pathlib import Path
from types import ModuleType

from landscape.checkpoints.containers import (
    keras,
    msgpack,
    npz,
    orbax,
    safetensors,
    torch_pickle,
)
from landscape.checkpoints.containers.container import Container
from landscape.errors import RequestError

# Msgpack comes last: it has no magic number.
_KINDS = (torch_pickle, npz, safetensors, keras, msgpack)
_SUFFIXES = (".safetensors", ".npz", ".msgpack", ".bin", ".pt", ".pth", ".th", ".tar")
_READ = "NumPy .npz, safetensors, PyTorch, Flax msgpack and Orbax folders"


def opened(path: Path) -> Container:
    """A file or folder of arrays, of the kind that its content tells; no values are read.

    Raises
    ------
    RequestError
        If it is missing, damaged, or of a kind that is not read.
    """
    try:
        if not path.exists():
            raise RequestError(f"checkpoint: there is no {path}")
        kind = next((kind for kind in _kinds(path) if kind.recognises(path)), None)
        what = "is no checkpoint" if path.is_dir() or path.stat().st_size else "is empty"
        inside = _file_in(path) if kind is None else None
    except OSError as error:
        raise RequestError(f"checkpoint: {path} cannot be read ({error.strerror})") from error
    if kind is None:
        remedy = (
            f"give a run folder, or {_READ}" if inside is None else f"name the file in it: {inside}"
        )
        raise RequestError(f"checkpoint: {path} {what}; {remedy}")
    if kind is keras:
        raise keras.refusal(path)
    return kind.opened(path)


def _file_in(folder: Path) -> Path | None:
    """The file in a folder that is called like one that is read; the first of several."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((file for suffix in _SUFFIXES for file in files if file.suffix == suffix), None)


def _kinds(path: Path) -> tuple[ModuleType, ...]:
    """Those to ask; none for devices and pipes."""
    return (orbax,) if path.is_dir() else _KINDS if path.is_file() else ()
