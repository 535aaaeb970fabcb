"""Crash-safe HDF5 result files: provenance, resume, reading.

A file is complete from its first moment: every dataset exists, filled with NaN, and a ``done``
mask says which entries hold values. It is made in a temporary file that is moved into place. A
value is written and flushed before its mark is, so a file of a killed process never claims what it
does not hold. ``libver=("earliest", "v108")`` is pinned because files of newer versions carry a
consistency flag that SIGKILL leaves set and that keeps them from being opened again.
"""

import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import OtherVersion, RequestError

# Of each kind's datasets, 1 where not named; to be raised when they or their meaning change.
SCHEMAS = {"hessian": 2, "ntk": 2, "neurons": 2, "surface": 2}
_LIBVER = ("earliest", "v108")
_ATTEMPTS = 10

# Of the provenance: what may differ between the sessions that fill one file.
ENVIRONMENT = ("versions", "device", "backend")


def provenance(**more: Any) -> dict[str, Any]:
    """Who made a number: command, versions, device, compiler, plus what is passed in ``more``.

    ``backend`` is what is known of the compiler, see :func:`landscape.doctor.verdict.backend`. The
    machine's folders are left out of the command, so that files can be handed on.
    """
    import importlib.metadata as metadata

    import jax

    from landscape.doctor import verdict

    packages = ("jax", "jaxlib", "flax", "numpy", "scipy", "h5py")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions,
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "x64": bool(jax.config.jax_enable_x64),
        "backend": verdict.backend(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **more,
    }


@dataclass(frozen=True)
class Field:
    """A dataset of a result file: its shape, dtype and the names of its axes.

    ``dims`` names a coordinate dataset per axis; those become HDF5 dimension scales.
    """

    shape: tuple[int, ...]
    dtype: str = "f8"
    dims: tuple[str, ...] = ()


