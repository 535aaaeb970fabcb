from pathlib import Path

import numpy as np
import pytest

from landscape.data.classes import imagenet_classes, imagenet_label, stored_names, with_labels_of
from landscape.data.splits import Data, Split
from landscape.errors import RequestError


def data_of(names, labels=None):
    """One image of every class, in training and test."""
    count = len(names) if names is not None else max(labels) + 1
    labels = np.arange(count, dtype=np.int32) if labels is None else np.array(labels, np.int32)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    names = None if names is None else tuple(names)
    return Data(Split(images, labels, "train"), Split(images, labels, "test"), count, "x", names)


def labels_of(names, classes, known):
    found, how = with_labels_of(data_of(names), classes, known, "net")
    np.testing.assert_array_equal(found.train.labels, found.test.labels)
    return found.train.labels.tolist(), how.how


def test_the_table_has_imagenets_thousand_classes_in_sorted_order():
    identifiers = [identifier for identifier, _ in imagenet_classes()]
    assert len(set(identifiers)) == 1000
    assert identifiers == sorted(identifiers)
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 282: "tiger cat", 999:
             "toilet tissue"}  # fmt: skip
    assert {label: imagenet_classes()[label][1][0] for label in known} == known


def test_imagenet_r_has_the_labels_of_its_published_list():
    lines = Path(__file__).with_name("imagenet_r.txt").read_text().splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    assert len(pairs) == 200
    labels, how = labels_of([identifier for _, identifier in pairs], 1000, None)
    assert labels == [int(label) for label, _ in pairs]
    assert labels[:9] == [1, 2, 4, 6, 8, 9, 11, 13, 22]
    assert how == "by name"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("n02123045", 281),
        ("great_white_shark", 2),
        ("GOLDFISH", 1),
        ("partridge", 86),  # also a later name of the ruffed grouse
        ("Cardigan", None),  # the dog
        ("cardigan", None),
        ("Pembroke", 263),
        ("crane", None),  # bird and machine
        ("maillot", None),
        ("panda", None),  # a later name of both
        ("cat", None),
        ("n99999999", None),
        ("", None),
    ],
)
def test_a_name_stands_for_one_class_or_for_none(name, label):
    assert imagenet_label(name) == label


def test_classes_are_found_by_the_names_of_the_run():
    assert labels_of(["cat", "dog"], 3, ["bird", "cat", "dog"]) == ([1, 2], "by name")
    assert labels_of(["dog", "cat"], 2, ["cat", "dog"]) == ([1, 0], "by name")
    assert labels_of(["2", "10"], 3, ["1", "2", "10"]) == ([1, 2], "by name")


def test_names_that_are_labels_count_as_labels():
    assert labels_of(["0", "5", "7"], 10, None) == ([0, 5, 7], "by number")
    assert labels_of(["3", "999"], 1000, None) == ([3, 999], "by number")  # ImageNet-V2
    assert labels_of(["0", "1"], 2, ["cat", "dog"]) == ([0, 1], "by number")


def test_unknown_names_count_by_position_where_there_are_as_many():
    assert labels_of(["airplane", "bird"], 2, None) == ([0, 1], "by position")
    many = [f"class {i:04}" for i in range(1000)]
    assert labels_of(many, 1000, None) == (list(range(1000)), "by position")
    assert labels_of(["1", "2"], 2, None) == ([0, 1], "by position")


@pytest.mark.parametrize(
    ("names", "classes", "known", "said"),
    [
        (["cat", "cow"], 3, ["bird", "cat", "dog"], "'cow' is no class of net, which has bird"),
        (["a", "b"], 2, ["c", "d"], "'a' is no class"),
        (["a", "b"], 3, None, "it has 2 classes (a, b), net has 3 whose names are not known"),
        ([f"c{i}" for i in range(500)], 1000, None, "500 classes (c0, c1, c2, ...), net has 1000"),
        (["n01440764", "no such"], 1000, None, "'no such' is no class of ImageNet"),
        (["tench", "crane"], 1000, None, "'crane' is no class of ImageNet, or more than one"),
        (["n01440764", "tench"], 1000, None, "are the same class of ImageNet"),
        (["0", "00"], 3, None, "2 classes"),
        (["3", "4"], 4, ["1", "2", "3", "5"], "'4' is no class"),
        (["²", "1"], 10, None, "2 classes"),
    ],
)
def test_what_cannot_be_mapped_is_refused_in_one_line(names, classes, known, said):
    with pytest.raises(RequestError, match=r"\A[^\n]+\Z") as error:
        with_labels_of(data_of(names), classes, known, "net")
    assert said in str(error.value)


def test_labels_without_names_are_the_networks():
    found, how = with_labels_of(data_of(None, [0, 7, 3]), 1000, None, "net")
    assert found.train.labels.tolist() == [0, 7, 3]
    assert (found.classes, how.how, how.of, how.unchanged) == (1000, "as given", None, True)
    with pytest.raises(RequestError, match="labels go up to 7, net has 5"):
        with_labels_of(data_of(None, [0, 7]), 5, None, "net")


def test_every_example_of_a_class_gets_its_label():
    labels = [0, 1, 1, 2, 0, 2]
    data = data_of(["c", "a", "b"], labels)
    found, how = with_labels_of(data, 3, ["a", "b", "c"], "net")
    assert found.train.labels.tolist() == [2, 0, 0, 1, 2, 1]
    assert found.class_names == ("a", "b", "c")
    assert how.of == {"c": 2, "a": 0, "b": 1}
    assert found.train.hash != data.train.hash
    assert found.train.labels.dtype == np.int32


def test_a_network_without_names_takes_those_of_as_many_classes():
    found, _ = with_labels_of(data_of(["a", "b"]), 2, None, "net")
    assert found.class_names == ("a", "b")
    found, _ = with_labels_of(data_of(["0", "1"]), 3, None, "net")
    assert found.class_names is None


@pytest.mark.parametrize("names", [5, "ab", ["a"], ["a", "a"], ["a", 1], {"a": 1, "b": 2}, []])
def test_stored_names_are_as_many_different_texts_as_classes(names):
    with pytest.raises(RequestError, match="2 different ones"):
        stored_names(names, 2, "run")
    assert stored_names(["a", "b"], 2, "run") == ("a", "b")
    assert stored_names(None, 2, "run") is None
    assert stored_names(["e\u0301t\u00e9"], 1, "run") == ("\u00e9t\u00e9",)  # as folders are read
