"""Splits and classes by the names of folders; what is refused, and what to use instead."""

import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from landscape.data import load
from landscape.data.class_folders import listed
from landscape.errors import RequestError
from landscape.printable import printable


def images(root, *paths):
    """Files that pass for images as long as nobody opens them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def refused(root):
    """The one line."""
    with pytest.raises(RequestError) as raised:
        listed(root, str(root))
    message = str(raised.value)
    assert message.isprintable()
    return message.replace(f"{root}/", "")


def names(root):
    return listed(root, str(root))[0]


def labels(root):
    return [split.labels for split in listed(root, str(root))[1]]


# ---- One level too high -------------------------------------------------------------------------


def test_a_folder_one_level_too_high_is_refused_with_the_path_that_was_meant(tmp_path):
    for split in ("train", "test"):
        images(tmp_path, *(f"cifar10/{split}/{name}/0.jpg" for name in ("cat", "dog")))
    assert "cifar10 holds folders but no images; use cifar10" in refused(tmp_path)
    assert names(tmp_path / "cifar10") == ["cat", "dog"]
    images(tmp_path, "cifar100/train/cat/0.jpg")
    assert refused(tmp_path).endswith("use one of the folders inside, such as cifar10")


def test_severities_are_no_classes(tmp_path):
    for severity in "12345":
        images(tmp_path, *(f"blur/{severity}/n0{i}/0.JPEG" for i in range(3)))
    assert "use one of the folders inside, such as 1" in refused(tmp_path / "blur")
    assert "use one of the folders inside, such as blur/1" in refused(tmp_path)
    assert names(tmp_path / "blur" / "3") == ["n00", "n01", "n02"]


def test_equal_folders_inside_every_class_are_refused_beside_loose_images(tmp_path):
    for root in ("cifar10", "other"):
        images(tmp_path, f"{root}/train/cat/0.png", f"{root}/test/cat/0.png", f"{root}/logo.png")
    message = refused(tmp_path)
    assert "every class folder in" in message
    assert "holds a folder test, so they are no classes; use one of" in message
    shutil.rmtree(tmp_path / "other")
    assert refused(tmp_path).endswith("so they are no classes; use cifar10")


def test_images_one_level_too_deep_are_refused_with_the_remedy(tmp_path):
    """Tiny ImageNet's training split."""
    for name in ("n01443537", "n01629819"):
        images(tmp_path, f"train/{name}/images/{name}_0.JPEG", f"train/{name}/{name}_boxes.txt")
    assert refused(tmp_path).endswith("move the images of every CLASS/images up into CLASS")


def test_folders_inside_some_classes_are_part_of_them(tmp_path):
    images(tmp_path, "cat/1.png", "cat/more/0.png", "dog/1.png", "dog/notes/x.txt")
    (tmp_path / "cat" / "notes").mkdir()
    _, (split,) = listed(tmp_path, "x")
    assert [path.name for path in split.paths] == ["1.png", "0.png", "1.png"]
    assert split.labels == [0, 0, 1]


@pytest.mark.skipif(not os.path.isdir("/tmp/cifar/cifar10"), reason="CIFAR-10 is not unpacked")
def test_the_folder_above_cifar10_is_refused():
    with pytest.raises(RequestError, match=r"use /tmp/cifar/cifar10$"):
        load("/tmp/cifar")


# ---- Order and names ----------------------------------------------------------------------------


def test_numbers_are_sorted_by_value_whatever_their_length(tmp_path):
    images(tmp_path, *(f"{i}/0.png" for i in (0, 1, 2, 10, 11, 100)))
    assert names(tmp_path) == ["0", "1", "2", "10", "11", "100"]


def test_a_stray_folder_among_numbers_is_refused_by_name(tmp_path):
    images(tmp_path, *(f"{i}/0.png" for i in range(12)), "unused/0.png")
    assert "folder unused lies among class folders called by numbers" in refused(tmp_path)
    shutil.rmtree(tmp_path / "unused")
    for name in (".cache", "__MACOSX", "@eaDir"):
        images(tmp_path, f"{name}/0.png")
    assert names(tmp_path) == [str(i) for i in range(12)]


