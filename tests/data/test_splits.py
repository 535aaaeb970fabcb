"""Splits: identity by content, hold-outs per class, checks of other people's arrays."""

import time

import numpy as np
import pytest

from landscape.data.splits import MOST_CLASSES, Split, assembled, checked_split, with_holdout
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


@pytest.mark.parametrize("classes", [2, 3, 7, 10])
def test_thinned_keeps_every_class_of_labels_that_cycle_with_the_stride(classes):
    split = made(np.arange(classes * 12) % classes)
    for limit in (classes, 2 * classes, 6 * classes):
        counts = np.bincount(split.thinned(limit).labels, minlength=classes)
        assert counts.tolist() == [limit // classes] * classes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thinned_keeps_shares_to_within_one_example_and_the_order(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, 200, p=[0.6, 0.25, 0.1, 0.05]).astype(np.int32)
    split = Split(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), labels, "train")
    for limit in (1, 2, 10, 37, 150, 199):
        thinned = split.thinned(limit)
        assert len(thinned) == limit
        assert (np.diff(thinned.images.ravel().astype(int)) > 0).all()
        if limit > 2:
            shares = np.bincount(labels) * limit / 200
            assert abs(np.bincount(thinned.labels, minlength=4) - shares).max() < 1
        assert thinned.hash == split.thinned(limit).hash


def test_thinned_takes_from_all_over_each_class_and_all_over_the_classes():
    labels = np.repeat([1, 0], 50)
    split = Split(np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), labels, "train")
    assert split.thinned(10).images.ravel().tolist() == list(range(5, 100, 10))
    assert made(np.repeat(np.arange(100), 3)).thinned(10).labels.tolist() == list(range(5, 100, 10))


def test_thinned_keeps_two_classes_where_there_are_two():
    labels = np.zeros(60, np.int32)
    labels[40] = 1
    assert sorted(made(labels).thinned(2).labels) == [0, 1]
    assert made(labels).thinned(1).labels.tolist() == [0]
    assert len(made(labels).thinned(0)) == 0
    assert made(np.zeros(60)).thinned(2).labels.tolist() == [0, 0]


def test_large_labels_do_not_make_holdouts_slow():
    labels = np.repeat([0, MOST_CLASSES - 1], 10)
    data = assembled(made(labels), None, "made")
    assert data.classes == MOST_CLASSES
    start = time.perf_counter()
    assert len(with_holdout(data, 0.2, 0).test) == 4
    assert time.perf_counter() - start < 1


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
        (IMAGES, [0, 1, MOST_CLASSES], "of example 2 is out of range"),
        (IMAGES, [True, False, True], "train labels are bool"),
        (IMAGES, np.zeros(3, "m8[D]"), "train labels are timedelta64"),
        (IMAGES, [[0], [1, 2]], "no array can be made"),
        (IMAGES, None, "train labels are object of shape"),
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


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog", "cat"], "labels 0 and 2 have one class name, 'cat'"),
        (["e\u0301", "dog", "\xe9"], "labels 0 and 2 have one class name"),
        (["cat", "", "dog"], "class name '' of label 1 is empty"),
        (["cat", "dog\n", "cow"], r"class name 'dog\\n' of label 1 .* not printable"),
        (np.array([b"cat", b"\xff", b"cow"]), r"class name '\\udcff' of label 1"),
        ([0.0, 1.0, 2.0], "class_names are float64 of shape"),
        ([["cat"], ["dog"], ["cow"]], r"class_names are <U3 of shape \(3, 1\)"),
        ("cat", r"class_names are <U3 of shape \(\)"),
        (["cat", None, "dog"], "class_names are object"),
        ([["cat"], ["dog", "cow"]], "no array can be made"),
    ],
)
def test_class_names_that_tell_no_classes_apart_are_refused(names, message):
    with pytest.raises(RequestError, match=message):
        assembled(made([0, 1, 2]), None, "made", names)


@pytest.mark.parametrize(
    "names", [["a", "B\xe9"], np.array([b"a", "B\xe9".encode()]), ("a", "Be\u0301")]
)
def test_class_names_are_text_of_one_form(names):
    assert assembled(made([0, 1]), None, "made", names).class_names == ("a", "B\xe9")


def test_class_names_may_be_numbers():
    assert assembled(made([0, 1]), None, "made", np.arange(2)).class_names == ("0", "1")


@pytest.mark.parametrize("classes", ["2", 2.0, 0, -1, 2**40])
def test_number_of_classes_that_is_none_is_refused(classes):
    with pytest.raises(RequestError, match="give the number of classes"):
        assembled(made([0, 1]), None, "made", classes=classes)


def test_number_of_classes_holds_all_labels_and_names():
    assert assembled(made([0, 1]), None, "made", classes=5).classes == 5
    with pytest.raises(RequestError, match=r"train label 1 of example 1 .* data give 1 classes"):
        assembled(made([0, 1]), None, "made", classes=1)
    with pytest.raises(RequestError, match="2 class names for 5 classes"):
        assembled(made([0, 1]), None, "made", ["a", "b"], classes=5)


def test_splits_of_different_image_size_are_refused():
    other = Split(np.zeros((1, 3, 2, 1), np.uint8), np.zeros(1, np.int32), "test")
    with pytest.raises(RequestError, match=r"test images are \(3, 2, 1\)"):
        assembled(made([0]), other, "made")
