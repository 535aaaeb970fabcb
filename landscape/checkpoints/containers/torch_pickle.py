"""State dicts in PyTorch's files, legacy pickles and zip archives, read without PyTorch.

The pickle is not unpickled: its instructions are followed here, one by one, as far as tensors and
plain containers need them. There is nothing in it that could call, import or change anything, and
nothing is allocated that the file is not long enough to fill. What training leaves beside the
tensors (arguments, metrics, paths) is passed over without being made.
"""

import io
import math
import mmap
import pickletools
import struct
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from landscape.checkpoints.containers.archive import ZIP, archive
from landscape.checkpoints.containers.container import Container, Described, damaged
from landscape.checkpoints.containers.limits import MOST_DIMENSIONS, checked, damage_told

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LEGACY = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."  # the pickled magic number
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": ml_dtypes.bfloat16,
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
_HOLDERS = (  # the first four as timm has them: averaged weights before the last ones
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model",
    "model_state_dict",
    "ema",
    "teacher",
    "weights",
    "net",
    "module",
    "params",
)
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
_TYPES = "object bool int float complex str bytes bytearray tuple list dict set frozenset"
_PASSED_OVER = {  # names by module, of Python 2 and 3 and of NumPy 1 and 2
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "collections": "Counter defaultdict deque",
    "datetime": "date datetime timedelta",
    "numpy": "dtype ndarray",
    "torch": "Size device",
    "_codecs": "encode",  # how Python 3 writes bytes for Python 2
    **dict.fromkeys(("pathlib", "pathlib._local"), _PATHS),
    **dict.fromkeys(("builtins", "__builtin__"), _TYPES),
    **dict.fromkeys(("copyreg", "copy_reg"), "_reconstructor"),
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), "scalar _reconstruct"),
}
_MOST_INSTRUCTIONS = 2_000_000
_LONGEST_PICKLE = 64 * 2**20
_REMEDY = "get an undamaged copy, or save the state_dict alone with torch.save"
_REMEDY_OF_WHOLE = "if you trust it, load it with PyTorch and save module.state_dict() alone"
_SHOWN = 4


def recognises(path: Path) -> bool:
    """Whether a file's content is PyTorch's, legacy or zip; it may still be damaged."""
    with path.open("rb") as file:
        start = file.read(512)
    # PyTorch writes the pickle as the first entry of its archives.
    return _LEGACY in start[:32] or (start.startswith(ZIP) and b"/data.pkl" in start)


def opened(path: Path) -> "TorchFile":
    """The described tensors of a state dict, in the file's order; no values are read.

    The state dict is the object in the file itself, or what it holds as ``state_dict_ema``,
    ``model_ema``, ``state_dict``, ``model``, ...: the first there is, and then the ``holder`` in
    the metadata.

    Raises
    ------
    RequestError
        If the file is damaged, wants to run code, or holds no state dict.
    """
    with damage_told(path, _REMEDY):
        with path.open("rb") as file:
            kind = TorchZip if file.read(len(ZIP)) == ZIP else TorchLegacy
        try:
            found, sources = kind.unpickled(path)
            holder, tensors = _state_dict(found)
        except _Other as error:
            raise damaged(path, error, _REMEDY_OF_WHOLE) from error
        for tensor in tensors.values():
            _check_extent(tensor, sources)
        described = ((name, Described(t.shape, t.storage.dtype)) for name, t in tensors.items())
        arrays = checked(described, path.stat().st_size)
        told = {} if holder is None else {"holder": holder}
        return kind(path, arrays, tensors, sources, metadata=told)


# --- what the pickles may hold --------------------------------------------------------------------


class _Other(ValueError):
    """The file may well be whole, but is no state dict and holds none that is read."""


class _PassedOver(NamedTuple):
    """What stands for an object that is no tensor, and for its class; it does nothing."""

    name: str


class _Number(NamedTuple):
    """A key that is a number, as text: numbers can be chosen such that all have the same hash."""

    text: str

    def __repr__(self) -> str:
        return self.text


