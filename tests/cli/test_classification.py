"""Loss and metrics of a classifier as an objective sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.cli.subject import classification


class Constant:
    """A network that gives every image the same logits."""

    has_state = False

    def apply(self, params, inputs):
        return jnp.broadcast_to(params[None], (len(inputs), len(params)))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_a_surfaces_accuracy_counts_logits_that_are_no_numbers_as_wrong(loss):
    _, metrics, _ = classification(Constant(), "minus_one_to_one", loss)
    batch = {"images": np.zeros((4, 2, 2, 1), np.uint8), "labels": np.array([0, 1, 0, 2], np.int32)}
    for logits, expected in (
        ([np.nan] * 3, [0, 0, 0, 0]),
        ([1.0, np.nan, 0.0], [0, 0, 0, 0]),
        ([1.0, 2.0, 0.0], [0, 1, 0, 0]),
    ):
        found = jax.jit(metrics)(jnp.array(logits), batch)["accuracy"]
        np.testing.assert_array_equal(found, expected)
