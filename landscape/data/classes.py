"""Labels by class name: the classes of data made those of a network, or refused."""

import dataclasses
import functools
import unicodedata
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal

import numpy as np

from landscape.data.splits import Data, Split
from landscape.errors import RequestError
from landscape.progress import note

IMAGENET = 1000  # classes of ILSVRC 2012, which networks of other origin do not name
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Labels:
    """How the labels of data became those of a network.

    Attributes
    ----------
    how
        ``as given``: the data have no class names, so their labels are the network's. ``by name``:
        through the class names of both. ``by number``: the data's class names are the network's
        labels, as in ImageNet-V2. ``by position``: the network's class names are not known and
        there are as many of both.
    of
        The network's label of each class of the data, ``{class name: label}``; None where the
        labels are as given.
    """

    how: Literal["as given", "by name", "by number", "by position"]
    of: dict[str, int] | None = dataclasses.field(default=None, repr=False)

    @property
    def recorded(self) -> dict[str, Literal["by number", "by position"]]:
        """What is recorded beside the data, where it is not what one expects."""
        return {"labels": self.how} if self.how in ("by number", "by position") else {}

    @property
    def mapping(self) -> dict[str, dict[str, int]]:
        """What is recorded of labels that are others than before."""
        return {} if self.unchanged else {"class_labels": self.of}

    @property
    def unchanged(self) -> bool:
        """Whether every label is what it was."""
        return self.of is None or list(self.of.values()) == list(range(len(self.of)))


def with_labels_of(data: Data, classes: int, class_names: Any, what: str) -> tuple[Data, Labels]:
    """Data whose labels are those of a network; labels by position are noted on standard error.

    Parameters
    ----------
    data
        The data, with labels of their own.
    classes
        Number of the network's classes.
    class_names
        The network's class names in the order of its labels, as its checkpoint has stored them.
        None: unknown; then those of ImageNet (WordNet's identifiers and names) count for 1,000
        classes.
    what
        How messages call the network.

    Returns
    -------
    tuple[Data, Labels]
        The data with ``classes`` classes, and what was done.

    Raises
    ------
    RequestError
        If a class of the data has no label or an ambiguous one, labels are out of range, the
        names are unknown and the numbers of classes differ, or what is stored are no names.
    """
    class_names = stored_names(class_names, classes, what)
    where = f"data {data.reference!r}"
    if data.class_names is None:
        if data.classes > classes:
            raise RequestError(
                f"{where}: labels go up to {data.classes - 1}, {what} has {classes} classes; "
                "labels count from 0: use those of its training"
            )
        given = dataclasses.replace(data, classes=classes, class_names=class_names)
        return given, Labels("as given")
    labels = _labels(data.class_names, classes, class_names, where, what)
    if labels.how == "by position":
        note(
            f"data: the class names of {what} are not known; those of {data.reference} count as "
            "its classes in their order"
        )
    if not labels.unchanged:
        table = np.array(list(labels.of.values()), np.int32)
        train, test = (split and _relabelled(split, table) for split in (data.train, data.test))
        data = dataclasses.replace(data, train=train, test=test)
    if class_names is None and labels.unchanged and classes == len(labels.of):
        class_names = data.class_names
    return dataclasses.replace(data, classes=classes, class_names=class_names), labels


def stored_names(names: Any, classes: int, what: str) -> tuple[str, ...] | None:
    """Class names as a checkpoint has stored them; None if it has not.

    Raises
    ------
    RequestError
        If they are not as many different names as the network has classes.
    """
    if names is None:
        return None
    right = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not right or not len(set(names)) == len(names) == classes:
        raise RequestError(
            f"checkpoint: {what} has class names that are not {classes} different ones, one for "
            "each class of its network; restore its config.json"
        )
    return tuple(unicodedata.normalize("NFC", name) for name in names)  # as folders are read


