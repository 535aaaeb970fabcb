import numpy as np
import pytest
import scipy.stats

from landscape import accuracy


@pytest.mark.parametrize("of", [1, 2, 30, 1000])
def test_the_interval_is_wilsons(of):
    for right in {0, 1, of // 3, of - 1, of}:
        expected = scipy.stats.binomtest(right, of).proportion_ci(0.95, "wilson")
        assert accuracy.wilson(right / of, of) == pytest.approx(expected, abs=1e-12)
    assert accuracy.wilson(1.0, of)[1] == 1
    assert accuracy.wilson(0.0, of)[0] == 0


def test_a_share_is_stored_as_a_whole_number_of_examples():
    found = accuracy.attributes(float(np.float32(1 / 3)) + 1e-7, 3)
    assert found["accuracy"] == 1 / 3
    assert accuracy.attributes(1.0000001, 30)["accuracy"] == 1
    assert found["at_chance"] is None  # nobody said what the labels are
    assert accuracy.told(found) == "33.3 % [6.14, 79.3] (95 % interval)"
    for none in (None, float("nan"), 87.0, -0.5):  # no share of examples
        unknown = accuracy.attributes(none, 30)
        assert set(unknown.values()) == {None}
        assert accuracy.stored(unknown) == {}
    assert accuracy.told({}) == ""


LABELS = np.repeat(np.arange(10), 36)


@pytest.mark.parametrize(
    ("share", "labels", "at_chance"),
    [
        (0.906, LABELS, False),
        (0.078, LABELS, True),
        (0.10, LABELS, True),
        (0.12, LABELS, True),  # above it, but not surely
        (0.14, LABELS, False),
        (0.906, np.minimum(LABELS, 1), True),  # nine in ten have one label
        (1.0, np.zeros(360, int), True),  # it cannot be told
        (0.9, LABELS + 5, False),  # labels are names, not counted from zero
    ],
)  # fmt: skip
def test_an_accuracy_is_held_against_the_most_frequent_label(share, labels, at_chance):
    found = accuracy.attributes(share, len(labels), labels)
    assert found["most_frequent_label"] == np.bincount(labels).max() / len(labels)
    assert found["at_chance"] is at_chance
    assert ("remark" in accuracy.stored(found)) == at_chance


def test_one_sentence_says_that_it_is_at_chance():
    found = accuracy.attributes(28 / 360, 360, LABELS)
    assert accuracy.remark(found) == (
        "accuracy 7.78 % is no better than answering with the most frequent label (10 %): "
        "are the labels those of the network?"
    )
    found = accuracy.attributes(0.5, 4, np.arange(4))
    assert accuracy.remark(found).startswith("accuracy 50 % is not surely better than")
