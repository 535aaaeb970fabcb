"""Which neurons are active: the fraction of post-activation values above zero, layer by layer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.objective.batches import MicroBatches
from landscape.parameters import Tree, wide


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
        Of ``fraction`` as an estimate for the population that the examples were drawn from; NaN for
        a single example, which tells nothing of it.
    norm
        Mean over examples of the Euclidean norm of *all* the layer's post-activations of an
        example, tokens times neurons. The paper does not say over what its ‖a_k‖ runs; this
        reading agrees with its values (see Notes of :func:`active_neurons`).
    norm_per_token
        The other reading: mean over examples and tokens of the norm over the last axis, the neurons
        of one token (of a Mixer's token MLP: of one channel; of a ResNet: of one position).
    examples
        Number of examples.
    """

    layers: tuple[str, ...]
    fraction: np.ndarray
    standard_error: np.ndarray
    norm: np.ndarray
    norm_per_token: np.ndarray
    examples: int


def active_neurons(
    activations: Callable[[Tree, Any], Mapping[str, jax.Array]],
    params: Tree,
    batches: Iterable,
    *,
    progress: Callable[[], object] | None = None,
) -> ActiveNeurons:
    """Fraction of active neurons after each MLP's first dense layer, and norms of their values.

    Parameters
    ----------
    activations
        ``(params, batch) -> {layer: (B, ...)}`` post-activation values, in network order. Given the
        outputs of whole blocks instead, the norms are the third reading of ‖a_k‖.
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

    Notes
    -----
    Table 3 of the paper has ‖a_k‖ = 104.9 for the first block of ViT-B/16. Over all 197 x 3,072
    post-activations of an image this is a root mean square of 0.13, which goes with less than 5 %
    active neurons; over those of one token it would be 1.9, which does not.

    References
    ----------
    Chen, Hsieh, Gong, arXiv:2106.01548, Section 4.4 and Figure 2 (right).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> relu = lambda w, batch: {"relu": jnp.maximum(batch * w, 0.0)}
    >>> found = active_neurons(relu, jnp.float32(1), [jnp.array([[3.0, -1.0], [4.0, 2.0]])])
    >>> found.fraction.tolist()
    [0.75]
    """

    sizes: dict[str, int] = {}

    @jax.jit
    def measured(params, batch):
        found = activations(params, batch)
        # kept here because JAX sorts the dictionaries it hands back
        sizes.update({name: values.size // values.shape[0] for name, values in found.items()})
        return [_of_each_example(values) for values in found.values()]

    data = MicroBatches(batches, None)
    data.read()
    # Means and sums of squared deviations of each example's values, in float64 and relative to the
    # first example's, merged batch by batch (Chan, Golub, LeVeque 1983): E[x^2] - E[x]^2 cancels.
    first, count, mean, square = None, 0, 0.0, 0.0
    for micro in data:
        columns = np.asarray(jax.device_get(measured(params, micro.batch)), np.float64)
        columns = columns[..., : micro.examples]  # (layers, 3, examples), without the padding
        columns[:, 0] /= np.array(list(sizes.values()))[:, None]
        first = columns[..., :1].copy() if first is None else first
        columns -= first
        batch_mean = columns.mean(-1)
        deviations = columns - batch_mean[..., None]
        total, shift = count + micro.examples, batch_mean - mean
        square += (deviations**2).sum(-1) + shift**2 * (count * micro.examples / total)
        mean += shift * (micro.examples / total)
        count = total
        if progress is not None:
            progress()
    fraction, norm, norm_per_token = (mean + first[..., 0]).T
    with np.errstate(invalid="ignore"):  # a single example has no spread
        error = np.sqrt(square[:, 0] / np.float64(count - 1) / count)
    return ActiveNeurons(tuple(sizes), fraction, error, norm, norm_per_token, count)


def _of_each_example(values: jax.Array) -> jax.Array:
    """(3, B): how many values are above zero, norm of all, mean norm over the last axis."""
    tokens = values.reshape(values.shape[0], -1, values.shape[-1]).astype(wide(values.dtype))
    active = jnp.sum(tokens > 0, axis=(1, 2)).astype(tokens.dtype)
    unknown = jnp.any(jnp.isnan(tokens), axis=(1, 2))  # neither active nor inactive
    active = jnp.where(unknown, jnp.full_like(active, jnp.nan), active)
    largest = jnp.max(jnp.abs(tokens), axis=(1, 2), keepdims=True)
    largest = jnp.where(largest > 0, largest, jnp.ones_like(largest))  # squares that are numbers
    squares = jnp.sum(jnp.square(tokens / largest), axis=2)
    scale = largest[:, 0, 0]
    per_token = jnp.mean(jnp.sqrt(squares), axis=1) * scale
    return jnp.stack([active, jnp.sqrt(jnp.sum(squares, axis=1)) * scale, per_token])
