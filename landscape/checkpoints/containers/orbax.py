"""Folders that Orbax wrote: an item, a step with its items, or numbered steps, of which the newest.

Both of Orbax's interfaces write the same items: a folder with a ``_METADATA``, and the arrays in an
OCDBT database or in one folder each. Orbax itself reads them.
"""

import gc
import logging
import os.path
import re
import sys
import time
import traceback
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape.checkpoints.containers.container import Container, Described, batches
from landscape.checkpoints.containers.limits import LONGEST_INDEX, checked, damage_told
from landscape.errors import RequestError
from landscape.parameters import leaf_names

_METADATA = "_METADATA"
_LONGEST_METADATA = 4 * LONGEST_INDEX  # it takes some 250 bytes to name an array
_UNFINISHED = ".orbax-checkpoint-tmp"
_CHECKPOINTS = "checkpoints"  # the usual folder of steps in an experiment's
_NUMBERED = re.compile(r"(?:checkpoint_)?([0-9]+)")  # with the prefix of flax.training


def recognises(path: Path) -> bool:
    """Whether a folder, or a step in it, has Orbax's ``_METADATA``; it may still be damaged."""
    return path.is_dir() and _step(path) is not None


def step_folder(path: Path, step: int) -> Path:
    """The folder of one of the numbered steps in a folder.

    Raises
    ------
    RequestError
        If it has no such step.
    """
    steps = _steps(path) if os.path.isdir(path) else {}  # unlike Path's, for names of any length
    if step not in steps:
        available = ", ".join(map(str, steps)) or "none"
        raise RequestError(f"checkpoint: {path} has no step {step}; available: {available}")
    return steps[step]


def opened(path: Path) -> "OrbaxFolder":
    """The described arrays; no values are read. Leaves that are no arrays are left out.

    The names of several items (``params``, ``state``) begin with the item's.

    Raises
    ------
    RequestError
        If the folder is damaged.
    """
    with damage_told(path):
        folder = _step(path)
        if folder is None:
            raise ValueError(f"no {_METADATA} in it")
        items = _items(folder)
        arrays, sources = {}, {}
        for prefix, item in items.items():
            with _reader(item) as (_, _, tree):
                for leaf, array in _arrays(item, tree).items():
                    arrays[prefix + leaf] = array
                    sources[prefix + leaf] = (item, leaf)
        return OrbaxFolder(path, arrays, _number(folder), sources)


@dataclass(frozen=True)
class OrbaxFolder(Container):
    """The arrays of a step.

    Attributes
    ----------
    step
        Its number, or None where the folders have none.
    sources
        The item and the name in it that an array has.
    """

    format = "Orbax"

    step: int | None
    sources: Mapping[str, tuple[Path, str]] = field(repr=False)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        with damage_told(self.path):
            yield from self.read_or_raise(names)

    def read_or_raise(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The same; for a damaged file whatever Orbax and TensorStore raise."""
        item_of = {name: item for name, (item, _) in self.sources.items()}
        for batch in batches(names, self.arrays, item_of.get):
            folder = self.sources[batch[0]][0]
            tree = _restored(folder, {self.sources[name][1] for name in batch})
            found = dict(zip(leaf_names(tree), jax.tree.leaves(tree), strict=True))
            del tree
            for name in batch:
                array = found.pop(self.sources[name][1])
                if Described(array.shape, array.dtype) != self.arrays[name]:
                    raise ValueError(f"array {name!r} is not as its description says")
                yield name, array


def leaves_of(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of an item by name, whatever devices they were written from.

    Raises
    ------
    Exception
        Whatever Orbax and TensorStore raise for damaged files.
    """
    with _reader(folder) as (_, _, tree):
        arrays = _arrays(folder, tree)
    item = OrbaxFolder(folder, arrays, None, {name: (folder, name) for name in arrays})
    return dict(item.read_or_raise(arrays))


def _restored(folder: Path, wanted: Collection[str]) -> Any:
    """The tree of an item with numpy arrays as the wanted leaves; the others are ``...``."""
    import orbax.checkpoint as ocp

    with _reader(folder) as (reader, path, described):
        _arrays(folder, described)  # before any is made
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), described)
        leaves = zip(leaf_names(described), jax.tree.leaves(described), strict=True)
        kept = [leaf if name in wanted else ocp.PLACEHOLDER for name, leaf in leaves]
        item = jax.tree.unflatten(jax.tree.structure(described), kept)
        return reader.restore(path, args=ocp.args.PyTreeRestore(item=item, restore_args=as_numpy))


