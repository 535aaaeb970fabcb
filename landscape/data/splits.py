"""Labelled images in memory, the content hash that identifies them, and hold-outs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from landscape.errors import RequestError


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
        """At most ``limit`` examples, evenly spaced (every class, also where classes lie apart)."""
        if len(self) <= limit:
            return self
        return self.take(np.linspace(0, len(self) - 1, limit).round().astype(np.int64))


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
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise RequestError(
            f"{what}: {name} images are {images.dtype} of shape {images.shape}; "
            "give uint8 of shape (N, H, W, C), 0 to 255"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise RequestError(
            f"{what}: {name} labels are {labels.dtype} of shape {labels.shape}; "
            "give integers of shape (N,)"
        )
    if len(images) != len(labels):
        raise RequestError(
            f"{what}: {len(images)} {name} images but {len(labels)} labels; give one label each"
        )
    if not images.size:
        raise RequestError(f"{what}: there are no {name} images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > np.iinfo(np.int32).max - 1:
        where = int(labels.argmin() if low < 0 else labels.argmax())
        raise RequestError(
            f"{what}: {name} label {low if low < 0 else high} of example {where} is out of range; "
            "labels count from 0"
        )
    return Split(np.ascontiguousarray(images), labels.astype(np.int32), name)


def assembled(
    train: Split,
    test: Split | None,
    reference: str,
    class_names: Sequence[str] | None = None,
) -> Data:
    """Data of checked splits; the number of classes is that of the names or of the labels.

    Raises
    ------
    RequestError
        If a label has no name, the test split has a class that training has not, or the images of
        the two splits differ in shape.
    """
    what = f"data {reference!r}"
    classes = len(class_names) if class_names is not None else int(train.labels.max()) + 1
    for split in filter(None, (train, test)):
        if split.image_shape != train.image_shape:
            raise RequestError(
                f"{what}: {split.name} images are {split.image_shape}, training images "
                f"{train.image_shape}; make them the same"
            )
        if split.labels.max() >= classes:
            origin = "class names" if class_names is not None else "training labels"
            raise RequestError(
                f"{what}: {split.name} label {split.labels.max()} of example "
                f"{split.labels.argmax()} is out of range, the {origin} give {classes} classes"
            )
    names = None if class_names is None else tuple(map(str, class_names))
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
    for label in range(data.classes):
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