class ResultFile:
    """One analysis in one HDF5 file, written entry by entry.

    Parameters
    ----------
    path
        The file; folders are made.
    kind
        The analysis: ``"hessian"``, ``"surface"``, ``"ntk"``, ``"neurons"``.
    request
        What was asked for (JSON-able). A file made for another request is refused.
    fields
        Datasets that are filled entry by entry.
    done
        Shape of the mask: every entry of it stands for the same leading indices of each field.
    constants
        Datasets known at the start (coordinates, directions, names), by path.
    origin
        Provenance; what :func:`provenance` gives is added if it is not in it. A file that is gone
        on with in another environment (versions, devices, flags) says so: its attribute
        ``resumed_with`` lists what was new.

    Attributes
    ----------
    request
        The request as it is stored, with the kind and its schema.

    Raises
    ------
    RequestError
        If the file exists and is not a result file, is damaged, is open elsewhere, or was made for
        a different request or in another precision (the difference is named).
    OtherVersion
        If its schema is not that of its kind here.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        kind: str,
        *,
        request: Mapping[str, Any],
        fields: Mapping[str, Field],
        done: tuple[int, ...],
        constants: Mapping[str, Any] | None = None,
        origin: Mapping[str, Any] | None = None,
    ):
        self.path = Path(path)
        self.resumed = self.path.exists()
        marked = {"kind": kind, "schema": _schema(kind), **request}
        self.request = request = json.loads(json.dumps(marked))
        origin = dict(origin or {})
        if "versions" not in origin:
            origin = provenance(**{"command": Path(sys.argv[0]).name, **origin})
        if not self.resumed:
            # Another process may have been faster by a moment.
            made = _create(self.path, kind, request, fields, done, constants or {}, origin)
            self.resumed = not made
        if self.resumed:
            _refuse_other_request(self.path, request, origin)
        self._file = _open(self.path, "r+")
        self._environment = {name: origin[name] for name in ENVIRONMENT if name in origin}

    @property
    def done(self) -> np.ndarray:
        """The boolean mask of finished entries."""
        return self._file["done"][...].astype(bool)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._file[name][...]

    def write(self, index: Any, *, mark: Any = None, **values: Any) -> None:
        """Store values at one index, ``...`` for whole datasets, then mark the entry as done.

        ``mark`` is the entry of the mask where it is not the index.
        """
        self._say_environment()
        for name, value in values.items():
            self._file[name][index] = value
        self._file.flush()
        self._file["done"][index if mark is None else mark] = 1
        self._file.flush()

    def _say_environment(self) -> None:
        """Before the first value: where it comes from, if not from where the last ones do."""
        if not self._environment:
            return
        attributes = {name: _value(value) for name, value in self._file.attrs.items()}
        resumed = attributes.get("resumed_with", [])
        last = attributes
        for entry in resumed:
            last = last | entry
        now = self._environment.items()
        new = {name: v for name, v in now if _lasting(last.get(name)) != _lasting(v)}
        if new:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.annotate(resumed_with=[*resumed, {"since": since, **new}])
        self._environment = {}

    def refuse_other_value(self, name: str, value: float) -> None:
        """Refuse to go on where a stored attribute is another now, beyond rounding.

        Raises
        ------
        RequestError
            Which names both: what was measured is no longer what it was.
        """
        stored = float(self._file.attrs[name])
        if self.resumed and not np.isclose(stored, value, rtol=0.01, atol=1e-7, equal_nan=True):
            raise RequestError(
                f"result: {self.path} was made with {name} {stored:.6g}, which is {value:.6g} now: "
                "another loss function or preprocessing? use another --out or move the file away"
            )

    def annotate(self, **attributes: Any) -> None:
        """Store attributes that are known only at the end."""
        for name, value in attributes.items():
            self._file.attrs[name] = _attribute(value)
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@dataclass(frozen=True)
class Stored:
    """A result file read into memory: attributes, datasets by path, the ``done`` mask."""

    path: Path
    attributes: dict[str, Any]
    data: dict[str, np.ndarray]

    @property
    def kind(self) -> str:
        return self.attributes["kind"]

    @property
    def complete(self) -> bool:
        return bool(np.all(self.data["done"]))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.data[name]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """The datasets below ``prefix/``, by the rest of their path."""
        start = prefix.rstrip("/") + "/"
        return {k.removeprefix(start): v for k, v in self.data.items() if k.startswith(start)}


def read(path: str | os.PathLike, kind: str | None = None) -> Stored:
    """Read a result file whole, also one that is being written.

    Raises
    ------
    RequestError
        If it is missing, damaged, not a result file, or of another kind.
    OtherVersion
        If its schema is not that of its kind here.
    """
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"result: no file {path}; run the analysis that writes it first")
    for attempt in range(_ATTEMPTS):
        try:
            data, attributes = _contents(path)
            break
        except (KeyError, OSError, RuntimeError, RequestError) as error:
            # A writer may be between two of its writes; a moment later the file is whole again.
            if attempt == _ATTEMPTS - 1:
                if isinstance(error, RequestError):
                    raise
                raise RequestError(
                    f"result: {path} cannot be read ({error}); if nothing is writing it, move it "
                    "away and run again"
                ) from error
            time.sleep(0.05)
    if kind is not None and attributes["kind"] != kind:
        raise RequestError(f"result: {path} holds {attributes['kind']!r}, not {kind!r}")
    _refuse_other_schema(path, attributes)
    return Stored(path, attributes, data)


def _contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Datasets by path, and attributes; without a lock, so also while another process writes."""
    with _open(path, "r", locking=False) as file:
        data: dict[str, np.ndarray] = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                text = h5py.check_string_dtype(item.dtype)
                data[name] = item.asstr()[...] if text else item[...]

        file.visititems(visit)
        return data, {name: _value(value) for name, value in file.attrs.items()}


