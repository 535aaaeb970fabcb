"""Interim state of a long computation, kept in a folder so that a killed run goes on from there.

A state is a dictionary of numbers and lists (JSON) and of named vectors. A vector's name stands
for one value for ever, so a vector that is saved already is not written again. The index that names
the vectors is moved into place last and what it no longer names is deleted after that: whenever the
process dies, the folder holds one whole state. What is damaged all the same, by a disk or by hand,
is refused: it may have taken hours, so that nothing starts anew without a word.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np

from landscape.errors import RequestError
from landscape.parameters import Tree, placed_like
from landscape.results.records import as_json, difference, other_precision
from landscape.whole_file import failure_told, temporary_beside

_INDEX, _REQUEST = "state.json", "request.json"
_FORMAT = 3  # of the states; a change of what they hold makes older ones another request's
_HEADER = 2**14  # bytes that a vector's file has for each leaf beside its values


class Journal:
    """The state of one computation.

    Saving may take three hundredths of the time: a state that comes earlier is skipped, so that at
    most some thirty times the time of one write is lost to a kill.

    Parameters
    ----------
    folder
        Made at the first save; several processes must share it, the first one writes. Without one
        nothing is kept. Whether a state found there is that of the same request is the caller's
        affair; :meth:`of_request` sees to it.
    """

    SHARE = 0.03

    def __init__(self, folder: str | os.PathLike | None = None):
        self._folder = None if folder is None else Path(folder)
        self._cost = 0.0
        self._saved = -np.inf

    @classmethod
    def of_request(cls, folder: str | os.PathLike, request: Any) -> "Journal":
        """The journal of a request (JSON-able) in the precision in use.

        Its vectors go on under another version of JAX and on another number of devices: what they
        are multiplied with differs by rounding, which the recurrences measure.

        Raises
        ------
        RequestError
            If the folder holds the state of another request, or of one in another precision, which
            is named: hours of work are not dropped silently.
        """
        path, journal = Path(folder), cls(folder)
        precision = {"x64": bool(jax.config.jax_enable_x64), "format": _FORMAT}
        request = as_json({**request, **precision})
        found = _read(path / _REQUEST)
        same = isinstance(found, dict) and difference(found, request) is None
        if not same and any(path.rglob(_INDEX)):
            raise RequestError(_different(path, found, request))
        _wait_for_all("journal read")
        if not same:
            journal.discard()
            if not jax.process_index():
                journal._write(_REQUEST, lambda file: file.write(json.dumps(request).encode()))
        _wait_for_all("journal ready")
        return journal

    def part(self, name: str) -> "Journal":
        """The journal of a part of the computation, in a folder below."""
        return Journal(self._folder and self._folder / _checked(name))

    @property
    def room(self) -> float:
        """Bytes that are free where it is kept; infinite for one that keeps nothing."""
        if self._folder is None:
            return np.inf
        made = next(path for path in (self._folder, *self._folder.absolute().parents)
                    if path.exists())  # fmt: skip
        return shutil.disk_usage(made).free

    def load(self) -> dict[str, Any] | None:
        """The scalars last saved; None at the start.

        Vectors of a later state that was not finished are forgotten: computed again, perhaps on
        other devices, they will differ by rounding.

        Raises
        ------
        RequestError
            If there is a state and it is damaged.
        """
        if self._folder is None:
            return None
        path, index = self._folder / _INDEX, {"scalars": None, "vectors": []}
        if os.path.lexists(path):
            index = _read(path)
            if not isinstance(index, dict) or index.pop("digest", None) != _digest(index):
                raise _damaged(path)
        self._forget_except(index["vectors"])
        return index["scalars"]

    def vector(self, name: str, like: Tree) -> Tree:
        """A vector last saved, placed like ``like``.

        Raises
        ------
        RequestError
            If it is missing, damaged, or of other shapes than ``like``.
        """
        path, leaves = self._folder / f"{_checked(name)}.npz", jax.tree.leaves(like)
        try:
            if path.stat().st_size > sum(8 * leaf.size + _HEADER for leaf in leaves):
                raise ValueError("too large")
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                found = [file[f"{place}"] for place in range(len(leaves))]
            shapes = [leaf.shape for leaf in leaves]
            if [leaf.shape for leaf in found] != shapes or any(v.dtype.kind != "f" for v in found):
                raise ValueError("of other shapes")
        except Exception as error:  # a damaged archive can raise anything
            raise _damaged(path) from error
        return placed_like(found, like)

    def save(
        self,
        scalars: Mapping[str, Any],
        names: Collection[str] = (),
        vector: Callable[[str], Tree] | None = None,
    ) -> None:
        """Keep a state, unless the last one is so recent that it would cost more than its share.

        ``vector(name)`` is asked for the vectors that are not saved yet.

        Raises
        ------
        RequestError
            If it cannot be written; the last one stays.
        """
        start = time.monotonic()
        if self._folder is None or jax.process_index() or not self._due(start):
            return
        for name in names:
            if not (self._folder / f"{_checked(name)}.npz").exists():
                leaves = jax.tree.leaves(vector(name))
                values = {f"{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
                self._write(f"{name}.npz", lambda file, values=values: np.savez(file, **values))
        index = {"scalars": dict(scalars), "vectors": list(names)}
        text = json.dumps({**index, "digest": _digest(index)}).encode()
        self._write(_INDEX, lambda file: file.write(text))
        self._forget_except(names)
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def discard(self) -> None:
        """The computation is done, or was another one: forget its state."""
        if self._folder is not None and not jax.process_index():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _forget_except(self, names: Collection[str]) -> None:
        if jax.process_index() or not self._folder.is_dir():
            return
        kept = {_INDEX, _REQUEST, *(f"{name}.npz" for name in names)}
        for path in self._folder.iterdir():  # also what a killed process was writing
            if path.name not in kept and not path.is_dir():
                with failure_told("journal", path):
                    path.unlink()

    def _due(self, now: float) -> bool:
        return now - self._saved >= self._cost / self.SHARE

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        with temporary_beside(self._folder / name, "journal") as temporary:
            with open(temporary, "wb") as file:
                write(file)
            os.replace(temporary, self._folder / name)


def _read(path: Path) -> Any:
    """What a file holds; None if there is none, and for one that cannot be read."""
    try:
        return json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None


def _checked(name: str) -> str:
    """The name of a file or folder in the journal's."""
    if not name or Path(name).name != name or name.startswith("."):
        raise RequestError(f"journal: {name!r} is no name of a part of it; use another")
    return name


def _digest(index: Any) -> str:
    return hashlib.blake2b(json.dumps(index).encode(), digest_size=16).hexdigest()


def _damaged(path: Path) -> RequestError:
    return RequestError(
        f"journal: the interim state in {path.parent} is damaged ({path.name}); delete that folder "
        "to start anew"
    )


def _different(path: Path, found: Any, request: dict[str, Any]) -> str:
    """What is wrong with a state of another request, and what to do."""
    rest = "or delete it to start anew"
    if not isinstance(found, dict):
        return f"journal: the interim state in {path} does not say whose it is; delete it"
    if difference({**found, "x64": request["x64"]}, request) is None:
        precision = other_precision(not request["x64"])
        return f"journal: the interim state in {path} {precision}, {rest}"
    name, was, now = difference(found, request)
    if name in ("schema", "format"):
        return (
            f"journal: the interim state in {path} was made by another version of landscape "
            f"({name} {was}, now {now}); delete it to start anew"
        )
    return (
        f"journal: the interim state in {path} was made with {name}={was}, this request has "
        f"{name}={now}; repeat that request to go on with it, {rest}"
    )


def _wait_for_all(what: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)