class _Kind(NamedTuple):
    """A storage class of PyTorch."""

    dtype: np.dtype


class _Storage(NamedTuple):
    """Where values are to be found: ``size`` of them under ``key``."""

    dtype: np.dtype
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage, offset, shape, strides, *_) -> _Tensor:
    """``torch._utils._rebuild_tensor_v2``, and what it was called in 2018."""
    if type(storage) is not _Storage or max(len(shape), len(strides)) > MOST_DIMENSIONS:
        raise ValueError("a tensor without a storage or of too many dimensions")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(tensor, *_) -> Any:
    """``torch._utils._rebuild_parameter``."""
    return tensor


def _ordered(pairs=()) -> dict:
    """``collections.OrderedDict``; Python 2 gives it its items as argument."""
    made: dict = {}
    for key, value in pairs:
        _set(made, key, value)
    return made


_KNOWN = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): _Kind(np.dtype(dtype)) for name, dtype in _DTYPES.items()},
}
_FUNCTIONS = (_ordered, _tensor, _parameter)
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: _PassedOver("set"),
}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BYTEARRAY8",
}  # fmt: skip


def _set(mapping: Any, key: Any, value: Any) -> None:
    if type(mapping) is _PassedOver:
        return
    # The hash of a tuple takes as much time, and of the stack, as the tuple is large and deep.
    if type(mapping) is not dict or not isinstance(key, str | int | float | bytes | None):
        raise ValueError("an entry of what is no mapping, or without a plain name")
    mapping[_Number(repr(key)) if type(key) in (int, float) else key] = value


