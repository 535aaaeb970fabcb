"""Hugging Face's ``.safetensors``: a JSON header, then the values; read by its own library."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import ml_dtypes  # first: its dtypes are then known to safetensors
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from landscape.checkpoints.containers.container import (
    MOST_ARRAYS,
    Container,
    Described,
    batches,
)
from landscape.checkpoints.containers.limits import LONGEST_INDEX, checked, damage_told
from landscape.errors import RequestError
from landscape.whole_file import whole_file

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}


def recognises(path: Path) -> bool:
    """Whether a file begins with the length of a header and its brace; it may still be damaged."""
    with path.open("rb") as file:
        start = file.read(9)
    # The format's headers have at most 100 MB; other files that begin so say far more.
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000


def opened(path: Path) -> "Safetensors":
    """The described arrays; no values are read.

    Raises
    ------
    RequestError
        If the file is damaged, or holds a dtype that is not read.
    """
    with damage_told(path):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST_INDEX:
                raise ValueError(f"its header has {length:,} bytes")
            json.loads(file.read(length), object_pairs_hook=_check_names)
        with safe_open(path, framework="numpy") as file:
            described = ((name, _described(file, name)) for name in file.offset_keys())
            arrays = checked(described, path.stat().st_size)
            return Safetensors(path, arrays, metadata=file.metadata() or {})


def written(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays, and text about them, to a file that appears complete or not at all.

    Raises
    ------
    RequestError
        If it cannot be written.
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with whole_file(path) as temporary:
        try:
            save_file(contiguous, temporary, dict(metadata))
        except SafetensorError as error:
            raise RequestError(f"out: {path} cannot be written ({error})") from error


class Safetensors(Container):
    """The arrays of a safetensors file, in the order of their values."""

    format = "safetensors"

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        with damage_told(self.path):
            for batch in batches(names, self.arrays):
                # Opened again each time: what was read of a mapped file stays in memory.
                with safe_open(self.path, framework="numpy") as file:
                    for name in batch:
                        yield name, file.get_tensor(name)


def _described(file, name: str) -> Described:
    array = file.get_slice(name)
    if array.get_dtype() not in _DTYPES:
        raise ValueError(f"array {name[:60]!r} is of dtype {array.get_dtype()}")
    return Described(tuple(array.get_shape()), np.dtype(_DTYPES[array.get_dtype()]))


def _check_names(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) > MOST_ARRAYS + 1:  # and what is said about them
        raise ValueError(f"it has {len(pairs):,} names")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name appears twice")
