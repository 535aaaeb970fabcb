"""Where data comes from: the scanned digits, folders, ``.npz`` files and the user's own functions.

A file format or a benchmark set is one function ``reference -> Data`` here.
"""

import importlib
import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from landscape.data.npz import read_npz
from landscape.data.splits import Data, Split, assembled, checked_split, with_holdout
from landscape.errors import RequestError

if TYPE_CHECKING:
    from landscape.data.resizing import Geometry

DIGITS_HOLDOUT = 0.2
_FUNCTION = re.compile(r"(?P<module>[\w.]+|.+\.py):(?P<function>[A-Za-z_]\w*)")


def load(
    reference: str,
    *,
    holdout: float | None = None,
    seed: int = 0,
    image_size: int | None = None,
    geometry: "Geometry | None" = None,
    call: bool = True,
) -> Data:
    """Load labelled images into memory.

    Parameters
    ----------
    reference
        ``digits`` (1,797 scanned 8x8 digits of scikit-learn), a folder of class folders (or of
        ``train`` and ``test`` or ``val``, each with class folders), an ``.npz`` with ``images``
        (uint8, N x H x W x C), ``labels`` and, if there are, ``test_images``, ``test_labels`` and
        ``class_names``, or ``module:function`` (``FILE.py:function``), which returns
        ``(images, labels)`` or a `Data`.
    holdout
        Part of every class of the training split that becomes the test split (and replaces the
        source's own). None: the source's own test split; for ``digits``, which has none, 0.2.
    seed
        Seed of the hold-out.
    image_size
        For folders: resize to squares of this many pixels.
    geometry
        How to resize, where ``image_size`` is given, such as
        ``get_preprocessing("big_vision").geometry``. None: cut out the central square.
    call
        Whether a function may be called: False where the reference comes from a file.

    Raises
    ------
    RequestError
        If the reference is unknown or what it names is missing, damaged or not as described.

    Examples
    --------
    >>> data = load("digits")
    >>> data.train.images.shape, len(data.test), data.classes
    ((1438, 8, 8, 1), 359, 10)
    """
    data = _read(reference, image_size, geometry, call)
    if holdout is None and reference == "digits":
        holdout = DIGITS_HOLDOUT
    return data if holdout is None else with_holdout(data, holdout, seed)


def size_for(reference: str, image_shape: Sequence[int] | None) -> int | None:
    """``image_size`` with which data fit a network that takes (height, width, channels).

    None where they are not resized: for everything but folders, and for networks that take no
    squares.
    """
    if image_shape is None or not os.path.isdir(reference):
        return None
    height, width, _ = image_shape
    return height if height == width else None


def _read(reference: str, image_size: int | None, geometry: "Geometry | None", call: bool) -> Data:
    path = Path(reference)
    if os.path.isdir(reference):  # which, unlike `Path.is_dir`, takes any text
        from landscape.data.image_folder import load_folder

        return load_folder(path, reference, image_size, geometry)
    if image_size is not None:
        raise RequestError(
            f"image_size: only folders of images are resized, and {reference!r} is none"
        )
    if reference == "digits":
        return _digits()
    if path.suffix == ".npz":
        return _npz(path, reference)
    if match := _FUNCTION.fullmatch(reference):
        if not call:
            raise RequestError(
                f"data: the checkpoint's configuration names the function {reference!r}, which is "
                f"code; if you trust it, name it yourself: --data {shlex.quote(reference)}"
            )
        return _function(match["module"], match["function"], reference)
    raise RequestError(
        f"data: {reference!r} is neither an existing folder nor 'digits', FILE.npz or "
        "module:function"
    )


def _digits() -> Data:
    """Digits of the UCI optical recognition set as shipped by scikit-learn, 0..16 -> 0..255."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    split = checked_split(images, labels, "train", "data 'digits'")
    return assembled(split, None, "digits", [str(digit) for digit in range(10)])


def _npz(path: Path, reference: str) -> Data:
    what = f"data {reference!r}"
    of_test = ("test_images", "test_labels")
    arrays = read_npz(path, ("images", "labels"), (*of_test, "class_names"), what)
    train = checked_split(arrays["images"], arrays["labels"], "train", what)
    given = [name for name in of_test if name in arrays]
    if len(given) == 1:
        (missing,) = {*of_test} - {*given}
        raise RequestError(f"{what}: no array {missing!r} beside {given[0]}; give both")
    test = checked_split(*map(arrays.get, of_test), "test", what) if given else None
    return assembled(train, test, reference, arrays.get("class_names"))


def _function(module: str, name: str, reference: str) -> Data:
    what = f"data {reference!r}"
    function = getattr(_import(module, what), name, None)
    if not callable(function):
        raise RequestError(f"{what}: {module} has no function {name!r}")
    made = function()
    if isinstance(made, Data):
        return _checked(made, reference, what)
    if not (isinstance(made, tuple) and len(made) == 2):
        raise RequestError(
            f"{what}: returned {type(made).__name__}; return (images, labels) or a Data"
        )
    return assembled(checked_split(*made, "train", what), None, reference)


def _checked(made: Data, reference: str, what: str) -> Data:
    """What somebody else put into a `Data`."""
    splits = []
    for name, split in (("train", made.train), ("test", made.test)):
        if not isinstance(split, Split) and (split is not None or name == "train"):
            raise RequestError(f"{what}: {name} is {type(split).__name__}; give a Split")
        splits.append(split and checked_split(split.images, split.labels, split.name, what))
    return assembled(*splits, reference, made.class_names, made.classes)


def _import(module: str, what: str):
    """A module by name (the current folder included) or a file; its own errors pass through."""
    if module.endswith(".py"):
        path = Path(module)
        if not os.path.isfile(module):
            raise RequestError(f"{what}: no such file {module}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[: error.name.count(".") + 1] == error.name.split("."):
            raise RequestError(f"{what}: there is no module {error.name!r}") from error
        raise
    finally:
        sys.path.remove(here)
