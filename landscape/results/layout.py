"""What a result file is made of: datasets with all their storage, and attributes of any length."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from landscape import disk
from landscape.results.hdf5 import Hdf5

# Of each kind's datasets, 1 where not named; to be raised when they or their meaning change.
SCHEMAS = {"hessian": 2, "ntk": 2, "neurons": 2, "surface": 2}

# Attributes that hold JSON are listed in one of them. Those that come later are JSON in a dataset,
# which has room for them from the start.
OWN = ("kind", "schema", "request", "json", "resumed_with")
LATER, ROOM = "attributes/later", 2**14  # bytes


@dataclass(frozen=True)
class Field:
    """A dataset of a result file: its shape, dtype and the names of its axes.

    ``dims`` names a coordinate dataset per axis; those become HDF5 dimension scales.
    """

    shape: tuple[int, ...]
    dtype: str = "f8"
    dims: tuple[str, ...] = ()


def schema(kind: str) -> int:
    return SCHEMAS.get(kind, 1)


class Parts(NamedTuple):
    """What a file is made of."""

    kind: str
    request: dict[str, Any]
    fields: Mapping[str, Field]
    done: tuple[int, ...]
    constants: Mapping[str, Any]
    origin: Mapping[str, Any]


def write(path: Path, parts: Parts, held: Mapping[str, np.ndarray]) -> None:
    """A new file with all the storage it needs; its datasets have the values held, or none.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    disk.write_hdf5(path, lambda file: _fill(file, parts, held))


def _fill(file: h5py.File, parts: Parts, held: Mapping[str, np.ndarray]) -> None:
    own = {"kind": parts.kind, "schema": schema(parts.kind), "request": parts.request}
    later = {name: v for name, v in parts.origin.items() if name == "resumed_with"}
    attributes = {name: v for name, v in (own | parts.origin).items() if name not in later}
    for name, value in attributes.items():
        file.attrs[name] = value if _is_plain(value) else json.dumps(value)
    file.attrs["json"] = json.dumps([n for n, v in attributes.items() if not _is_plain(v)])
    file[LATER] = np.frombuffer(json.dumps(later).encode().ljust(ROOM, b"\0"), "u1")
    # With values, so that every dataset has storage at once.
    none = {name: np.full(f.shape, np.nan if np.dtype(f.dtype).kind == "f" else 0, f.dtype)
            for name, f in parts.fields.items()}  # fmt: skip
    none["done"] = np.zeros(parts.done, "u1")
    for name, value in {**parts.constants, **none, **held}.items():
        array = np.asarray(value)
        if array.dtype.kind in "UO":
            file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
        else:
            file.create_dataset(name, data=array)
    for name, field in parts.fields.items():
        for axis, coordinate in enumerate(field.dims):
            if not file[coordinate].is_scale:
                file[coordinate].make_scale(coordinate)
            file[name].dims[axis].attach_scale(file[coordinate])


def later(file: Hdf5) -> dict[str, Any]:
    """The attributes that came later; none where a kill has cut off the writing of them."""
    try:
        return from_bytes(file.read(LATER))
    except ValueError:
        return {}


def from_bytes(values: np.ndarray) -> dict[str, Any]:
    """Attributes as JSON in bytes, filled up with zeros."""
    found = json.loads(values.tobytes().rstrip(b"\0"))
    if not isinstance(found, dict):
        raise ValueError("attributes are not stored as landscape stores them")
    return found


def attributes(file: Hdf5) -> dict[str, Any]:
    """The attributes of a file, those that are stored as JSON as what they were.

    Raises
    ------
    ValueError
        If one is damaged or of the wrong type.
    """
    found = dict(file.attributes)
    if "json" in found:
        found |= {name: json.loads(found[name]) for name in json.loads(found.pop("json"))}
    else:  # of an earlier version
        found = {name: _guessed(value) for name, value in found.items()}
    if LATER in file.datasets:
        found |= later(file)
    for name, type_ in {"kind": str, "schema": int, "request": dict, "resumed_with": list}.items():
        if not isinstance(found.get(name, type_()), type_):
            raise ValueError(f"attribute {name} is {found[name]!r:.40}")
    if not all(isinstance(entry, dict) for entry in found.get("resumed_with", [])):
        raise ValueError("attribute resumed_with is no list of environments")
    return {"schema": 1, "request": {}, **found}


def _guessed(value: Any) -> Any:
    """Lists and mappings were not told from text."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value
    except ValueError:
        return value


def _is_plain(value: Any) -> bool:
    """Whether HDF5 has an attribute for it: a short text, an integer, a float or a boolean."""
    if isinstance(value, str):
        return value.isprintable()  # no NUL, which would end it, and nothing that UTF-8 has not
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)
