"""The same few arrays in files of every kind, as their own libraries write them."""

import struct

import flax.serialization
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_files

from landscape.checkpoints.containers import opened
from landscape.errors import RequestError

ARRAYS = {
    "body/kernel": np.random.default_rng(0).normal(size=(3, 4)).astype("f"),
    "body/bias": np.array([0, np.nan, -np.inf, 1], "f"),
    "half": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3),
    "count": np.array(7, "i8"),
    "none": np.zeros((0, 2), "f"),
}


def same(found, expected):
    """Whether two mappings have the same arrays: names, shapes, dtypes and bytes."""
    return found.keys() == expected.keys() and all(
        (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        and found[name].tobytes() == array.tobytes()
        for name, array in expected.items()
    )


def loaded(path):
    """All arrays of a file or folder."""
    container = opened(path)
    return dict(container.read(container.arrays))


def refused(path, message):
    """The file is told to be damaged, in one line."""
    with pytest.raises(RequestError, match=message) as told:
        loaded(path)
    assert "\n" not in str(told.value)


def nested(arrays):
    """The tree of dicts that ``a/b`` names stand for."""
    tree = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = array
    return tree


def npz(path, arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


def npz_deflated(path, arrays):
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def safetensors_(path, arrays):
    safetensors.numpy.save_file(arrays, path)


def msgpack(path, arrays):
    path.write_bytes(flax.serialization.msgpack_serialize(nested(arrays)))


def torch_legacy(path, arrays):
    torch_files.write(path, torch_files.state_dict(arrays), "legacy")


def torch_zip(path, arrays):
    torch_files.write(path, torch_files.state_dict(arrays), "zip")


WRITERS = [npz, npz_deflated, safetensors_, msgpack, torch_legacy, torch_zip]


def safetensors_header(path, header, values=b""):
    """A safetensors file with any text as its header."""
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + values)
    return path