class _Reader:
    """Follows the instructions of one pickle; ``storages`` are those that it refers to."""

    def __init__(self):
        self.storages: dict[str, _Storage] = {}
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def read(self, file: BinaryIO) -> Any:
        """The object that begins where the file stands, which then stands behind it."""
        start = file.tell()
        for opcode, value, position in pickletools.genops(file):
            self._take_steps(1)
            if position - start > _LONGEST_PICKLE:
                raise ValueError(f"its pickle is longer than {_LONGEST_PICKLE:,} bytes")
            if opcode.name in _LITERALS:
                self._stack.append(value)
            elif opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name]())
            else:
                self._follow(opcode.name, value)
        return self._stack.pop()

    def _follow(self, instruction: str, value: Any) -> None:
        stack = self._stack
        match instruction:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[value] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[value])
            case "BINSTRING" | "SHORT_BINSTRING":  # of Python 2
                stack.append(value.encode("latin-1").decode(errors="surrogateescape"))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._popped(int(instruction[-1]))))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "APPEND" | "APPENDS":
                values = self._popped(1) if instruction == "APPEND" else self._since_mark()
                if type(stack[-1]) is list:
                    stack[-1].extend(values)
                elif type(stack[-1]) is not _PassedOver:
                    raise ValueError("it appends to what is no list")
            case "ADDITEMS":
                self._since_mark()
                _passed_over(stack[-1])
            case "FROZENSET":
                self._since_mark()
                stack.append(_PassedOver("frozenset"))
            case "SETITEM" | "SETITEMS":
                items = self._popped(2) if instruction == "SETITEM" else self._since_mark()
                for key, item in zip(items[::2], items[1::2], strict=True):
                    _set(stack[-1], key, item)
            case "GLOBAL":
                stack.append(_known(*value.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_known(*self._popped(2)))
            case "BINPERSID":
                stack.append(self._storage(*self._popped(1)))
            case "REDUCE":
                stack.append(self._reduced(*self._popped(2)))
            case "NEWOBJ" | "NEWOBJ_EX":
                kind, *_ = self._popped(2 if instruction == "NEWOBJ" else 3)
                stack.append(_passed_over(kind))
            case "BUILD":  # the attributes of an ordered dict are not needed
                _, made = self._popped(1), stack[-1]
                if type(made) not in (dict, _PassedOver):
                    raise ValueError("it sets attributes of what has none")
            case _:
                raise ValueError(f"no tensor needs its instruction {instruction}")

    def _popped(self, count: int) -> list:
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise ValueError("it takes more than it has")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _since_mark(self) -> list:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _reduced(self, function: Any, arguments: Any) -> Any:
        if type(function) is _PassedOver:
            return function
        if not any(function is known for known in _FUNCTIONS) or type(arguments) is not tuple:
            raise ValueError("it calls what is no function")
        walked = (a for a in arguments[:1] if isinstance(a, list | tuple | dict))
        self._take_steps(len(arguments) + sum(map(len, walked)))
        return function(*arguments)

    def _take_steps(self, count: int) -> None:
        self._steps += count
        if self._steps > _MOST_INSTRUCTIONS:
            raise ValueError(f"its pickle has more than {_MOST_INSTRUCTIONS:,} instructions")

    def _storage(self, said: Any) -> _Storage:
        if type(said) is not tuple or not 5 <= len(said) <= 6:
            raise ValueError("a storage of unknown kind")
        tag, kind, key, _, size, *view = said
        known = tag == "storage" and type(kind) is _Kind and isinstance(key, str)
        if not known or any(part is not None for part in view):
            raise ValueError("a storage of unknown kind")
        storage = _Storage(kind.dtype, key, int(size))
        if storage.size < 0:
            raise ValueError("a storage of negative size")
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError("two storages of one name")
        return storage


def _known(module: Any, name: Any) -> Any:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("it wants to load what has no name")
    if (module, name) in _KNOWN:
        return _KNOWN[module, name]
    if name in _PASSED_OVER.get(module, "").split():
        return _PassedOver(f"{module}.{name}")
    wanted = f"{module}.{name}"[:80]
    raise _Other(f"it wants to run code: to load {wanted!r}, which is no part of a tensor")


def _passed_over(kind: Any) -> _PassedOver:
    if type(kind) is not _PassedOver:
        raise ValueError("it makes an object that no tensor needs")
    return kind


# --- the two formats ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TorchFile(Container):
    """The tensors of a state dict. ``sources`` says where the values of a storage are."""

    tensors: Mapping[str, _Tensor] = field(repr=False)
    sources: Mapping[str, Any] = field(repr=False)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        with damage_told(self.path, _REMEDY), self._values() as values_of:
            storage, values = None, None
            for name in names:
                tensor = self.tensors[name]
                if tensor.storage != storage:
                    values = None  # one storage at a time
                    storage, values = tensor.storage, values_of(tensor.storage)
                yield name, _array(tensor, values)

    @abstractmethod
    def _values(self) -> AbstractContextManager[Callable[[_Storage], np.ndarray]]:
        """What gives the values of a storage, (size,)."""


class TorchLegacy(TorchFile):
    """Five pickles (magic, version, system, object, keys), then each key's count and values."""

    format = "PyTorch pickle"

    @staticmethod
    def unpickled(path: Path) -> tuple[Any, dict[str, int]]:
        """The object and the byte at which each storage begins."""
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            if [_Reader().read(content) for _ in range(2)] != [_MAGIC, _PROTOCOL]:
                raise ValueError("another magic number or version than PyTorch's")
            if not _Reader().read(content).get("little_endian", True):
                raise ValueError("its bytes are big-endian")
            reader = _Reader()
            found, keys = reader.read(content), _Reader().read(content)
            starts, position = {}, content.tell()
            for key in keys:
                if not isinstance(key, str) or key not in reader.storages:
                    raise ValueError("values of a storage that no tensor has")
                storage = reader.storages[key]
                (count,) = struct.unpack_from("<q", content, position)
                if count != storage.size:
                    raise ValueError(f"{count} values where {storage.size} are expected")
                starts[key] = position + 8
                position = starts[key] + count * storage.dtype.itemsize
            if position != len(content):
                raise ValueError(f"its values end at byte {position}, not {len(content)}")
        return found, starts

    @contextmanager
    def _values(self) -> Iterator[Callable[[_Storage], np.ndarray]]:
        with self.path.open("rb") as file:

            def values_of(storage: _Storage) -> np.ndarray:
                file.seek(self.sources[storage.key])
                return _from_bytes(file.read(storage.size * storage.dtype.itemsize), storage)

            yield values_of


class TorchZip(TorchFile):
    """An archive of ``NAME/data.pkl`` and the values of each key, ``NAME/data/KEY``."""

    format = "PyTorch zip"

    @staticmethod
    def unpickled(path: Path) -> tuple[Any, dict[str, str]]:
        """The object and the member that each storage is."""
        with archive(path) as members:
            infos = {info.filename: info for info in members.infolist()}
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos.values()):
                raise ValueError("its entries are compressed")
            name = next((name for name in infos if name.endswith("/data.pkl")), None)
            if name is None:
                raise ValueError("it has no data.pkl")
            folder = name.removesuffix("data.pkl")
            order = folder + "byteorder"
            if order in infos and members.read(order) != b"little":
                raise ValueError("its bytes are big-endian")
            if infos[name].file_size > _LONGEST_PICKLE:
                raise ValueError(f"its pickle is longer than {_LONGEST_PICKLE:,} bytes")
            reader = _Reader()
            found = reader.read(io.BytesIO(members.read(name)))
            sources = {}
            for key, storage in reader.storages.items():
                source = f"{folder}data/{key}"
                size = infos[source].file_size if source in infos else 0
                if size != storage.size * storage.dtype.itemsize:
                    raise ValueError(f"storage {key[:60]} has {size:,} bytes")
                sources[key] = source
        return found, sources

    @contextmanager
    def _values(self) -> Iterator[Callable[[_Storage], np.ndarray]]:
        with archive(self.path) as members:
            yield lambda storage: _from_bytes(members.read(self.sources[storage.key]), storage)


