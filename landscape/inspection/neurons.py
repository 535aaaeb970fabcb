"""Which neurons are active: the fraction of post-activation values above zero, layer by layer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.objective.batches import MicroBatches
from landscape.parameters import Tree


@dataclass(frozen=True)
class ActiveNeurons:
    """Activity per layer over a data set; all arrays (layers,).

    Attributes
    ----------
    layers
        Names, in network order.
    fraction
        Share of post-activation values above zero, over examples, tokens and neurons.
    standard_error
        Of ``fraction``, over examples.
    norm
        Mean over examples of the Euclidean norm of all the layer's post-activations.
    examples
        Number of examples.
    """

    layers: tuple[str, ...]
    fraction: np.ndarray
    standard_error: np.ndarray
    norm: np.ndarray
    examples: int


def active_neurons(
    activations: Callable[[Tree, Any], Mapping[str, jax.Array]],
    params: Tree,
    batches: Iterable,
    *,
    progress: Callable[[], object] | None = None,
) -> ActiveNeurons:
    """Fraction of active neurons after each MLP's first dense layer.

    Parameters
    ----------
    activations
        ``(params, batch) -> {layer: (B, ...)}`` post-activation values, in network order.
    params
        The parameters.
    batches
        Re-iterable of batches, as for :class:`landscape.objective.Objective`.
    progress
        Called after each batch.

    Raises
    ------
    RequestError
        If two passes over the batches differ.

    References
    ----------
    Chen, Hsieh, Gong, arXiv:2106.01548, Section 4.3 and Appendix B.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> relu = lambda w, batch: {"relu": jnp.maximum(batch * w, 0.0)}
    >>> found = active_neurons(relu, jnp.float32(1), [jnp.array([[3.0, -1.0], [4.0, 2.0]])])
    >>> found.fraction.tolist()
    [0.75]
    """

    layers: list[str] = []

    @jax.jit
    def sums(params, batch, mask):
        def of(values):
            flat = values.reshape(values.shape[0], -1)
            active = jnp.mean((flat > 0).astype(jnp.float32), axis=1)
            norm = jnp.sqrt(jnp.sum(jnp.square(flat.astype(jnp.float32)), axis=1))
            columns = jnp.stack([active, jnp.square(active), norm])
            return jnp.sum(jnp.where(mask[None, :], columns, jnp.zeros_like(columns)), axis=1)

        found = activations(params, batch)
        layers[:] = found  # kept here because JAX sorts the dictionaries it hands back
        return [of(values) for values in found.values()]

    data = MicroBatches(batches, None)
    data.read()
    totals = 0.0
    for micro in data:
        totals += np.asarray(sums(params, micro.batch, micro.mask), np.float64)
        if progress is not None:
            progress()
    mean, square, norm = (totals / data.examples).T
    variance = np.maximum(square - mean**2, 0) / max(data.examples - 1, 1)
    return ActiveNeurons(tuple(layers), mean, np.sqrt(variance), norm, data.examples)
