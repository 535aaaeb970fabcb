"""Surface and direction files of Li et al., *Visualizing the Loss Landscape of Neural Nets*.

The layout is that of their ``plot_surface.py`` and ``h5_util.py`` (arXiv:1712.09913). Our own
surface files use the same names, so that their plotting scripts read them.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape import disk, parameters
from landscape.errors import RequestError
from landscape.parameters import Tree
from landscape.results.hdf5 import Hdf5, reading
from landscape.surface.result import Surface
from landscape.whole_file import whole_file

_METRICS = ("train_loss", "train_acc", "test_loss", "test_acc")
_NOT_COMPUTED = -1
_GROUPS = ("xdirection", "ydirection")


def read_li_surface(path: str | os.PathLike) -> Surface:
    """Read a surface, or a line, that ``plot_surface.py`` has written.

    A point is done where the first loss of the file is not -1. Their grids are walked with x
    fastest but stored with shape (nx, ny), which is wrong unless nx = ny; here the shape is
    (ny, nx). Of the directions such a file knows the name only: ``cosine`` and ``lengths`` are
    NaN, ``attributes["dir_file"]`` is the name.

    Raises
    ------
    RequestError
        If there is no such file, it is not such a file, or its arrays do not fit together.
    """
    with _opened(path) as file:
        if "kind" in file.attributes:
            raise RequestError(f"surface: {path} was written by landscape; use read_surface")
        held = [name for name in _METRICS if name in file.datasets]
        if "xcoordinates" not in _roots(file) or not {"train_loss", "test_loss"} & set(held):
            raise RequestError(
                f"surface: {path} holds {_listed(file)}, not xcoordinates and train_loss; use a "
                "file that plot_surface.py has written"
            )
        x = np.ravel(_numbers(file, "xcoordinates", path))
        is_plane = "ycoordinates" in file.datasets
        y = np.ravel(_numbers(file, "ycoordinates", path)) if is_plane else None
        stored = {name: _numbers(file, name, path) for name in held}
        held_name = file.datasets.get("dir_file")
        named = held_name is not None and held_name.is_text and held_name.shape == ()
        dir_file = file.read("dir_file").item() if named else None
    stored_shape = tuple(axis.size for axis in (x, y) if axis is not None)
    for name, values in stored.items():
        if values.shape not in (stored_shape, stored_shape[::-1]):
            raise RequestError(
                f"surface: {name} in {path} has shape {values.shape}, its coordinates make "
                f"{stored_shape}; the file is not whole, compute it again"
            )
    grids = {name: values.reshape(stored_shape[::-1]) for name, values in stored.items()}
    metrics = {k: np.where(v == _NOT_COMPUTED, np.nan, v) for k, v in grids.items()}
    loss = next(values for name, values in grids.items() if name.endswith("_loss"))
    return Surface(
        x=x,
        y=y,
        metrics=metrics,
        done=loss != _NOT_COMPUTED,
        interpolated=np.zeros(loss.shape, bool),
        cosine=float("nan"),
        lengths=(float("nan"),) * loss.ndim,
        attributes={} if dir_file is None else {"dir_file": dir_file},
    )


def read_li_directions(
    path: str | os.PathLike, params: Tree, layout: Sequence[Any] | None = None
) -> list[Tree]:
    """Read the one or two directions that ``plot_surface.py`` has written (``--dir_type weights``).

    Parameters
    ----------
    path
        A direction file: groups ``xdirection`` and ``ydirection`` of datasets "0", "1", ...
    params
        The parameters that the directions belong to.
    layout
        For every dataset, in order, an object with ``.leaf``, the name of our leaf, and ``.axes``
        such that ``np.transpose(leaf, axes)`` is the dataset. None: the leaves of ``params`` as
        they are, in their order.

    Returns
    -------
    list of trees
        Like ``params``, float32 or better.

    Raises
    ------
    RequestError
        If the file is missing or foreign, or its tensors do not fit the parameters.
    """
    leaves, places = parameters.named_leaves(params), _places(layout, params)
    found = []
    with _opened(path) as file:
        members = {group: _members(file, group) for group in _GROUPS}
        if not members["xdirection"]:
            raise RequestError(
                f"directions: {path} holds {_listed(file)}, not xdirection; use a direction file "
                "that plot_surface.py has written"
            )
        for group in (name for name in _GROUPS if members[name]):
            _check_count(group, members[group], len(places), path)
            read = {}
            for position, (name, axes) in enumerate(places):
                tensor = _numbers(file, f"{group}/{position}", path)
                expected = tuple(np.shape(leaves[name])[axis] for axis in axes)
                if tensor.shape != expected:
                    raise RequestError(
                        f"directions: tensor {position} of {group} in {path} has shape "
                        f"{tensor.shape}, {name!r} has {expected}; use the checkpoint that the "
                        "directions were made for"
                    )
                ours = np.transpose(tensor, np.argsort(axes))
                read[name] = ours.astype(parameters.wide(leaves[name].dtype))
            found.append(parameters.placed_like([read[name] for name in leaves], params))
    return found


def write_li_directions(
    path: str | os.PathLike, directions: Sequence[Tree], layout: Sequence[Any] | None = None
) -> None:
    """Write one or two directions for the ``--dir_file`` of ``plot_surface.py``.

    Parameters
    ----------
    path
        The file; it appears complete or not at all.
    directions
        Trees like the parameters.
    layout
        As for :func:`read_li_directions`.

    Raises
    ------
    RequestError
        For no or more than two directions, a layout that does not fit, and if the file cannot be
        written.
    """
    if len(directions) not in (1, 2):
        raise RequestError(f"directions: {len(directions)} were given; pass one or two")

    def fill(file: h5py.File) -> None:
        file.attrs["written_by"] = "landscape"
        for group, direction in zip(_GROUPS, directions, strict=False):
            leaves = parameters.named_leaves(direction)
            for position, (name, axes) in enumerate(_places(layout, direction)):
                tensor = np.transpose(np.asarray(leaves[name]), axes)
                wide = tensor.astype(parameters.wide(tensor.dtype))  # HDF5 knows no bfloat16
                file.create_dataset(f"{group}/{position}", data=wide)

    with whole_file(path) as temporary:
        disk.write_hdf5(temporary, fill)


def _places(layout: Sequence[Any] | None, tree: Tree) -> list[tuple[str, tuple[int, ...]]]:
    """Leaf name and axes of every tensor of a file, in its order."""
    ranks = {name: np.ndim(leaf) for name, leaf in parameters.named_leaves(tree).items()}
    if layout is None:
        return [(name, tuple(range(rank))) for name, rank in ranks.items()]
    places = [(entry.leaf, tuple(entry.axes)) for entry in layout]
    names = [name for name, _ in places]
    if sorted(names) != sorted(ranks):
        odd = next(iter(set(names) ^ set(ranks)), None) or "one of them twice"
        raise RequestError(
            f"layout: {len(names)} tensors do not stand for the {len(ranks)} parameters ({odd}); "
            "use the layout of this network's checkpoint"
        )
    for name, axes in places:
        if sorted(axes) != list(range(ranks[name])):
            raise RequestError(
                f"layout: axes {axes} of {name!r} do not permute its {ranks[name]} axes; use the "
                "layout of this network's checkpoint"
            )
    return places


def _check_count(name: str, held: Collection[str], expected: int, path) -> None:
    count = len(held)
    if count > expected:
        raise RequestError(
            f"directions: {name} in {path} has {count} tensors for {expected} parameters; with "
            "--dir_type states it holds running averages too, so make it with --dir_type weights"
        )
    if count < expected or set(held) != {str(position) for position in range(expected)}:
        raise RequestError(
            f"directions: {name} in {path} has {count} tensors ({_few(held)}) for {expected} "
            "parameters; use the checkpoint that the directions were made for"
        )


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Hdf5]:
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"file: no file {path}; name an HDF5 file of Li et al.'s scripts")
    try:
        with reading(path) as file:
            yield file
    except RequestError:
        raise
    except (OSError, ValueError) as error:
        raise RequestError(
            f"file: {path} is not a whole HDF5 file ({error}); name one of Li et al.'s scripts"
        ) from error


def _numbers(file: Hdf5, name: str, path) -> np.ndarray:
    """A dataset in float64."""
    held = file.datasets.get(name)
    if held is None or held.dtype is None or held.dtype.kind not in "fiu":
        raise RequestError(f"file: /{name} in {path} is no array of numbers; use another file")
    return file.read(name).astype(np.float64)


def _members(file: Hdf5, group: str) -> list[str]:
    return [
        name.removeprefix(f"{group}/") for name in file.datasets if name.startswith(f"{group}/")
    ]


def _listed(file: Hdf5) -> str:
    """The first few names in a file."""
    return _few(_roots(file))


def _roots(file: Hdf5) -> set[str]:
    return {name.partition("/")[0] for name in file.datasets}


def _few(held: Collection[str]) -> str:
    names = sorted(held)
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "nothing"
