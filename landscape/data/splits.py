"""Labelled images in memory, the content hash that identifies them, and hold-outs."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from landscape.errors import RequestError
from landscape.printable import printable

MOST_CLASSES = 2**24  # a larger label is none: networks and tables grow with it


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes
    ----------
    images
        uint8, shape (N, H, W, C).
    labels
        int32, shape (N,), values 0 to classes - 1.
    name
        What the split is called: ``train``, ``test``, ``holdout``.
    """

    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return tuple(self.images.shape[1:])

    @cached_property
    def hash(self) -> str:
        """Hex digest (16 characters) of the images and labels in their order."""
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=8)
        digest.update(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()

    def take(self, indices: np.ndarray, name: str | None = None) -> "Split":
        """The examples at ``indices``, in that order."""
        return Split(self.images[indices], self.labels[indices], name or self.name)

    def thinned(self, limit: int) -> "Split":
        """At most ``limit`` examples in their order, the same ones every time.

        Evenly spaced over the examples sorted by class: every class keeps its share to within one
        example, from all over its members. Of several classes two are kept at least.
        """
        if len(self) <= limit:
            return self
        by_class = np.argsort(self.labels, kind="stable")
        kept = by_class[(2 * np.arange(limit) + 1) * len(self) // (2 * limit)]
        if limit > 1 and (self.labels[kept] == self.labels[kept[0]]).all():
            others = np.flatnonzero(self.labels != self.labels[kept[0]])
            if len(others):
                kept[-1] = others[len(others) // 2]
        return self.take(np.sort(kept))


@dataclass(frozen=True)
class Data:
    """A training split, a test split where there is one, and what the labels mean.

    Attributes
    ----------
    train, test
        The splits; ``test`` may be None.
    classes
        Number of classes.
    reference
        Where the data came from, as it was asked for.
    class_names
        One name per class, in label order, or None.
    """

    train: Split
    test: Split | None
    classes: int
    reference: str
    class_names: tuple[str, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.train.image_shape


def checked_split(images, labels, name: str, what: str) -> Split:
    """A split of arrays that somebody else made.

    Parameters
    ----------
    images, labels
        Arrays or array-likes; labels of any integer dtype.
    name
        Name of the split.
    what
        How messages call the data, e.g. ``data 'FILE.npz'``.

    Raises
    ------
    RequestError
        If images are not uint8 of four dimensions, labels are not non-negative integers of one
        dimension, their lengths differ, or there are none.
    """
    images, labels = (_as_array(each, name, what) for each in (images, labels))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise RequestError(
            f"{what}: {name} images are {str(images.dtype)[:60]} of shape {images.shape}; "
            "give uint8 of shape (N, H, W, C), 0 to 255"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise RequestError(
            f"{what}: {name} labels are {str(labels.dtype)[:60]} of shape {labels.shape}; "
            "give integers of shape (N,)"
        )
    if len(images) != len(labels):
        raise RequestError(
            f"{what}: {len(images)} {name} images but {len(labels)} labels; give one label each"
        )
    if not images.size:
        raise RequestError(f"{what}: there are no {name} images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MOST_CLASSES:
        where = int(labels.argmin() if low < 0 else labels.argmax())
        raise RequestError(
            f"{what}: {name} label {low if low < 0 else high} of example {where} is out of range; "
            f"labels count from 0, and end below {MOST_CLASSES:,}"
        )
    return Split(np.ascontiguousarray(images), labels.astype(np.int32), name)


def _as_array(values: Any, name: str, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # of lists of unequal length, or whatever `__array__` raises
        raise RequestError(f"{what}: {name}: no array can be made of them; give one") from error


def checked_names(names: Sequence[str] | np.ndarray, what: str) -> tuple[str, ...]:
    """Class names that tell classes apart, in Unicode's composed form (NFC).

    Parameters
    ----------
    names
        Text (UTF-8 where it is bytes) or whole numbers, one per class in label order.
    what
        How messages call the data.

    Raises
    ------
    RequestError
        If they are something else, one is empty or not printable, or two are the same.
    """
    given = _as_array(names, "class_names", what)
    if given.ndim != 1 or given.dtype.kind not in "USiu":
        raise RequestError(
            f"{what}: class_names are {str(given.dtype)[:60]} of shape {given.shape}; "
            "give one text per class"
        )
    if given.dtype.kind == "S":
        given = [name.decode("utf-8", "surrogateescape") for name in given.tolist()]
    labels: dict[str, int] = {}
    for label, name in enumerate(map(str, given)):
        name = unicodedata.normalize("NFC", name)
        if not name or printable(name) != name:
            raise RequestError(
                f"{what}: class name {name[:60]!r} of label {label} is empty or not printable; "
                "rename it"
            )
        if name in labels:
            raise RequestError(
                f"{what}: labels {labels[name]} and {label} have one class name, {name[:60]!r}; "
                "merge them, or give each its own"
            )
        labels[name] = label
    return tuple(labels)


def assembled(
    train: Split,
    test: Split | None,
    reference: str,
    class_names: Sequence[str] | np.ndarray | None = None,
    classes: int | None = None,
) -> Data:
    """Data of checked splits.

    The number of classes is ``classes``, or that of the names, or of the training labels.

    Raises
    ------
    RequestError
        If a label has no name, names do not tell classes apart or are not one per class, the test
        split has a class that training has not, or the images of the two splits differ in shape.
    """
    what = f"data {reference!r}"
    names = None if class_names is None else checked_names(class_names, what)
    if classes is None:
        classes = int(train.labels.max()) + 1 if names is None else len(names)
        origin = "training labels" if names is None else "class names"
    elif isinstance(classes, int | np.integer) and 0 < classes <= MOST_CLASSES:
        classes, origin = int(classes), "data"
    else:
        raise RequestError(f"{what}: classes is {classes!r:.60}; give the number of classes")
    if names is not None and len(names) != classes:
        raise RequestError(
            f"{what}: {len(names)} class names for {classes} classes; give one name each"
        )
    for split in filter(None, (train, test)):
        if split.image_shape != train.image_shape:
            raise RequestError(
                f"{what}: {split.name} images are {split.image_shape}, training images "
                f"{train.image_shape}; make them the same"
            )
        if split.labels.max() >= classes:
            raise RequestError(
                f"{what}: {split.name} label {split.labels.max()} of example "
                f"{split.labels.argmax()} is out of range, the {origin} give {classes} classes"
            )
    return Data(train, test, classes, reference, names)


def with_holdout(data: Data, fraction: float, seed: int) -> Data:
    """Data whose test split is a random part of every class of the training split.

    Parameters
    ----------
    data
        The data; its own test split, if any, is left aside.
    fraction
        Part of every class to hold out, rounded to whole examples; every class keeps at least
        one training example.
    seed
        Seed of the choice, which depends on nothing else.

    Raises
    ------
    RequestError
        If ``fraction`` does not lie strictly between 0 and 1 or holds out nothing.
    """
    if not 0 < fraction < 1:
        raise RequestError(f"holdout: {fraction} is not between 0 and 1; use 0.2 for 20 %")
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(data.train), bool)
    for label in np.unique(data.train.labels):
        members = rng.permutation(np.flatnonzero(data.train.labels == label))
        held_out[members[: min(round(fraction * len(members)), max(len(members) - 1, 0))]] = True
    if not held_out.any():
        raise RequestError(
            f"holdout: {fraction} of {len(data.train)} examples in {data.classes} classes is no "
            "example; use a larger fraction"
        )
    train = data.train.take(np.flatnonzero(~held_out))
    test = data.train.take(np.flatnonzero(held_out), "holdout")
    return Data(train, test, data.classes, data.reference, data.class_names)
