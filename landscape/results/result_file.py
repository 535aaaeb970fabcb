"""Crash-safe HDF5 result files: provenance, resume, reading.

A file is complete from its first moment: every dataset exists, filled with NaN, and a ``done``
mask says which entries hold values. It is made in a temporary file that is moved into place, with
all the room it will ever need: what is written later replaces bytes that are there, so neither a
kill nor a full disk can take away what was written before. A value is written and flushed before
its mark is, so no file claims what it does not hold.
"""

import json
import os
import platform
import sys
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from landscape import disk
from landscape.errors import OtherVersion, RequestError
from landscape.results import layout
from landscape.results.hdf5 import Hdf5, reading
from landscape.results.layout import Field
from landscape.results.records import as_json, difference, other_precision
from landscape.whole_file import failure_told, is_full_or_broken, temporary_beside

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
        own = {"kind": kind, "schema": layout.schema(kind)}
        self.request = request = {**own, **as_json(request)}
        origin = as_json(origin or {})
        for name in origin:
            if name in layout.OWN or not name or not name.isprintable() or len(name) > 1000:
                raise RequestError(f"record: {name!r:.60} is no name for an entry; use another")
        if "versions" not in origin:
            origin = provenance(**{"command": Path(sys.argv[0]).name, **origin})
        parts = layout.Parts(kind, request, fields, done, constants or {}, origin)
        if not self.resumed:
            # Another process may have been faster by a moment.
            self.resumed = not _create(self.path, parts)
        self._open(parts)
        self._environment = {name: origin[name] for name in ENVIRONMENT if name in origin}

    def _open(self, parts: layout.Parts) -> None:
        """Take hold of the file, unless it is not to be gone on with."""
        descriptor = _locked(self.path)
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            with _damage_told(self.path):
                self._file = Hdf5(descriptor)
                held = _contents(self.path, self._file, {"done", *parts.fields}.__contains__)
            if self.resumed:
                _refuse_other_request(held, parts)
                _refuse_other_content(held, parts, self._file)
            if layout.LATER not in self._file.datasets:
                # An earlier version gave datasets their storage when it wrote into them.
                whole = _contents(self.path, self._file, lambda name: True)
                own = {k: v for k, v in held.attributes.items() if k not in layout.OWN[:-1]}
                with temporary_beside(self.path) as temporary:
                    layout.write(temporary, parts._replace(origin=own), whole.data)
                    os.replace(temporary, self.path)
                self._close()
                return self._open(parts)
        except BaseException:
            self._close()
            raise
        self._descriptor, self._attributes = descriptor, held.attributes
        self._later = layout.later(self._file)
        self._values = {name: np.array(values) for name, values in held.data.items()}
        return None

    @property
    def done(self) -> np.ndarray:
        """The boolean mask of finished entries."""
        return self._values["done"].astype(bool)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[name].copy()

    def write(self, index: Any, *, mark: Any = None, **values: Any) -> None:
        """Store values at one index, ``...`` for whole datasets, then mark the entry as done.

        ``mark`` is the entry of the mask where it is not the index.

        Raises
        ------
        RequestError
            If the disk does not take them; the entry is not marked then.
        """
        self._say_environment()
        for name, value in values.items():
            self._put(name, index, value)
        self._put("done", index if mark is None else mark, 1)

    def _put(self, name: str, index: Any, value: Any) -> None:
        values = self._values[name]
        values[index] = value
        part = values if index is ... else values[(*np.index_exp[index], ...)]
        if not (part.flags.c_contiguous and np.may_share_memory(part, values)):
            part = values  # what was chosen lies scattered
        place = self._file.datasets[name].place + part.ctypes.data - values.ctypes.data
        self._to_disk(disk.write_all, part.tobytes(), place)

    def _to_disk(self, call: Callable[..., object], *arguments: Any) -> None:
        with failure_told("out", self.path):
            call(self._descriptor, *arguments)

    def _say_environment(self) -> None:
        """Before the first value: where it comes from, if not from where the last ones do."""
        if not self._environment:
            return
        last = self._attributes
        resumed = last.get("resumed_with", [])
        for entry in resumed:
            last = last | entry
        now = self._environment.items()
        new = {name: v for name, v in now if _lasting(last.get(name)) != _lasting(v)}
        if new:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            told = [*resumed, {"since": since, **new}]
            while len(told) > 1 and len(json.dumps(told)) > layout.ROOM // 2:
                told[:2] = [told[0] | told[1]]  # the two oldest become one
            self.annotate(resumed_with=told)
        self._environment = {}

    def refuse_other_value(self, name: str, value: float) -> None:
        """Refuse to go on where a stored attribute is another now, beyond rounding.

        Raises
        ------
        RequestError
            Which names both: what was measured is no longer what it was.
        """
        stored = float(self._attributes[name])
        if self.resumed and not np.isclose(stored, value, rtol=0.01, atol=1e-7, equal_nan=True):
            raise RequestError(
                f"result: {self.path} was made with {name} {stored:.6g}, which is {value:.6g} now: "
                "another loss function or preprocessing? use another --out or move the file away"
            )

    def annotate(self, **attributes: Any) -> None:
        """Store attributes that are known only at the end.

        Raises
        ------
        RequestError
            If together they are longer than 16 KiB of JSON, or cannot be written.
        """
        for name in attributes.keys() & set(layout.OWN[:-1]):
            raise RequestError(f"annotate: {name!r} is a name of result files; use another")
        self._later |= as_json(attributes)
        text = json.dumps(self._later).encode()
        if len(text) > layout.ROOM:
            raise RequestError(
                f"annotate: {self.path} has room for {layout.ROOM:,} bytes of attributes, these "
                f"are {len(text):,}; store less"
            )
        place = self._file.datasets[layout.LATER].place
        self._to_disk(disk.write_all, text.ljust(layout.ROOM, b"\0"), place)

    def close(self) -> None:
        """Close the file once everything is on the disk.

        Raises
        ------
        RequestError
            If the disk did not take it.
        """
        if self._close.alive:
            try:
                self._to_disk(os.fsync)
            finally:
                self._close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self._close()


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


