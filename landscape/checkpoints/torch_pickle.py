"""State dicts in PyTorch's files, legacy pickles and zip archives, read without PyTorch.

Only tensors and plain containers are admitted: no code from the file can run. Nothing is allocated
that the file is not long enough to fill.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from landscape.errors import RequestError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LEGACY = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."  # the pickled magic number
_ZIP = b"PK\x03\x04"
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
_MOST_DIMENSIONS = 64  # of PyTorch
_HOLDERS = ("state_dict", "model", "net", "params")
_PREFIX = "module."  # of torch.nn.DataParallel


def is_torch_file(path: Path) -> bool:
    """Whether a file's content is PyTorch's, legacy or zip; it may still be damaged."""
    with path.open("rb") as file:
        start = file.read(512)
    # PyTorch writes the pickle as the first entry of its archives.
    return _LEGACY in start[:32] or (start.startswith(_ZIP) and b"/data.pkl" in start)


def load_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, in the file's order; read-only arrays.

    The state dict is what the object in the file holds as ``state_dict``, ``model``, ``net`` or
    ``params``, or the object itself; a ``module.`` in front of every name is taken off. bfloat16
    becomes float32. Takes memory for twice the file.

    Raises
    ------
    RequestError
        If the file is damaged, holds anything but tensors, or no state dict.
    """
    raw = path.read_bytes()
    try:
        found, storages = (_read_zip if raw.startswith(_ZIP) else _read_legacy)(raw)
        arrays = {name: _array(tensor, storages) for name, tensor in _state_dict(found).items()}
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise RequestError(
            f"checkpoint: {path} cannot be read ({reason}); get an undamaged copy, or save the "
            "state_dict alone with torch.save"
        ) from error
    if all(name.startswith(_PREFIX) for name in arrays):
        arrays = {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
    return arrays


# --- what the pickles may hold --------------------------------------------------------------------
#
# A pickle can set attributes of every object it gets hold of, classes and functions included, so
# that these have none that can be set.


class _Storage(NamedTuple):
    """Where values are to be found: ``size`` of them under ``key``."""

    kind: str
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """``torch._utils._rebuild_tensor_v2``, and what it was called in 2018."""

    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_):
        if not isinstance(storage, _Storage) or len(shape) > _MOST_DIMENSIONS:
            raise pickle.UnpicklingError("a tensor without a storage or of too many dimensions")
        return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _RebuildParameter:
    """``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, tensor, *_):
        return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): name for name in _STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Admits what is in the table and nothing else."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it wants to load {module}.{name}, which is no part of a tensor"
            ) from None

    def persistent_load(self, said: Any) -> _Storage:
        tag, kind, key, _, size, *view = said
        known = tag == "storage" and isinstance(key, str) and kind in _STORAGES
        if not known or any(part is not None for part in view):
            raise pickle.UnpicklingError("a storage of unknown kind")
        storage = _Storage(kind, key, int(size))
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError("two storages of one name")
        return storage


def _unpickle(file: BinaryIO) -> tuple[Any, dict[str, _Storage]]:
    """The next object of the file and the storages it refers to."""
    start = file.tell()
    for opcode, value, position in pickletools.genops(file):
        # The unpickler makes room for as many remembered objects as the largest number says.
        if "PUT" in opcode.name and value > position - start:
            raise pickle.UnpicklingError("it remembers more objects than it has")
    file.seek(start)
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.storages


# --- the two formats ------------------------------------------------------------------------------


def _read_legacy(raw: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Five pickles (magic, version, system, object, keys), then each key's count and values."""
    file = io.BytesIO(raw)
    if [_unpickle(file)[0] for _ in range(2)] != [_MAGIC, _PROTOCOL]:
        raise pickle.UnpicklingError("another magic number or version than PyTorch's")
    system, _ = _unpickle(file)
    if not system.get("little_endian", True):
        raise pickle.UnpicklingError("its bytes are big-endian")
    (found, storages), (keys, _) = _unpickle(file), _unpickle(file)
    values = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise pickle.UnpicklingError("values of a storage that no tensor has")
        (count,) = struct.unpack("<q", file.read(8))
        if count != storages[key].size:
            raise pickle.UnpicklingError(f"{count} values where {storages[key].size} are expected")
        values[key] = _values(storages[key], file.read(count * _dtype(storages[key]).itemsize))
    if file.tell() != len(raw):
        raise pickle.UnpicklingError("it goes on after its values")
    return found, values


def _read_zip(raw: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """An archive of ``NAME/data.pkl`` and the values of each key, ``NAME/data/KEY``."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise pickle.UnpicklingError("its entries are compressed")
        if sum(entry.file_size for entry in entries) > len(raw):
            raise pickle.UnpicklingError("its entries are longer than the file")
        (name,) = (e.filename for e in entries if e.filename.endswith("/data.pkl"))
        folder = name.removesuffix("data.pkl")
        order = folder + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise pickle.UnpicklingError("its bytes are big-endian")
        found, storages = _unpickle(io.BytesIO(archive.read(name)))
        values = {
            key: _values(storage, archive.read(f"{folder}data/{key}"))
            for key, storage in storages.items()
        }
    return found, values


def _dtype(storage: _Storage) -> np.dtype:
    return np.dtype(_STORAGES[storage.kind])


def _values(storage: _Storage, raw: bytes) -> np.ndarray:
    if len(raw) != storage.size * _dtype(storage).itemsize:
        raise pickle.UnpicklingError(
            f"storage {storage.key} has {len(raw)} bytes for {storage.size} values"
        )
    values = np.frombuffer(raw, _dtype(storage))
    if storage.kind == "BFloat16Storage":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _array(tensor: _Tensor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """A view of the storage's values, its extent checked."""
    if tensor.storage.key not in values:
        raise pickle.UnpicklingError(f"storage {tensor.storage.key} has no values")
    storage, size = values[tensor.storage.key], math.prod(tensor.shape)
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise pickle.UnpicklingError("a tensor of negative extent")
    if size == 0:
        return np.zeros(tensor.shape, storage.dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
    # Repeated values (strides of 0) would let a short file ask for any amount of memory.
    if last >= len(storage) or size > len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return np.lib.stride_tricks.as_strided(
        storage[tensor.offset :],
        tensor.shape,
        [stride * storage.itemsize for stride in tensor.strides],
        writeable=False,
    )


def _state_dict(found: Any) -> dict[str, _Tensor]:
    held = [found.get(name) for name in _HOLDERS] if isinstance(found, Mapping) else []
    for candidate in (*held, found):
        if isinstance(candidate, Mapping):
            tensors = {name: value for name, value in candidate.items() if _is_tensor(value)}
            if tensors and all(isinstance(name, str) for name in tensors):
                return tensors
    raise pickle.UnpicklingError("it holds no mapping of names to tensors")


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _Tensor)
