"""Loss and accuracy of a model on a split."""

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from landscape.data.loader import batches
from landscape.data.preprocessing import DEFAULT, preprocess
from landscape.data.splits import Split
from landscape.devices import place
from landscape.devices import split as divided
from landscape.training.losses import get_loss


def evaluate(
    apply: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    split: Split,
    preprocessing: str = DEFAULT,
    batch_size: int = 256,
    *,
    loss: str = "softmax_cross_entropy",
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """Mean loss and accuracy over all examples of a split.

    Parameters
    ----------
    apply
        ``apply(params, inputs) -> logits (B, classes)``.
    params
        The parameters.
    split
        The examples; a ragged last batch is padded and the padding not counted.
    preprocessing, loss
        Names, see `landscape.data.preprocessing` and `landscape.training.losses`.
    batch_size
        Examples at a time, rounded up to a multiple of the number of devices.
    mesh
        Devices to divide each batch among.

    Returns
    -------
    ``loss`` and ``accuracy`` (means over examples), ``accuracy_standard_error`` (binomial: of the
    accuracy as an estimate for the population the split was drawn from) and ``examples``.
    """
    devices = 1 if mesh is None else mesh.size
    size = -(-min(batch_size, len(split)) // devices) * devices
    loss_sum, correct = 0.0, 0
    sums = partial(_sums, apply=apply, preprocessing=preprocessing, loss=loss)
    for batch in batches(split, size):
        count = len(batch["labels"])
        padded = {name: _padded(rows, size) for name, rows in batch.items()}
        padded["real"] = np.arange(size) < count
        padded = padded if mesh is None else place(padded, divided(mesh))
        batch_loss, batch_correct = sums(params, **padded)
        loss_sum += float(batch_loss)  # over batches in float64
        correct += int(batch_correct)
    accuracy = correct / len(split)
    return {
        "loss": loss_sum / len(split),
        "accuracy": accuracy,
        "accuracy_standard_error": sqrt(accuracy * (1 - accuracy) / len(split)),
        "examples": len(split),
    }


@partial(jax.jit, static_argnames=("apply", "preprocessing", "loss"))
def _sums(params, images, labels, real, *, apply, preprocessing, loss):
    """Sums of loss and of correct answers over the real rows."""
    dtype = np.promote_types(jax.tree.leaves(params)[0].dtype, np.float32)
    logits = apply(params, preprocess(preprocessing, dtype)(images))
    losses = get_loss(loss)(logits, labels)
    right = jnp.argmax(logits, axis=-1) == labels
    return jnp.sum(jnp.where(real, losses, 0.0)), jnp.sum(real & right)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1))
