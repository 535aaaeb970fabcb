"""Folders of class folders: ``FOLDER/CLASS/IMAGE`` or ``FOLDER/{train,test,val}/CLASS/IMAGE``."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from landscape.data.resizing import CENTRAL_SQUARE, Geometry, resized
from landscape.data.splits import Data, Split, assembled
from landscape.errors import RequestError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
TEST_FOLDERS = ("test", "val")
_GREY = frozenset({"1", "L", "LA"})
_EIGHT_BIT = _GREY | {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"}


def load_folder(
    folder: Path,
    reference: str,
    image_size: int | None = None,
    geometry: Geometry | None = None,
) -> Data:
    """Images in class folders, as uint8 in memory.

    Class folders are numbered in sorted order (by value if all names are numbers); images are
    sorted by name, hidden ones left out. Grey images give one channel if all are grey, else
    everything becomes RGB; transparency is dropped.

    Parameters
    ----------
    folder
        The folder; with a ``train`` subfolder of class folders, its ``test`` or ``val`` is the
        test split.
    reference
        How messages call it.
    image_size
        Resize to squares of this many pixels. Needed if images differ in size. Where every image
        has this size already, all are taken as they are: benchmark sets such as ImageNet-C are
        kept cropped.
    geometry
        How to resize. None: cut out the central square (bilinear, antialiased).

    Raises
    ------
    RequestError
        If there are no images, one cannot be read, sizes differ, or class folders are in ``test``
        or ``val`` alone.
    """
    if image_size is not None and image_size < 1:
        raise RequestError(f"image_size: {image_size} pixels; give at least 1")
    geometry = geometry or CENTRAL_SQUARE
    if (folder / "train").is_dir() and _class_folders(folder / "train"):
        train_root = folder / "train"
        test_root = next((folder / n for n in TEST_FOLDERS if (folder / n).is_dir()), None)
    else:
        _refuse_test_alone(folder, reference)
        train_root, test_root = folder, None
    names = [path.name for path in _class_folders(train_root)]
    splits = [("train", train_root)] + ([("test", test_root)] if test_root else [])
    listed = [(name, *_files(root, names, reference)) for name, root in splits]

    every_file = [path for _, paths, _ in listed for path in paths]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        heads = list(pool.map(_head, every_file))
        channels = 1 if all(grey for _, grey in heads) else 3
        sizes = [size for size, _ in heads]
        if all(size == (image_size, image_size) for size in sizes):
            image_size = None  # one geometry for all: these are cropped
        shape = _common_size(every_file, sizes, image_size)

        def decoded(name: str, paths: list[Path], labels: list[int]) -> Split:
            images = np.empty((len(paths), *shape, channels), np.uint8)

            def decode(index: int) -> None:
                images[index] = _decode(paths[index], channels, image_size, geometry)

            list(pool.map(decode, range(len(paths))))
            return Split(images, np.array(labels, np.int32), name)

        loaded = [decoded(*entry) for entry in listed]
    return assembled(loaded[0], loaded[1] if test_root else None, reference, names)


def _class_folders(root: Path) -> list[Path]:
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if all(path.name.isdecimal() for path in folders):  # ImageNet-V2 calls them 0 to 999
        return sorted(folders, key=lambda path: int(path.name))
    return sorted(folders)


def _refuse_test_alone(folder: Path, reference: str) -> None:
    """Class folders in ``test`` or ``val`` without training images are no classes."""
    roots = _class_folders(folder)
    filled = [root for root in roots if root.name in TEST_FOLDERS and _class_folders(root)]
    if filled and all(root.name in ("train", *TEST_FOLDERS) for root in roots):
        raise RequestError(
            f"data {reference!r}: there are class folders in {filled[0].name} but none in train; "
            f"use {filled[0]} for its images alone"
        )


def _files(root: Path, names: list[str], reference: str) -> tuple[list[Path], list[int]]:
    """Image files below the class folders of one split, and their labels."""
    paths, labels = [], []
    for folder in _class_folders(root):
        if folder.name not in names:
            raise RequestError(
                f"data {reference!r}: class folder {folder} has no counterpart in train"
            )
        found = sorted(
            p
            for p in folder.rglob("*")
            if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")  # macOS: ._x.png
        )
        paths += found
        labels += [names.index(folder.name)] * len(found)
    if not paths:
        raise RequestError(
            f"data {reference!r}: no images in {root}; put them into class folders "
            f"({root / 'CLASS' / 'IMAGE.png'})"
        )
    return paths, labels


def _head(path: Path) -> tuple[tuple[int, int], bool]:
    """(width, height) and whether the image is grey, without decoding it."""
    try:
        with Image.open(path) as image:
            if image.mode not in _EIGHT_BIT:
                raise RequestError(
                    f"data: {path} has pixels of mode {image.mode}; convert it to 8 bits"
                )
            return image.size, image.mode in _GREY
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _common_size(paths, sizes, image_size: int | None) -> tuple[int, int]:
    """(H, W) of all images once decoded."""
    if image_size is not None:
        return image_size, image_size
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise RequestError(
                f"data: {path} has {size[0]}x{size[1]} pixels but {paths[0]} has "
                f"{sizes[0][0]}x{sizes[0][1]}; resize all with --image-size {min(sizes[0])}"
            )
    return sizes[0][1], sizes[0][0]


def _decode(path: Path, channels: int, image_size: int | None, geometry: Geometry) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    if image_size is not None:
        return resized(image, geometry, image_size)
    return np.asarray(image).reshape(image.height, image.width, channels)


def _unreadable(path: Path, error: Exception) -> RequestError:
    return RequestError(f"data: {path} cannot be read as an image ({error}); replace or remove it")
