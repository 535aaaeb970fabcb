"""Which image of a folder belongs to which split and class, told by the names of folders alone.

Nothing is guessed: what may be a class or not, or could be counted in two orders, is refused by
name.
"""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from landscape.errors import RequestError
from landscape.printable import printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
# Folders that systems and servers leave behind, beside all hidden ones.
_LEFT_OUT = {
    "__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information",
    "lost+found", "__pycache__",
}  # fmt: skip
_DEEPEST = 4  # levels below which no data are looked for, to name them in a message


@dataclass(frozen=True)
class Listed:
    """The image files of one split, and the label of each."""

    name: str
    paths: list[Path]
    labels: list[int]


def listed(folder: Path, reference: str) -> tuple[list[str], list[Listed]]:
    """Class names in label order; the training files and, where there are any, the test files.

    Raises
    ------
    RequestError
        If folders are not arranged as `load_folder` says, or one cannot be read.
    """
    what = f"data {reference!r}"
    train, test = _splits(folder, what)
    folders = _ordered(_class_folders(train, what), train, what)
    labels = {name: label for label, name in enumerate(folders)}
    splits = [_files("train", train, folders, labels, what)]
    if test is not None:
        splits.append(_files("test", test, _class_folders(test, what), labels, what))
    return list(folders), splits


# ---- Splits -------------------------------------------------------------------------------------


def _splits(folder: Path, what: str) -> tuple[Path, Path | None]:
    """The folder of the training images and that of the test images."""
    called = {name: _SPLITS.get(name.casefold()) for name in _content(folder, what).folders}
    filled: dict[str | None, list[Path]] = {}
    for name, kind in called.items():
        if kind and _content(folder / name, what).folders:
            filled.setdefault(kind, []).append(folder / name)
    for paths in filled.values():
        if len(paths) > 1:
            raise RequestError(
                f"{what}: {' and '.join(path.name for path in paths)} are one split; merge them, "
                "or remove one"
            )
    tests = [filled[kind][0] for kind in ("test", "val") if kind in filled]
    if "train" in filled:
        unfilled = [name for name, kind in called.items() if kind in ("test", "val")]
        if unfilled and not tests:
            raise RequestError(
                f"{what}: no images in class folders of {printable(folder / unfilled[0])}; put "
                "them into the folders that train has, or remove it"
            )
        return filled["train"][0], tests[0] if tests else None
    if called and all(called.values()):
        if tests:
            raise RequestError(
                f"{what}: there are class folders in {tests[0].name} but none in train; "
                f"use {printable(tests[0])} for its images alone"
            )
        example = folder / next(iter(called)) / "CLASS" / "IMAGE.png"
        raise RequestError(
            f"{what}: {' and '.join(called)} are splits, not classes; put the images into class "
            f"folders ({printable(example)})"
        )
    return folder, None


# ---- Classes ------------------------------------------------------------------------------------


def _class_folders(root: Path, what: str) -> dict[str, Path]:
    """Class folders by class name, unordered."""
    content = _content(root, what)
    if not content.folders:
        found = "images but no class folders" if content.images else "no images"
        raise RequestError(
            f"{what}: {found} in {printable(root)}; put them into class folders "
            f"({printable(root / 'CLASS' / 'IMAGE.png')})"
        )
    found: dict[str, Path] = {}
    seen: dict[str, Path] = {}
    own = os.path.realpath(root)
    for path in (root / name for name in content.folders):
        name, real = unicodedata.normalize("NFC", path.name), os.path.realpath(path)
        if printable(name) != name:
            raise RequestError(
                f"{what}: the name of class folder {printable(path)} cannot be printed; rename it"
            )
        if own == real or own.startswith(real.rstrip(os.sep) + os.sep):
            raise RequestError(
                f"{what}: class folder {printable(path)} leads back to where it lies; remove it"
            )
        for other in (found.get(name), seen.get(real)):
            if other is not None:
                raise RequestError(
                    f"{what}: class folders {printable(path)} and {printable(other)} are one; "
                    "merge them, or remove one"
                )
        found[name] = seen[real] = path
    return found


def _ordered(folders: dict[str, Path], root: Path, what: str) -> dict[str, Path]:
    """In label order: sorted, by value if all names are numbers."""
    numbers = [name for name in folders if name.isdecimal()]
    if len(numbers) == len(folders):  # ImageNet-V2 calls them 0 to 999
        ordered = sorted(folders, key=int)
        for one, other in pairwise(ordered):
            if int(one) == int(other):
                raise RequestError(
                    f"{what}: class folders {one} and {other} in {printable(root)} are one number; "
                    "merge or rename them"
                )
    else:
        ordered = sorted(folders)
        strays = sorted({*folders} - {*numbers})
        if sorted(numbers) != sorted(numbers, key=int):  # else both orders are one
            raise RequestError(
                f"{what}: folder {printable(folders[strays[0]])} lies among class folders called "
                "by numbers, whose order it would change; move it away"
            )
    return {name: folders[name] for name in ordered}