def _open(path: Path, mode: str, locking="best-effort") -> h5py.File:
    try:
        file = h5py.File(path, mode, libver=_LIBVER, locking=locking)
    except BlockingIOError as error:
        raise RequestError(
            f"result: {path} is being written by another process; wait for it or use another --out"
        ) from error
    except OSError as error:
        raise RequestError(
            f"result: {path} is not a readable HDF5 file; move it away and run again"
        ) from error
    if "kind" not in file.attrs or "done" not in file:
        file.close()
        raise RequestError(f"result: {path} was not written by landscape; use another --out")
    return file


def _schema(kind: str) -> int:
    return SCHEMAS.get(kind, 1)


def _refuse_other_schema(path: Path, attributes: Mapping[str, Any]) -> None:
    found, known = int(attributes.get("schema", 1)), _schema(attributes["kind"])
    if found != known:
        version = "an earlier" if found < known else "a later"
        raise OtherVersion(
            f"result: {path} was made by {version} version of landscape (file schema {found}, now "
            f"{known}); move the file away or use another --out"
        )


def _refuse_other_request(path: Path, request: dict, origin: Mapping[str, Any]) -> None:
    with _open(path, "r") as file:
        _refuse_other_schema(path, file.attrs)
        found = json.loads(file.attrs["request"])
        x64 = file.attrs.get("x64")
    different = difference(found, request)
    if different is not None:
        name, was, now = different
        raise RequestError(
            f"result: {path} was made with {name}={was}, this request has {name}={now}; use "
            "another --out or move the file away"
        )
    if x64 is not None and bool(x64) != bool(origin.get("x64", x64)):
        raise RequestError(f"result: {path} {other_precision(x64)}, or use another --out")


def other_precision(x64: bool) -> str:
    """What is wrong and what to do, for numbers whose precision is not this session's."""
    was, now = ("64", "32") if x64 else ("32", "64")
    return (
        f"was made in float{was}, this session computes in float{now}; set JAX_ENABLE_X64="
        f"{int(x64)} to go on with it"
    )


def difference(found: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first setting in which two requests differ: its name, and both values, short.

    The schema comes first: where it differs, other settings do because of it.
    """
    found, request = _flat(found), _flat(request)
    for name in sorted(found.keys() | request.keys(), key=lambda name: (name != "schema", name)):
        if found.get(name) != request.get(name):
            return name, _short(found.get(name)), _short(request.get(name))
    return None


def _flat(request: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """``{"data.split": "train"}`` for what is nested."""
    flat = {}
    for name, value in request.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{above}{name}.") if inner else {above + name: value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _create(path: Path, kind, request, fields, done, constants, origin) -> bool:
    """Make the file; False if there is one by then, which stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with h5py.File(temporary, "w", libver=_LIBVER) as file:
            file.attrs["kind"] = kind
            file.attrs["schema"] = _schema(kind)
            file.attrs["request"] = json.dumps(request)
            for name, value in origin.items():
                file.attrs[name] = _attribute(value)
            for name, value in constants.items():
                array = np.asarray(value)
                if array.dtype.kind in "UO":
                    file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
                else:
                    file.create_dataset(name, data=array)
            for name, field in fields.items():
                fill = np.nan if np.dtype(field.dtype).kind == "f" else 0
                file.create_dataset(name, field.shape, field.dtype, fillvalue=fill)
            file.create_dataset("done", done, "u1", fillvalue=0)
            for name, field in fields.items():
                for axis, coordinate in enumerate(field.dims):
                    if not file[coordinate].is_scale:
                        file[coordinate].make_scale(coordinate)
                    file[name].dims[axis].attach_scale(file[coordinate])
        return _moved_to_a_free_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _moved_to_a_free_place(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        os.replace(temporary, path)
    return True


def _lasting(value: Any) -> Any:
    """Without how and when a verdict came about: only its change is news."""
    if not isinstance(value, Mapping):
        return value
    return {name: v for name, v in value.items() if name not in ("by", "examined")}


def _attribute(value: Any) -> Any:
    """Strings, numbers and booleans as they are, everything else as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _value(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "[{":
        return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value