def _labels(
    found: Sequence[str], classes: int, known: Sequence[str] | None, where: str, what: str
) -> Labels:
    """What each class of the data is called by the network."""
    if known is not None:
        places = {name: label for label, name in enumerate(known)}
        of = {name: places.get(name) for name in found}
        if None not in of.values():
            return Labels("by name", of)
    numbers = _numbers(found, classes)
    if numbers is not None and (known is None or _numbers(known, len(known)) is None):
        return Labels("by number", numbers)
    if known is not None:
        raise RequestError(
            f"{where}: {_first_unknown(of)} is no class of {what}, which has {_some(known)}; "
            "rename the folders, or give an .npz with its labels"
        )
    if classes == IMAGENET:
        of = {name: imagenet_label(name) for name in found}
        if None not in of.values():
            return Labels("by name", _distinct(of, where))
        if any(label is not None for label in of.values()):
            raise RequestError(
                f"{where}: {_first_unknown(of)} is no class of ImageNet, or more than one; name "
                "the folders by WordNet's identifiers (n01440764), or give an .npz with labels"
            )
    if len(found) != classes:
        raise RequestError(
            f"{where}: it has {len(found)} classes ({_some(found)}), {what} has {classes} whose "
            "names are not known; name the folders by its labels (0, 1, ...), or give an .npz "
            "with labels"
        )
    return Labels("by position", {name: label for label, name in enumerate(found)})


def _numbers(names: Sequence[str], classes: int) -> dict[str, int] | None:
    """The names as labels, if all of them are."""
    if not all(name.isascii() and name.isdecimal() for name in names):
        return None
    of = {name: int(name) for name in names}
    distinct = len(set(of.values())) == len(of)
    return of if distinct and max(of.values()) < classes else None


def _distinct(of: dict[str, int], where: str) -> dict[str, int]:
    """Refuse two folders of one class: their images would be one class under two names."""
    seen: dict[int, str] = {}
    for name, label in of.items():
        if label in seen:
            raise RequestError(
                f"{where}: {seen[label]!r} and {name!r} are the same class of ImageNet; put their "
                "images into one folder"
            )
        seen[label] = name
    return of


@functools.cache
def imagenet_classes() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """WordNet's identifier and names of the 1,000 classes of ImageNet, in the order of labels.

    Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge (arXiv:1409.0575); labels
    are the positions of the sorted identifiers, as in torchvision and TensorFlow Datasets.
    """
    text = resources.files("landscape.data").joinpath("imagenet_classes.txt").read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return tuple((identifier, tuple(names.split(", "))) for identifier, names in lines)


def imagenet_label(name: str) -> int | None:
    """The label in ImageNet of a WordNet identifier or name; None if there is not exactly one.

    Names may be written with ``_`` and in any case: ``cardigan`` is ambiguous, the dog and the
    garment. That which comes first among a class's names counts before those which come later:
    ``partridge``.

    Examples
    --------
    >>> imagenet_label("n01440764"), imagenet_label("great_white_shark"), imagenet_label("crane")
    (0, 2, None)
    """
    for table in _imagenet_names():
        if labels := table.get(name.replace("_", " ").casefold()):
            return labels[0] if len(labels) == 1 else None
    return None


@functools.cache
def _imagenet_names() -> tuple[dict[str, list[int]], ...]:
    """Labels by name: of identifiers and first names, and of all names."""
    tables: tuple[dict[str, list[int]], ...] = ({}, {})
    for label, (identifier, names) in enumerate(imagenet_classes()):
        for table, own in zip(tables, ((identifier, names[0]), names), strict=True):
            for name in {name.casefold() for name in own}:
                table.setdefault(name, []).append(label)
    return tables


def _relabelled(split: Split, table: np.ndarray) -> Split:
    return Split(split.images, table[split.labels], split.name)


def _first_unknown(of: dict[str, int | None]) -> str:
    return repr(next(name for name, label in of.items() if label is None))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