@pytest.mark.parametrize(
    "called",
    [
        ["0", "1", "2", "a", "b"],  # digits and letters
        ["30", "31", "32", "4a"],  # codes of NIST's characters
        ["911", "928", "a4", "beetle", "golf"],  # cars
        [*"0123456789", "other"],
    ],
)
def test_numbers_among_other_names_are_sorted_as_text(tmp_path, called):
    images(tmp_path, *(f"{name}/0.png" for name in called))
    assert names(tmp_path) == called


def test_numbers_whose_order_other_names_would_change_are_refused(tmp_path):
    images(tmp_path, *(f"{name}/0.png" for name in ("0", "1", "2", "10", "a", "b", "c", "d", "e")))
    assert "folder a lies among class folders called by numbers" in refused(tmp_path)


def test_two_names_of_one_number_are_refused(tmp_path):
    images(tmp_path, "01/0.png", "1/0.png", "2/0.png")
    assert "class folders 01 and 1 in" in refused(tmp_path).replace("1 and 01", "01 and 1")


def test_one_name_in_two_encodings_is_refused(tmp_path):
    images(tmp_path, "e\u0301/0.png", "\xe9/0.png")
    assert "are one; merge them, or remove one" in refused(tmp_path)


def test_a_class_is_found_in_the_other_encoding_too(tmp_path):
    """Copied from a Mac, and not."""
    images(tmp_path, "train/a/0.png", "train/\xe9/0.png", "val/e\u0301/0.png")
    assert names(tmp_path) == ["a", "\xe9"]
    assert labels(tmp_path) == [[0, 1], [1]]


def test_names_that_differ_in_case_are_two_classes(tmp_path):
    images(tmp_path, "A/0.png", "a/0.png")
    if len(os.listdir(tmp_path)) == 2:  # not on a Mac
        assert names(tmp_path) == ["A", "a"]


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", b"a\x1b[2J", "a\u202e".encode()])
def test_class_names_that_cannot_be_printed_are_refused_by_name(tmp_path, name):
    images(tmp_path, "b/0.png", f"{os.fsdecode(name)}/0.png")
    message = refused(tmp_path)
    assert "cannot be printed; rename it" in message
    assert f"{printable(os.fsdecode(name))} cannot" in message


# ---- Splits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Val"),
        ("training", "testing"),
        ("TRAIN", "Test"),
        ("train", "valid"),
        ("Training", "Validation"),
    ],
)
def test_splits_have_the_names_that_published_sets_use(tmp_path, train, test):
    images(tmp_path, f"{train}/a/0.png", f"{train}/b/0.png", f"{test}/b/0.png", "notes/x.txt")
    assert names(tmp_path) == ["a", "b"]
    assert labels(tmp_path) == [[0, 1], [1]]


def test_of_two_held_out_splits_test_is_taken(tmp_path):
    images(tmp_path, "train/a/0.png", "val/a/0.png", "test/a/1.png")
    _, (_, test) = listed(tmp_path, "x")
    assert [path.name for path in test.paths] == ["1.png"]


def test_a_test_split_without_class_folders_gives_way_to_another(tmp_path):
    images(tmp_path, "train/a/0.png", "test/0.png")
    assert "no images in class folders of test" in refused(tmp_path)
    images(tmp_path, "val/a/0.png")
    assert labels(tmp_path) == [[0], [0]]


@pytest.mark.parametrize(("one", "other"), [("Training", "train"), ("val", "validation")])
def test_two_spellings_of_one_split_are_refused(tmp_path, one, other):
    images(tmp_path, "train/a/0.png", f"{one}/a/0.png", f"{other}/a/0.png")
    assert f"{one} and {other} are one split; merge them" in refused(tmp_path)


def test_splits_are_never_classes(tmp_path):
    images(tmp_path, "Train/0.png", "Val/0.png")
    assert "Train and Val are splits, not classes" in refused(tmp_path)
    images(tmp_path, "car/0.png")  # but a train may be among vehicles
    assert names(tmp_path) == ["Train", "Val", "car"]


# ---- What cannot be used ------------------------------------------------------------------------


