"""The order of training and the passes of the analyses."""

import numpy as np
import pytest

from landscape.data.loader import TrainingOrder, batches
from landscape.data.splits import Split
from landscape.errors import RequestError


def test_every_example_comes_once_per_epoch_in_a_new_order():
    order = TrainingOrder(12, 4, seed=0)
    epochs = [np.concatenate([order.indices(3 * e + i) for i in range(3)]) for e in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(12))
    assert (epochs[0] != epochs[1]).any()


def test_batches_run_across_the_end_of_an_epoch():
    order = TrainingOrder(10, 4, seed=0)
    seen = np.concatenate([order.indices(step) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_order_of_a_step_needs_no_steps_before_it():
    before = TrainingOrder(50, 8, seed=3)
    walked = [before.indices(step) for step in range(20)]
    np.testing.assert_array_equal(TrainingOrder(50, 8, seed=3).indices(19), walked[19])
    assert (TrainingOrder(50, 8, seed=4).indices(19) != walked[19]).any()


@pytest.mark.parametrize("size", [0, 11])
def test_batch_that_training_cannot_fill_is_refused(size):
    with pytest.raises(RequestError, match=f"batch_size: {size} with 10 training examples"):
        TrainingOrder(10, size, seed=0)


def test_a_pass_is_repeatable_and_ends_with_a_ragged_batch():
    split = Split(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10), "test")
    passes = batches(split, 4)
    assert len(passes) == 3
    for _ in range(2):
        found = list(passes)
        assert [len(b["labels"]) for b in found] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([b["images"] for b in found]), split.images)
        np.testing.assert_array_equal(np.concatenate([b["labels"] for b in found]), split.labels)
    with pytest.raises(RequestError, match="batch_size: 0"):
        batches(split, 0)
