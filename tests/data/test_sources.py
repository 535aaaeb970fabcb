"""Each kind of reference, and what is said when it is not what it should be."""

import numpy as np
import pytest

from landscape.data import Data, load, size_for
from landscape.errors import RequestError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 4, 4, 3), np.uint8)
LABELS = np.arange(12) % 3


def test_digits_are_scaled_and_held_out_per_class():
    data = load("digits")
    assert data.classes == 10
    assert data.image_shape == (8, 8, 1)
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert (data.train.images.min(), data.train.images.max()) == (0, 255)
    assert set(np.bincount(data.test.labels)) <= {35, 36, 37}
    assert len(load("digits", holdout=0.5).test) == pytest.approx(1797 / 2, abs=5)


def test_digits_are_the_same_in_every_process():
    assert load("digits").test.hash == "c68f01909243447d"


def test_npz_gives_its_own_test_split(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(
        path,
        images=IMAGES,
        labels=LABELS.astype(np.uint8),
        test_images=IMAGES[:5],
        test_labels=LABELS[:5],
        class_names=["a", "b", "c", "d"],
    )
    data = load(str(path))
    np.testing.assert_array_equal(data.train.images, IMAGES)
    assert data.train.labels.dtype == np.int32
    assert len(data.test) == 5
    assert data.classes == 4
    assert data.class_names == ("a", "b", "c", "d")
    assert load(str(path), holdout=0.25).test.name == "holdout"


def test_npz_without_test_split_has_none_unless_held_out(tmp_path):
    np.savez(tmp_path / "d.npz", images=IMAGES, labels=LABELS)
    assert load(str(tmp_path / "d.npz")).test is None
    assert len(load(str(tmp_path / "d.npz"), holdout=0.25).test) == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "y": LABELS}, "no array 'images' among x, y"),
        ({"images": IMAGES}, "no array 'labels'"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES},
            "no array 'test_labels'",
        ),
        (
            {"images": IMAGES, "labels": LABELS, "test_labels": LABELS},
            "no array 'test_images' beside test_labels",
        ),
        (
            {"images": IMAGES, "labels": LABELS, "class_names": ["a", "b", "a"]},
            "labels 0 and 2 have one class name",
        ),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "12 train images but 11 labels"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, "not a complete"),
    ],
)
def test_npz_with_other_content_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(RequestError, match=message):
        load(str(tmp_path / "d.npz"))


@pytest.mark.parametrize("left", [0, 10, 0.5, 0.99])
def test_truncated_npz_is_refused(tmp_path, left):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[: left if left > 1 else int(left * len(whole))])
    with pytest.raises(RequestError, match="not a complete"):
        load(str(path))


def test_single_array_under_the_wrong_name_is_refused(tmp_path):
    np.save(tmp_path / "d.npy", IMAGES)
    (tmp_path / "d.npy").rename(tmp_path / "d.npz")
    with pytest.raises(RequestError, match="not a complete"):
        load(str(tmp_path / "d.npz"))


def test_function_of_a_file_or_module_is_called(tmp_path, monkeypatch):
    (tmp_path / "own_source.py").write_text(
        "import numpy as np\n"
        "from landscape.data import load\n"
        "def pair():\n    return np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1])\n"
        "def data():\n    return load('digits')\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load("own_source.py:pair").classes == 2
    assert len(load("own_source:pair", holdout=0.5).test) == 2
    made = load("own_source:data")
    assert isinstance(made, Data)
    assert made.reference == "own_source:data"
    with pytest.raises(RequestError, match="returned int"):
        load("own_source:wrong")
    with pytest.raises(RequestError, match="has no function 'other'"):
        load("own_source:other")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digit", "neither an existing folder nor 'digits'"),
        ("nowhere/at/all", "neither an existing folder"),
        ("nowhere.npz", "no such file"),
        ("no_such_module_here:load", "there is no module 'no_such_module_here'"),
        ("nowhere.py:load", "no such file nowhere.py"),
    ],
)
def test_reference_that_leads_nowhere_is_refused(reference, message):
    with pytest.raises(RequestError, match=message):
        load(reference)


def test_image_size_is_for_folders_only():
    with pytest.raises(RequestError, match="only folders of images are resized"):
        load("digits", image_size=16)


WRONG = {
    "Data(Split(images, labels, 't'), None, 1, 'x')": "t label 2 .* the data give 1 classes",
    "Data(Split(images, labels, 't'), None, 3, 'x', ('a', 'b', 'a'))": "have one class name",
    "Data(Split(images, labels, 't'), None, 3, 'x', ('a', 'b'))": "2 class names for 3 classes",
    "Data(Split(images, labels, 't'), None, '3', 'x')": "classes is '3'",
    "Data(Split(images / 255, labels, 't'), None, 3, 'x')": "t images are float64",
    "Data((images, labels), None, 3, 'x')": "train is tuple; give a Split",
    "Data(Split(images, labels, 't'), 5, 3, 'x')": "test is int; give a Split",
    "Data(None, None, 3, 'x')": "train is NoneType; give a Split",
    "(images, [[0], [1, 2]])": "no array can be made of them",
}


@pytest.mark.parametrize("made", WRONG)
def test_what_a_function_returns_is_checked_as_files_are(tmp_path, made):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from landscape.data import Data, Split\n"
        "images, labels = np.zeros((3, 2, 2, 1), np.uint8), np.arange(3)\n"
        f"def made():\n    return {made}\n"
    )
    with pytest.raises(RequestError, match=WRONG[made]):
        load(f"{tmp_path / 'own.py'}:made")


def test_data_of_a_function_keep_their_classes(tmp_path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from landscape.data import Data, Split\n"
        "split = Split(np.zeros((3, 2, 2, 1), np.uint8), np.arange(3), 'mine')\n"
        "def made():\n    return Data(split, split, 5, 'x')\n"
    )
    data = load(f"{tmp_path / 'own.py'}:made")
    assert (data.classes, data.train.name, data.train.labels.dtype) == (5, "mine", np.int32)


@pytest.mark.parametrize("reference", ["x" * 5000, "a\0b", "\udcff", "x" * 5000 + ".npz", "\n"])
def test_references_that_no_file_can_have_are_refused_in_one_line(reference):
    with pytest.raises(RequestError) as raised:
        load(reference)
    assert "\n" not in str(raised.value)
    assert size_for(reference, (2, 2, 3)) is None
