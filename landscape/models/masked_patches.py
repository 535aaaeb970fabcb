"""Masked-patch prediction: the task of Dosovitskiy et al. (arXiv:2010.11929, B.1.2).

Half of the patch embeddings are corrupted: 80 % of these become a learned [mask] vector, 10 %
another patch's embedding, 10 % stay. For each of them the network predicts the patch's mean colour
at 3 bits per channel.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from landscape.losses import softmax_cross_entropy

CORRUPTED, MASKED, REPLACED = 0.5, 0.8, 0.1
LEVELS = 8  # 3 bits


class Corruption(NamedTuple):
    """What happens to each patch; all of shape (B, patches).

    Attributes
    ----------
    chosen
        bool: predicted.
    masked
        bool: replaced by the [mask] vector.
    source
        int32: the patch whose embedding it gets, mostly its own.
    """

    chosen: jax.Array
    masked: jax.Array
    source: jax.Array


def draw_corruption(key: jax.Array, batch: int, patches: int) -> Corruption:
    """Choose half of the patches (rounded down, at least one) of every example, and their fate."""
    which, how, other = jax.random.split(key, 3)
    shape = (batch, patches)
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(which, shape), axis=1), axis=1)
    chosen = rank < max(1, int(CORRUPTED * patches))
    fate = jax.random.uniform(how, shape)
    own = jnp.broadcast_to(jnp.arange(patches, dtype=jnp.int32), shape)
    replaced = chosen & (fate >= MASKED) & (fate < MASKED + REPLACED)
    source = jnp.where(replaced, jax.random.randint(other, shape, 0, patches, jnp.int32), own)
    return Corruption(chosen, chosen & (fate < MASKED), source)


def mean_colours(images: jax.Array, patch: int) -> jax.Array:
    """The class of each patch's mean colour: int32, shape (B, patches), row by row.

    Parameters
    ----------
    images
        Pixels 0 to 255, any dtype, shape (B, H, W, C).
    patch
        Pixels on a patch's side.

    Returns
    -------
    With 3 bits per channel, 0 to 8^C - 1; the first channel has the highest bits.
    """
    batch, height, width, channels = images.shape
    x = images.astype(jnp.float32).reshape(
        batch, height // patch, patch, width // patch, patch, channels
    )
    levels = jnp.floor(jnp.mean(x, axis=(2, 4)) * (LEVELS / 256)).astype(jnp.int32)
    weights = LEVELS ** jnp.arange(channels - 1, -1, -1, dtype=jnp.int32)
    return jnp.sum(levels * weights[None, None, None], axis=-1).reshape(batch, -1)


def masked_patch_loss(
    model: Any,
    params: Any,
    images: jax.Array,
    inputs: jax.Array,
    corruption: Corruption,
    *,
    key: jax.Array | None = None,
    state: Any = None,
) -> jax.Array:
    """Cross-entropy of the corrupted patches' colours, averaged over them: shape (B,).

    Parameters
    ----------
    model
        Built with ``head="masked_patches"``.
    params
        Its parameters.
    images, inputs
        The pixels, 0 to 255, and the same preprocessed: shape (B, H, W, C).
    corruption
        Of `draw_corruption`. For an objective, whose passes must agree, draw it once.
    key, state
        As `landscape.models.model.Model.apply` takes them: a key for dropout, running statistics.
    """
    logits = model.apply(params, inputs, key=key, state=state, corruption=corruption)
    colours = mean_colours(images, model.patch)
    of_patch = softmax_cross_entropy(logits, colours)
    chosen = corruption.chosen.astype(of_patch.dtype)
    return jnp.sum(of_patch * chosen, axis=1) / jnp.sum(chosen, axis=1)
