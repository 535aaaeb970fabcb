"""Interim state of a long computation, kept in a folder so that a killed run goes on from there.

A state is a dictionary of numbers and lists (JSON) and of named vectors. A vector's name stands
for one value for ever, so a vector that is saved already is not written again. The index that names
the vectors is moved into place last and what it no longer names is deleted after that: whenever the
process dies, the folder holds one whole state.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape.parameters import Tree, placed_like

_INDEX = "state.json"


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
        """The journal of a request (JSON-able); what another one left in the folder is dropped."""
        journal, digest = cls(folder), json.dumps(request, sort_keys=True)
        note = Path(folder) / "request.json"
        if not note.exists() or note.read_text() != digest:
            journal.discard()
            if not jax.process_index():
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(digest)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("journal")
        return journal

    def part(self, name: str) -> "Journal":
        """The journal of a part of the computation, in a folder below."""
        return Journal(self._folder and self._folder / name)

    def load(self) -> dict[str, Any] | None:
        """The scalars last saved; None at the start."""
        if self._folder is None:
            return None
        try:
            return json.loads((self._folder / _INDEX).read_text())["scalars"]
        except FileNotFoundError:
            return None

    def vector(self, name: str, like: Tree) -> Tree:
        """A vector last saved, placed like ``like``."""
        with np.load(self._folder / f"{name}.npz") as file:
            return placed_like([file[f"{i}"] for i in range(len(file.files))], like)

    def save(
        self,
        scalars: Mapping[str, Any],
        names: Collection[str] = (),
        vector: Callable[[str], Tree] | None = None,
    ) -> None:
        """Keep a state, unless the last one is so recent that it would cost more than its share.

        ``vector(name)`` is asked for the vectors that are not saved yet.
        """
        start = time.monotonic()
        if self._folder is None or jax.process_index() or not self._due(start):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (self._folder / f"{name}.npz").exists():
                leaves = jax.tree.leaves(vector(name))
                values = {f"{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
                self._write(f"{name}.npz", lambda file, values=values: np.savez(file, **values))
        index = json.dumps({"scalars": dict(scalars), "vectors": list(names)}).encode()
        self._write(_INDEX, lambda file: file.write(index))
        for path in self._folder.glob("*.npz"):
            if path.stem not in names:
                path.unlink()
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def discard(self) -> None:
        """The computation is done, or was another one: forget its state."""
        if self._folder is not None and not jax.process_index():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _due(self, now: float) -> bool:
        return now - self._saved >= self._cost / self.SHARE

    def _write(self, name: str, write: Any) -> None:
        temporary = self._folder / f".{name}"
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, self._folder / name)