def _from_bytes(content: bytes, storage: _Storage) -> np.ndarray:
    if len(content) != storage.size * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key[:60]} has {len(content)} bytes")
    return np.frombuffer(content, storage.dtype)


def _check_extent(tensor: _Tensor, sources: Mapping[str, Any]) -> None:
    """Refuse a tensor that reaches beyond its storage."""
    if tensor.storage.key not in sources:
        raise ValueError(f"storage {tensor.storage.key[:60]} has no values")
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise ValueError("a tensor of negative extent")
    size = math.prod(tensor.shape)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
    # Repeated values (strides of 0) would let a short file ask for any amount of memory.
    if size and (last >= tensor.storage.size or size > tensor.storage.size):
        raise ValueError("a tensor reaches beyond its storage")


def _array(tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """The tensor's values; a copy unless it has all of its storage."""
    if not math.prod(tensor.shape):
        return np.zeros(tensor.shape, values.dtype)
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :],
        tensor.shape,
        [stride * values.itemsize for stride in tensor.strides],
        writeable=False,
    )
    return view if view.size == values.size else view.copy()


def _state_dict(found: Any) -> tuple[str | None, dict[str, _Tensor]]:
    """The tensors, and under which name the file holds them; None if it is they."""
    keys = found if type(found) is dict else {}
    held = {name: keys[name] for name in _HOLDERS if name in keys}
    for holder, candidate in (*held.items(), (None, keys)):
        if type(candidate) is not dict:
            continue
        tensors = {name: t for name, t in candidate.items() if type(t) is _Tensor}
        if tensors and all(isinstance(name, str) for name in tensors):
            other = next((item for item in candidate.items() if type(item[1]) is _PassedOver), None)
            if other is not None:
                raise _Other(f"among tensors it holds {other[1].name} as {str(other[0])[:60]!r}")
            return holder, tensors
    shown = ", ".join(repr(key)[:40] for key in list(keys)[:_SHOWN])
    among = f" among {shown}{', ...' if len(keys) > _SHOWN else ''}" if keys else ""
    raise _Other(f"it holds no mapping of names to tensors{among}")
