"""Splits: identity by content, hold-outs per class, checks of other people's arrays."""

import numpy as np
import pytest

from landscape.data.splits import Split, assembled, checked_split, with_holdout
from landscape.errors import RequestError


def made(labels, name="train"):
    labels = np.asarray(labels, np.int32)
    images = np.arange(len(labels) * 4, dtype=np.uint8).reshape(-1, 2, 2, 1)
    return Split(images, labels, name)


def test_hash_tells_content_and_order_apart():
    split = made([0, 1, 2])
    assert split.hash == made([0, 1, 2]).hash
    assert split.hash != made([0, 2, 1]).hash
    assert split.hash != split.take(np.array([1, 0, 2])).hash
    assert split.hash != Split(split.images.reshape(3, 4, 1, 1), split.labels, "train").hash


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_holdout_takes_its_part_of_every_class_and_nothing_twice(seed):
    labels = np.repeat([0, 1, 2], [10, 20, 5])
    data = with_holdout(assembled(made(labels), None, "made"), 0.2, seed)
    assert np.bincount(data.test.labels).tolist() == [2, 4, 1]
    assert np.bincount(data.train.labels).tolist() == [8, 16, 4]
    both = np.concatenate([data.train.images, data.test.images])
    assert len(np.unique(both[:, 0, 0, 0])) == len(labels)


def test_holdout_depends_on_the_seed_alone():
    data = assembled(made(np.arange(40) % 4), None, "made")
    hashes = [with_holdout(data, 0.25, seed).test.hash for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_class_keeps_a_training_example():
    data = with_holdout(assembled(made([0, 0, 0, 1]), None, "made"), 0.9, 0)
    assert sorted(set(data.train.labels)) == [0, 1]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 20])
def test_holdout_that_is_no_fraction_is_refused(fraction):
    with pytest.raises(RequestError, match=r"use 0\.2 for 20 %"):
        with_holdout(assembled(made([0, 1]), None, "made"), fraction, 0)


def test_holdout_of_no_example_is_refused():
    with pytest.raises(RequestError, match="is no example"):
        with_holdout(assembled(made([0, 1, 2]), None, "made"), 0.2, 0)


def test_thinned_keeps_every_class_of_sorted_labels():
    split = made(np.repeat(np.arange(5), 8)).thinned(10)
    assert np.bincount(split.labels).tolist() == [2] * 5
    assert len(made([0, 1]).thinned(10)) == 2


IMAGES = np.zeros((3, 2, 2, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, [0, 1, 2], "train images are float64 of shape"),
        (IMAGES[0], [0, 1, 2], r"give uint8 of shape \(N, H, W, C\)"),
        (IMAGES, [0.0, 1.0, 2.0], "train labels are float64"),
        (IMAGES, [[0], [1], [2]], r"give integers of shape \(N,\)"),
        (IMAGES, [0, 1], "3 train images but 2 labels"),
        (IMAGES, [0, -1, 1], "label -1 of example 1 is out of range"),
        (IMAGES, [0, 1, 2**40], "of example 2 is out of range"),
        (IMAGES[:0], np.zeros(0, int), "there are no train images"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(images, labels, message):
    with pytest.raises(RequestError, match=message):
        checked_split(images, labels, "train", "data 'made'")


def test_test_label_that_training_has_not_is_refused():
    with pytest.raises(RequestError, match="test label 2 of example 1 is out of range"):
        assembled(made([0, 1]), made([0, 2], "test"), "made")


def test_label_without_name_is_refused():
    with pytest.raises(RequestError, match="class names give 2 classes"):
        assembled(made([0, 1, 2]), None, "made", ["cat", "dog"])


def test_splits_of_different_image_size_are_refused():
    other = Split(np.zeros((1, 3, 2, 1), np.uint8), np.zeros(1, np.int32), "test")
    with pytest.raises(RequestError, match=r"test images are \(3, 2, 1\)"):
        assembled(made([0]), other, "made")