def read(
    path: str | os.PathLike, kind: str | None = None, *, without: Collection[str] = ()
) -> Stored:
    """Read a result file, also one that is being written.

    Parameters
    ----------
    path
        The file.
    kind
        The analysis that must have written it.
    without
        Groups that are not read, such as ``"directions"``: they may be as large as the network.

    Raises
    ------
    RequestError
        If it is missing, damaged, not a result file, or of another kind.
    OtherVersion
        If its schema is not that of its kind here.
    """
    path = Path(path)
    if not path.exists():
        raise RequestError(f"result: no file {path}; run the analysis that writes it first")
    groups = tuple(f"{group}/" for group in without)
    with _damage_told(path), reading(path) as file:
        found = _contents(path, file, lambda name: not name.startswith(groups))
    if kind is not None and found.kind != kind:
        raise RequestError(f"result: {path} holds {found.kind!r:.60}, not {kind!r}")
    _refuse_other_schema(found)
    return found


def _contents(path: Path, file: Hdf5, wanted: Callable[[str], bool]) -> Stored:
    """What an open file holds of what is wanted."""
    if "kind" not in file.attributes or "done" not in file.datasets:
        raise RequestError(f"result: {path} was not written by landscape; use another --out")
    # The mask first: what it marks is there when the values are read.
    names = ["done", *(name for name in file.datasets if name not in ("done", layout.LATER))]
    data = {name: file.read(name) for name in names if wanted(name)}
    if data["done"].dtype.kind not in "bui":
        raise ValueError("its mask of what is done is none")
    return Stored(path, layout.attributes(file), data)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # HDF5 can raise anything over a damaged file
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"result: {path} is not a readable HDF5 file, or not one of landscape ({reason}); "
            "take out what other programs have added, or move it away and run again"
        ) from error


def _locked(path: Path) -> int:
    """The file at a path, for this process alone to write."""
    with failure_told("out", path):
        while True:
            descriptor = disk.opened(path, write=True)
            try:
                disk.lock(descriptor)
                # It may have been replaced meanwhile.
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
            except BlockingIOError as error:
                os.close(descriptor)
                raise RequestError(
                    f"result: {path} is being written by another process; wait for it or use "
                    "another --out"
                ) from error
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _refuse_other_schema(stored: Stored) -> None:
    found, known = stored.attributes["schema"], layout.schema(stored.kind)
    if found != known:
        version = "an earlier" if found < known else "a later"
        raise OtherVersion(
            f"result: {stored.path} was made by {version} version of landscape (file schema "
            f"{found}, now {known}); move the file away or use another --out"
        )


def _refuse_other_request(stored: Stored, parts: layout.Parts) -> None:
    _refuse_other_schema(stored)
    x64 = stored.attributes.get("x64")
    different = difference(stored.attributes["request"], parts.request)
    if different is not None:
        name, was, now = different
        raise RequestError(
            f"result: {stored.path} was made with {name}={was}, this request has {name}={now}; use "
            "another --out or move the file away"
        )
    if x64 is not None and bool(x64) != bool(parts.origin.get("x64", x64)):
        raise RequestError(f"result: {stored.path} {other_precision(x64)}, or use another --out")


def _refuse_other_content(stored: Stored, parts: layout.Parts, file: Hdf5) -> None:
    """Refuse what cannot have been made for this request: what reads it relies on its types."""
    expected = {"done": (tuple(parts.done), "u1")}
    expected |= {name: (field.shape, field.dtype) for name, field in parts.fields.items()}
    if layout.LATER in file.datasets:
        expected[layout.LATER] = (layout.ROOM,), "u1"
    for name, value in parts.constants.items():
        array = np.asarray(value)
        expected[name] = array.shape, None if array.dtype.kind in "UO" else array.dtype
    for name, (shape, dtype) in expected.items():
        held = file.datasets.get(name)
        dtype = dtype and np.dtype(dtype)
        if held is None or (held.shape, held.dtype) != (tuple(shape), dtype):
            what = f"{dtype or 'text'} of shape {tuple(shape)}"
            raise RequestError(
                f"result: {stored.path} has no {what} as {name!r:.60}; move the file away or use "
                "another --out"
            )
    for name, value in parts.origin.items():
        was, now = (_sort(v.get(name)) for v in (stored.attributes, parts.origin))
        if was != now and None not in (was, now):
            raise RequestError(
                f"result: {stored.path} has {stored.attributes[name]!r:.40} as {name}, which is "
                f"{value!r:.40}; move the file away or use another --out"
            )


def _sort(value: Any) -> type | None:
    """The type of an attribute; None where it has no value."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float if number else None if value is None else type(value)


def _create(path: Path, parts: layout.Parts) -> bool:
    """Make the file; False if there is one by then, which stays."""
    with temporary_beside(path) as temporary:
        layout.write(temporary, parts, {})
        return _moved_to_a_free_place(temporary, path)


def _moved_to_a_free_place(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if is_full_or_broken(error):
            raise
        try:  # a file system without hard links
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        try:
            os.replace(temporary, path)
        except OSError:
            path.unlink()
            raise
    return True


def _lasting(value: Any) -> Any:
    """Without how and when a verdict came about: only its change is news."""
    if not isinstance(value, Mapping):
        return value
    return {name: v for name, v in value.items() if name not in ("by", "examined")}
