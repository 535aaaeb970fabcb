"""Files as ``torch.save`` writes them, made with Python's own pickle; PyTorch is not needed."""

import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import pytest

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
FORMATS = ("legacy", "zip")
KINDS = {
    "f": "Float",
    "d": "Double",
    "e": "Half",
    "E": "BFloat16",  # the character of ml_dtypes.bfloat16
    "F": "ComplexFloat",
    "l": "Long",
    "B": "Byte",
    "?": "Bool",
}


class Storage:
    """Values (n,) under a key; ``size`` is what the file says of n."""

    def __init__(self, values, key="0", size=None):
        self.values, self.key = np.ascontiguousarray(values), key
        self.size = self.values.size if size is None else size


class Tensor:
    """A tensor as PyTorch pickles it, with ``state`` set on it afterwards if there is any."""

    def __init__(self, storage, shape, strides, offset=0, state=None):
        self.said, self.state = (storage, offset, shape, strides, False, OrderedDict()), state

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return (rebuild, self.said) if self.state is None else (rebuild, self.said, self.state)


def tensor(array, key):
    """A tensor over the whole of a storage of its own."""
    array = np.array(array, order="C")
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(Storage(array.ravel(), key), array.shape, strides)


def state_dict(arrays):
    """``{name: array}`` as ordered tensors, with the attribute that ``torch.nn`` gives it."""
    tensors = OrderedDict((name, tensor(a, str(i))) for i, (name, a) in enumerate(arrays.items()))
    tensors._metadata = OrderedDict(version=1)
    return tensors


def write(path, content, form="legacy", *, body=None, little_endian=True, zipped=0, protocol=2):
    """Write ``content`` (or the pickle ``body`` in its place) in one of the two formats.

    ``zipped`` is a compression of the zipfile module; 0 is none.
    """
    made, storages = _pickled(content, protocol, legacy=form == "legacy")
    body = made if body is None else body
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipped) as archive:
            archive.writestr("archive/data.pkl", body)
            archive.writestr("archive/byteorder", "little" if little_endian else "big")
            for storage in storages:
                archive.writestr(f"archive/data/{storage.key}", storage.values.tobytes())
        return path
    with path.open("wb") as file:
        for told in (MAGIC, PROTOCOL, {"protocol_version": 1001, "little_endian": little_endian}):
            pickle.dump(told, file, protocol=2)
        file.write(body)
        pickle.dump([storage.key for storage in storages], file, protocol=2)
        for storage in storages:
            file.write(struct.pack("<q", storage.size) + storage.values.tobytes())
    return path


def _pickled(content, protocol, *, legacy):
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            storages[value.key] = value
            kind = getattr(sys.modules["torch"], f"{KINDS[value.values.dtype.char]}Storage")
            return ("storage", kind, value.key, "cpu", value.size) + (None,) * legacy

    file = io.BytesIO()
    with _names_of_torch():
        Pickler(file, protocol=protocol).dump(content)
    return file.getvalue(), [storages[key] for key in sorted(storages)]


@contextmanager
def _names_of_torch():
    """Modules by the names that go into the file; nothing of them is ever called."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for kind in KINDS.values():
        name = f"{kind}Storage"
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = type("_rebuild_tensor_v2", (), {"__module__": "torch._utils"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        yield