def test_class_folders_without_images_are_refused_by_name(tmp_path):
    images(tmp_path, "a/0.png", "c/0.png")
    (tmp_path / "b").mkdir()
    assert "class folder b is empty" in refused(tmp_path)
    images(tmp_path, "b/0.heic", "b/1.heic", "b/._0.png")
    assert "b holds no images, but 2 files such as 0.heic; images end with .png" in refused(
        tmp_path
    )
    images(tmp_path, "b/0.PNG")
    assert names(tmp_path) == ["a", "b", "c"]
    (tmp_path / "b" / "0.PNG").unlink()
    images(tmp_path, "b/inner/x.txt")
    message = refused(tmp_path)
    assert "b holds folders but no images; put images into class folders, or remove it" in message


def test_a_class_folder_of_the_test_split_is_not_empty_either(tmp_path):
    images(tmp_path, "train/a/0.png", "train/b/0.png", "test/a/0.png")
    assert labels(tmp_path) == [[0, 1], [0]]
    (tmp_path / "test" / "b").mkdir()
    assert "class folder test/b is empty" in refused(tmp_path)


@pytest.mark.parametrize("where", ["", "a", "b/more"])
def test_folders_that_cannot_be_read_are_refused_by_name(tmp_path, monkeypatch, where):
    images(tmp_path, "a/0.png", "b/0.png", "b/more/0.png")
    scandir = os.scandir

    def denied(path):
        if os.fspath(path) == str(tmp_path / where):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    message = f"folder {tmp_path / where} cannot be read (Permission denied); make it readable"
    with pytest.raises(RequestError) as raised:
        load(str(tmp_path))
    assert message in str(raised.value)


@pytest.mark.parametrize("kind", ["pipe", "loop", "nowhere"])
def test_pipes_and_links_to_nothing_are_refused_without_being_opened(tmp_path, kind):
    images(tmp_path, "a/0.png")
    path = tmp_path / "a" / "1.png"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else "nothing")
    start = time.monotonic()
    assert "a/1.png is a pipe, a device or a link to nothing; remove it" in refused(tmp_path)
    assert time.monotonic() - start < 1


def test_pipes_that_do_not_pass_for_images_are_left_out(tmp_path):
    images(tmp_path, "a/0.png")
    os.mkfifo(tmp_path / "a" / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    assert labels(tmp_path) == [[0]]


def test_links_that_lead_back_are_refused(tmp_path):
    images(tmp_path, "data/a/0.png")
    for target in (".", "..", str(tmp_path)):
        (tmp_path / "data" / "loop").symlink_to(target)
        assert "data/loop leads back to where it lies" in refused(tmp_path / "data") or (
            "class folder loop leads back" in refused(tmp_path / "data")
        )
        (tmp_path / "data" / "loop").unlink()
    (tmp_path / "data" / "a" / "loop").symlink_to("..")
    assert "loop is a link to a folder inside a class folder" in refused(tmp_path / "data")


def test_class_folders_may_be_links_but_not_two_to_one(tmp_path):
    images(tmp_path, "all/cat/0.png", "all/dog/0.png", "some/cow/0.png")
    (tmp_path / "some" / "cat").symlink_to("../all/cat")
    assert names(tmp_path / "some") == ["cat", "cow"]
    (tmp_path / "some" / "tomcat").symlink_to("cat")
    assert "are one; merge them, or remove one" in refused(tmp_path / "some")


def test_deep_folders_are_no_burden(tmp_path):
    images(tmp_path, "a/0.png")
    below = [f"{tmp_path}/a{'/d' * depth}" for depth in range(1, 1500)]
    for path in below:
        os.mkdir(path)
    try:
        assert labels(tmp_path) == [[0]]
    finally:
        for path in reversed(below):  # which shutil.rmtree cannot
            os.rmdir(path)


def test_images_without_class_folders_are_told(tmp_path):
    images(tmp_path, "0.png")
    assert "images but no class folders in" in refused(tmp_path)


def test_links_to_images_are_read(tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    Image.fromarray(np.full((2, 2), 7, np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "data" / "a" / "1.png").symlink_to("../../0.png")
    assert (load(str(tmp_path / "data")).train.images == 7).all()
