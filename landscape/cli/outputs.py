"""Files that a command writes: none of them is read by it, and none is somebody else's."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from landscape.errors import RequestError
from landscape.whole_file import whole_file

_DRAWN = ("picture", "html", "animation", "export")  # of results that are there
_WRITTEN = ("out", "li_directions", *_DRAWN)
PICTURES = (".png", ".pdf", ".svg")
_READ = ("checkpoint", "start_from", "data", "config", "draw", "watch", "hessian")
_FOLDERS = ("train", "quickstart")  # whose --out is one
_ENDS = 2**16  # bytes at both ends of a file, where its maker is told
_LONGEST_OUTCOME = 64 * 2**20
_HDF5 = b"\x89HDF\r\n\x1a\n"
_AT_STEP = re.compile(r"(.+)@\d+")


def check(command: str, options: Any) -> None:
    """Refuse, before anything is computed, to write where it would overwrite what is kept.

    Raises
    ------
    RequestError
        If two files to be written are one, one of them is read, or exists and is not of the kind
        that this command writes.
    """
    read = dict([*_files(options, _READ), *_named(options)])
    read |= {match[1]: of for path, of in read.items() if (match := _AT_STEP.fullmatch(path))}
    written: dict[str, str] = {}
    finished = getattr(options, "draw", ()) or getattr(options, "watch", None)
    for path, name in _files(options, _DRAWN if finished else _WRITTEN):
        if not path:
            raise RequestError(f"{name}: the name is empty; leave --{name.replace('_', '-')} out")
        folder = name == "out" and command in _FOLDERS
        if name == "out" and not folder and os.path.isdir(path):
            continue  # the command says what it needs
        for others in (read, written):
            for other, of in others.items():
                if _same(path, other):
                    raise RequestError(f"{name}: {path} is also named by {of}; name another file")
        if name == "picture":
            check_picture(path)
        written[path] = name
        if not folder:
            check_replaceable(path, name, command)


def check_picture(path: str) -> None:
    """Refuse a picture of a format that is not drawn (RequestError)."""
    if Path(path).suffix.lower() not in PICTURES:
        raise RequestError(f"picture: {path} is of no format here; use {', '.join(PICTURES)}")


def save_picture(figure: Any, path: str | os.PathLike, name: str) -> None:
    """Write a figure where it replaces nothing but a picture of ours.

    Raises
    ------
    RequestError
        See `check_replaceable`; or if it cannot be written.
    """
    check_replaceable(path, name)
    with whole_file(path, name) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=200)


def check_replaceable(path: str | os.PathLike, name: str, command: str = "") -> None:
    """Refuse to replace a file that no command here wrote.

    Parameters
    ----------
    path
        The file that is going to be written.
    name
        The option that names it.
    command
        Whose ``--out`` it is.

    Raises
    ------
    RequestError
        If there is a file of another kind, or something that is no file.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise RequestError(f"{name}: {path} is no file; name one")
    if name == "out":
        ours = _OF_COMMANDS.get(command, _with(_HDF5, b""))  # what is in it, `results` looks at
    elif name == "li_directions":
        ours = _with(_HDF5, b"landscape")
    else:
        ours = _OF_SUFFIXES.get(path.suffix.lower(), _never)
    try:
        found = ours(path)
    except OSError as error:
        raise RequestError(f"{name}: {path} cannot be read ({error.strerror})") from error
    if not found:
        raise RequestError(
            f"{name}: {path} is there and was not written by this command; name another file, or "
            "move it away"
        )


def _files(options: Any, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Paths and the options that name them."""
    for name in names:
        value = getattr(options, name, None)
        value = () if value is None else value
        for path in (value,) if isinstance(value, str) else value:
            yield path, name


def _named(options: Any) -> Iterator[tuple[str, str]]:
    """Files behind a word (``to:CHECKPOINT``) and in front of a function (``FILE.py:FUNCTION``)."""
    for name in ("x", "y"):
        kind, _, path = getattr(options, name, "").partition(":")
        if kind in ("to", "file"):
            yield path, name
    for name in ("objective", "data"):
        path, _, _ = (getattr(options, name, None) or "").rpartition(":")
        if path:
            yield path, name


def _same(one: str, other: str) -> bool:
    if os.path.abspath(one) == os.path.abspath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:  # not both of them exist
        return os.path.realpath(one) == os.path.realpath(other)


# --- what is ours ---------------------------------------------------------------------------------


def _ends(path: Path) -> bytes:
    """The first and the last bytes of a file."""
    with path.open("rb") as file:
        start = file.read(_ENDS)
        file.seek(max(len(start), os.fstat(file.fileno()).st_size - _ENDS))
        return start + file.read(_ENDS)


def _is_outcome(path: Path) -> bool:
    """Whether it is the one line of JSON that ``--out`` of a brief command writes."""
    if path.stat().st_size > _LONGEST_OUTCOME:
        return False
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    ours = isinstance(found, dict) and "schema" not in found  # which is a run's configuration
    return ours and text == json.dumps(found) + "\n"


def _with(start: bytes, mark: bytes) -> Callable[[Path], bool]:
    def found(path: Path) -> bool:
        content = _ends(path)
        return content.startswith(start) and mark in content

    return found


def _is_page(path: Path) -> bool:
    content = _ends(path)
    earlier = b"<caption>Table 1. Trainability, sharpness and accuracy</caption>"
    return earlier in content or (
        b'name="generator" content="landscape"' in content.replace(b"'", b'"')
    )


def _never(_: Path) -> bool:
    return False


_OF_COMMANDS = {
    **dict.fromkeys(("evaluate", "inspect", "models", "formats", "doctor"), _is_outcome),
    "report": _is_page,
}
_OF_SUFFIXES = {
    ".png": _with(b"\x89PNG", b"Matplotlib"),
    ".pdf": _with(b"%PDF", b"Matplotlib"),
    ".svg": _with(b"<?xml", b"Matplotlib"),
    ".gif": _with(b"GIF8", b"made by landscape"),
    ".mp4": _with(b"", b"made by landscape"),
    ".html": _is_page,
    ".vts": _with(b"", b'Scalars="zvalue"'),
    ".vtp": _with(b"", b'Scalars="zvalue"'),
    ".obj": _with(b"# x and y in units of the directions, z = ", b""),
    ".csv": _with(b"x,", b",done,interpolated\n"),
}
