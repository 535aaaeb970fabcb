"""Parameters as a flat ``.npz``: one array per leaf, named ``a/b/kernel``."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import RequestError
from landscape.parameters import named_leaves
from landscape.whole_file import whole_file


def save_npz(params: Any, path: str | os.PathLike) -> None:
    """Write a parameter tree (nested dicts) as ``.npz``; the file appears complete or not at all.

    Readable by ``numpy.load`` and by `landscape.checkpoints.load`.
    """
    save_arrays(Path(path), named_leaves(params))


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays in the same way."""
    if path.suffix != ".npz":
        raise RequestError(f"out: {path} is no name of an .npz; let it end in .npz")
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, array in arrays.items():  # numpy.savez takes no array called `file`
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def nested(leaves: Mapping[str, Any], what: str) -> dict:
    """The tree of dicts whose leaves have the given ``a/b/kernel`` names.

    Raises
    ------
    RequestError
        If a name is also the beginning of another.
    """
    tree: dict = {}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or last in node:
            raise RequestError(f"checkpoint {what}: {name!r} clashes with another array's name")
        node[last] = leaf
    return tree