def _arrays(folder: Path, tree: Any) -> dict[str, Described]:
    """The arrays of an item's tree; Python's numbers are none, and their size is not told."""
    import orbax.checkpoint as ocp

    arrays, pieces = [], []
    for name, leaf in zip(leaf_names(tree), jax.tree.leaves(tree), strict=True):
        number = isinstance(leaf, ocp.metadata.ScalarMetadata)  # a subclass of the other
        if number or not isinstance(leaf, ocp.metadata.ArrayMetadata):
            continue
        dtype = np.dtype(leaf.dtype)
        arrays.append((name, Described(tuple(leaf.shape), dtype)))
        # A piece is made whole, however little of it belongs to the array.
        if leaf.storage is not None and leaf.storage.chunk_shape is not None:
            pieces.append((name, Described(tuple(leaf.storage.chunk_shape), dtype)))
    size = sum(file.stat().st_size for file in folder.rglob("*"))
    checked(pieces, size)
    return checked(arrays, size)


@contextmanager
def _reader(folder: Path) -> Iterator[tuple[Any, Path, Any]]:
    """What reads an item, its path, and the tree of what it holds."""
    import orbax.checkpoint as ocp

    length = (folder / _METADATA).stat().st_size
    if length > _LONGEST_METADATA:
        raise ValueError(f"its {_METADATA} has {length:,} bytes")
    path = folder.absolute()
    with quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        described = reader.metadata(path)
        described = getattr(described, "item_metadata", described)  # since Orbax 0.10
        described = getattr(described, "tree", described)
        if not jax.tree.leaves(described):  # how Orbax tells that the description is damaged
            raise ValueError("it lists no parameters")
        yield reader, path, described


def _step(path: Path) -> Path | None:
    """The folder of items that a folder is, or its newest numbered one."""
    if _items(path):
        return path
    return next(reversed(_steps(path).values()), None)


def _steps(path: Path) -> dict[int, Path]:
    """The numbered folders of items in a folder, or in its ``checkpoints``, ascending."""
    parents = (parent for parent in (path, path / _CHECKPOINTS) if parent.is_dir())
    folders = (folder for parent in parents for folder in parent.iterdir())
    numbered = sorted((n, folder) for folder in folders if (n := _number(folder)) is not None)
    return {number: folder for number, folder in numbered if _items(folder)}


def _number(folder: Path) -> int | None:
    match = _NUMBERED.fullmatch(folder.name)
    return match and int(match[1])


def _items(folder: Path) -> dict[str, Path]:
    """The folders of items by what their names of arrays begin with."""
    if (folder / _METADATA).is_file():
        return {"": folder}
    if not folder.is_dir():
        return {}
    items = sorted(f for f in folder.iterdir() if _is_item(f))
    return {"" if len(items) == 1 else f"{item.name}/": item for item in items}


def _is_item(folder: Path) -> bool:
    """Whether it belongs to a step: it is no step or checkpoint of its own, and finished."""
    alone = _number(folder) is not None or (folder / "_CHECKPOINT_METADATA").exists()
    return not alone and _UNFINISHED not in folder.name and (folder / _METADATA).is_file()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Orbax from writing to standard error.

    It tells its progress through absl's logger, at warning level too, and damage at error level
    before it raises. And when one of several reads fails, the others end in threads that find their
    event loop closed, or in tasks and coroutines that nobody waits for.
    """
    loggers = logging.getLogger("absl"), logging.getLogger("asyncio")
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook

    def all_but_closed_loops(told):
        if "Event loop is closed" not in str(told.exc_value):
            hook(told)

    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = all_but_closed_loops
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            try:
                yield
            except Exception as error:
                time.sleep(0.2)  # for those threads to end
                traceback.clear_frames(error.__traceback__)
                gc.collect()  # those tasks
                raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.unraisablehook = hook