def _files(
    split: str, root: Path, folders: dict[str, Path], labels: dict[str, int], what: str
) -> Listed:
    """Image files below the class folders of one split, sorted by class and path."""
    found = Listed(split, [], [])
    inner: list[set[str]] = []
    for name, folder in sorted(folders.items(), key=lambda item: labels.get(item[0], -1)):
        if name not in labels:
            raise RequestError(
                f"{what}: class folder {printable(folder)} has no counterpart in train"
            )
        content = _content(folder, what)
        if not content.images:
            raise RequestError(f"{what}: {_without_images(folder, content, root, folders, what)}")
        paths = _images_below(folder, what)
        depth = len(folder.parts)
        inner.append({path.parts[depth] for path in paths if len(path.parts) > depth + 1})
        found.paths.extend(paths)
        found.labels.extend([labels[name]] * len(paths))
    if shared := sorted(set.intersection(*inner)):
        raise RequestError(
            f"{what}: every class folder in {printable(root)} holds a folder "
            f"{printable(shared[0])}, so they are no classes; {_remedy(root, folders, what)}"
        )
    return found


def _images_below(folder: Path, what: str) -> list[Path]:
    found, waiting = [], [folder]
    while waiting:
        here = waiting.pop()
        content = _content(here, what)
        if content.linked:
            raise RequestError(
                f"{what}: {printable(here / content.linked[0])} is a link to a folder inside a "
                "class folder; put its images there, or remove it"
            )
        found += [here / name for name in content.images]
        waiting += [here / name for name in content.folders]
    for path in found:
        if not os.path.isfile(path):
            raise RequestError(
                f"{what}: {printable(path)} is a pipe, a device or a link to nothing; remove it"
            )
    return sorted(found)


# ---- What is said of folders without images -----------------------------------------------------


def _without_images(
    folder: Path, content: "_Content", root: Path, folders: dict[str, Path], what: str
) -> str:
    if content.folders:
        return (
            f"class folder {printable(folder)} holds folders but no images; "
            f"{_remedy(root, folders, what)}"
        )
    if content.others:
        example = printable(content.others[0])
        return (
            f"class folder {printable(folder)} holds no images, but {len(content.others)} files "
            f"such as {example}; images end with {', '.join(SUFFIXES)}: convert them, or remove it"
        )
    return f"class folder {printable(folder)} is empty; put its images there, or remove it"


def _remedy(root: Path, folders: dict[str, Path], what: str) -> str:
    """What to use instead of a folder whose folders are no classes."""
    insides = [_content(folder, what).folders for folder in folders.values()]
    if len(insides) > 1 and len(insides[0]) == 1 and all(x == insides[0] for x in insides):
        some = next(iter(folders.values())) / insides[0][0]
        if _content(some, what).images:  # Tiny ImageNet's CLASS/images/
            return f"move the images of every CLASS/{printable(some.name)} up into CLASS"
    meant = list(islice(_data_below(root, what), 2))
    if not meant:
        return "put images into class folders, or remove it"
    if len(meant) == 1:
        return f"use {printable(meant[0])}"
    return f"use one of the folders inside, such as {printable(meant[0])}"


def _data_below(root: Path, what: str, levels: int = _DEEPEST) -> Iterator[Path]:
    """Folders that hold class folders of images, or a training split that does."""
    content = _content(root, what)
    for path in (root / name for name in content.folders if name not in content.linked):
        inside = [path / name for name in _content(path, what).folders]
        train = [each for each in inside if _SPLITS.get(each.name.casefold()) == "train"]
        classes = [each / name for each in train for name in _content(each, what).folders] or inside
        if any(_content(each, what).images for each in classes):
            yield path
        elif levels > 1:
            yield from _data_below(path, what, levels - 1)


# ---- What lies in a folder ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Content:
    """Names in a folder, sorted, without what is hidden or left behind by systems."""

    folders: list[str]
    linked: list[str]
    """Those of the folders that are links."""
    images: list[str]
    others: list[str]


def _content(folder: Path, what: str) -> _Content:
    content = _Content([], [], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name in _LEFT_OUT:  # macOS: ._x.png
                    continue
                linked = entry.is_symlink()
                if os.path.isdir(entry.path) if linked else entry.is_dir():
                    content.folders.append(entry.name)
                    if linked:
                        content.linked.append(entry.name)
                elif entry.name.lower().endswith(SUFFIXES):
                    content.images.append(entry.name)
                else:
                    content.others.append(entry.name)
    except OSError as error:
        raise RequestError(
            f"{what}: folder {printable(folder)} cannot be read ({error.strerror}); make it "
            "readable, or remove it"
        ) from error
    return content
