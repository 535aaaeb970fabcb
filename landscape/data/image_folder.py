"""Folders of class folders: ``FOLDER/CLASS/IMAGE`` or ``FOLDER/{train,test,val}/CLASS/IMAGE``."""

import math
import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from landscape.data.class_folders import Listed, listed
from landscape.data.resizing import CENTRAL_SQUARE, Geometry, resized
from landscape.data.splits import Data, Split, assembled
from landscape.errors import OutOfMemory, RequestError
from landscape.host import available_memory, processors
from landscape.printable import printable

MOST_PIXELS = 89_478_485  # where Pillow begins to warn
LONGEST_SIDE = 65_535  # of a JPEG
# Pixels that any file may have, and more for every byte: LZW packs 2,700 bytes into one.
_ALLOWANCE, _EXPANSION = 2**22, 4000
# Of these no reader starts another program, as that of PostScript does.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY = frozenset({"1", "L", "LA"})
_EIGHT_BIT = _GREY | {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"}
_STANDARD_ERROR = threading.Lock()
_COPIES = 24  # bytes of memory per pixel while an image is decoded, converted and resized
_AT_ONCE = 2**30  # bytes that several images may take at a time


def load_folder(
    folder: Path,
    reference: str,
    image_size: int | None = None,
    geometry: Geometry | None = None,
) -> Data:
    """Images in class folders, as uint8 in memory.

    Class folders are numbered in sorted order (by value if all names are numbers), images are
    sorted by path; hidden files and folders are left out, and what systems leave behind. Grey
    images give one channel if all are grey, else everything becomes RGB; transparency is dropped.
    The orientation that a camera noted is applied to TIFF alone, as Pillow does it for torchvision
    and timm.

    Parameters
    ----------
    folder
        Of class folders, or of two splits: ``train`` (or ``training``) and ``test`` (``testing``)
        or, where there is none, ``val`` (``valid``, ``validation``), in capitals or not. The test
        split may lack classes.
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
        If class folders hold folders instead of images, or no images; their order or the splits
        are ambiguous; a folder or an image cannot be read or is too large; sizes differ.
    """
    if image_size is not None and not 1 <= image_size <= LONGEST_SIDE:
        raise RequestError(f"image_size: {image_size} pixels; give 1 to {LONGEST_SIDE:,}")
    names, splits = listed(folder, reference)
    # Of metadata, palettes, size. The filters are the process's, so this stands around the threads.
    with warnings.catch_warnings(action="ignore"):
        loaded = _decoded(splits, image_size, geometry or CENTRAL_SQUARE)
    return assembled(loaded[0], loaded[1] if loaded[1:] else None, reference, names)


def _decoded(splits: list[Listed], image_size: int | None, geometry: Geometry) -> list[Split]:
    threads = min(8, processors())
    every_file = [path for split in splits for path in split.paths]
    with ThreadPoolExecutor(threads) as pool:
        heads = list(pool.map(_head, every_file))
    channels = 1 if all(grey for _, grey in heads) else 3
    sizes = [size for size, _ in heads]
    if all(size == (image_size, image_size) for size in sizes):
        image_size = None  # one geometry for all: these are cropped
    shape = (*_common_size(every_file, sizes, image_size), channels)
    at_once = _COPIES * max(math.prod(shape[:2]), *(width * height for width, height in sizes))
    needed, free = len(every_file) * math.prod(shape) + at_once, available_memory()
    if free is not None and needed > free:
        raise OutOfMemory(
            f"data: {len(every_file):,} images of {shape} need {needed / 1e9:.3g} GB, "
            f"{free / 1e9:.3g} GB are free; use a smaller --image-size or fewer images"
        )
    pixels = [np.empty((len(split.paths), *shape), np.uint8) for split in splits]
    with ThreadPoolExecutor(max(1, min(threads, _AT_ONCE // at_once))) as pool:
        for split, images in zip(splits, pixels, strict=True):

            def decode(index: int, split: Listed = split, images: np.ndarray = images) -> None:
                images[index] = _decode(split.paths[index], channels, image_size, geometry)

            list(pool.map(decode, range(len(images))))
    return [
        Split(images, np.array(split.labels, np.int32), split.name)
        for split, images in zip(splits, pixels, strict=True)
    ]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose pixels are read within; whatever is raised for a damaged one is one line."""
    try:
        # Of a path Pillow maps the file, and then misreads a TIFF whose camera was turned.
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            yield image
    except RequestError:
        raise
    except UnidentifiedImageError as error:
        raise RequestError(
            f"data: {printable(path)} cannot be read as an image (it is none of "
            f"{', '.join(_FORMATS)}, or its beginning is damaged); replace or remove it"
        ) from error
    except Exception as error:  # Pillow's readers raise anything
        reason = printable(" ".join(str(error).split()) or type(error).__name__, 200)
        raise RequestError(
            f"data: {printable(path)} cannot be read as an image ({reason}); replace or remove it"
        ) from error


def _head(path: Path) -> tuple[tuple[int, int], bool]:
    """(width, height) and whether the image is grey, without decoding it."""
    with _opened(path) as image:
        width, height = image.size
        if width * height > MOST_PIXELS or max(image.size) > LONGEST_SIDE:
            raise RequestError(
                f"data: {printable(path)} has {width}x{height} pixels; make it smaller than "
                f"{MOST_PIXELS:,} pixels and {LONGEST_SIDE:,} on a side"
            )
        bytes_there = path.stat().st_size
        if width * height > _ALLOWANCE + _EXPANSION * bytes_there:
            raise ValueError(f"{width}x{height} pixels in {bytes_there:,} bytes")
        if image.mode not in _EIGHT_BIT:
            raise RequestError(
                f"data: {printable(path)} has pixels of mode {image.mode}; convert it to 8 bits"
            )
        return image.size, image.mode in _GREY


def _common_size(paths, sizes, image_size: int | None) -> tuple[int, int]:
    """(H, W) of all images once decoded."""
    if image_size is not None:
        return image_size, image_size
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise RequestError(
                f"data: {printable(path)} has {size[0]}x{size[1]} pixels but "
                f"{printable(paths[0])} has {sizes[0][0]}x{sizes[0][1]}; resize all with "
                f"--image-size {min(sizes[0])}"
            )
    return sizes[0][1], sizes[0][0]


def _decode(path: Path, channels: int, image_size: int | None, geometry: Geometry) -> np.ndarray:
    with _opened(path) as opened, _quiet() if opened.format == "TIFF" else nullcontext():
        size, image = opened.size, opened.convert("L" if channels == 1 else "RGB")
        if image.size != size:
            raise ValueError("it has two sizes")
    if image_size is not None:
        return resized(image, geometry, image_size)
    return np.asarray(image).reshape(image.height, image.width, channels)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what libtiff writes to standard error beside what Pillow raises."""
    with _STANDARD_ERROR:
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
