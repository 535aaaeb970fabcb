"""Loss and accuracy of a model on a split."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from landscape.accuracy import attributes
from landscape.data.loader import batches
from landscape.data.preprocessing import DEFAULT, preprocess
from landscape.data.splits import Split
from landscape.devices import gathered, place
from landscape.devices import split as divided
from landscape.lifetimes import kept_with
from landscape.losses import get_loss, is_correct


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
        Names, see `landscape.data.preprocessing` and `landscape.losses`.
    batch_size
        Examples at a time, rounded up to a multiple of the number of devices.
    mesh
        Devices to divide each batch among.

    Returns
    -------
    ``loss`` and ``accuracy`` (means over examples) and ``examples``; for both means how far they
    are from those of the population that the split was drawn from: ``loss_standard_error``, and
    ``accuracy_lower`` and ``accuracy_upper``, Wilson's interval at 95 % confidence; whether the
    accuracy is ``at_chance``, see `landscape.accuracy`. For what counts as correct see
    `landscape.losses.is_correct`.
    """
    devices = 1 if mesh is None else mesh.size
    size = -(-min(batch_size, len(split)) // devices) * devices
    names = (preprocessing, loss)
    measure = kept_with(apply, ("evaluate", *names), lambda: _compiled(apply, *names))
    losses, right = [], []
    for batch in batches(split, size):
        count = len(batch["labels"])
        padded = {name: _padded(rows, size) for name, rows in batch.items()}
        padded = padded if mesh is None else place(padded, divided(mesh))
        for found, values in zip((losses, right), measure(params, **padded), strict=True):
            found.append(gathered(values)[:count])
    losses, right = np.concatenate(losses).astype(np.float64), np.concatenate(right)
    count = len(losses)
    return {
        "loss": float(losses.mean()),
        "loss_standard_error": float(losses.std(ddof=1)) / count**0.5 if count > 1 else np.inf,
        **attributes(float(right.mean()), count, split.labels),
        "examples": count,
    }


def _compiled(apply: Callable, preprocessing: str, loss: str) -> Callable:
    """The program ``(params, images, labels) -> losses, right``, a row each."""

    def measure(params, images, labels):
        dtype = np.promote_types(jax.tree.leaves(params)[0].dtype, np.float32)
        logits = apply(params, preprocess(preprocessing, dtype)(images))
        return get_loss(loss)(logits, labels), is_correct(logits, labels)

    return jax.jit(measure)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1))
