"""Optimisers and learning-rate schedules as optax chains.

Weight decay is decoupled and acts on kernels only, in the convention of AdamW: a step subtracts
``learning_rate * weight_decay * w``. Chen et al. 2021 (Table 8) state 0.3 for ViT and Mixer and
1e-3 for ResNet in this convention.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from landscape.errors import RequestError
from landscape.parameters import leaf_names

MOMENTUM = 0.9
BETAS = (0.9, 0.999)  # Table 8 of the paper prints 0.009 for β2 once: a misprint


def schedule(peak: float, steps: int, warmup_steps: int, decay: str) -> optax.Schedule:
    """Learning rate of a step (from 0): linear warm-up from 0, then decay to 0 at ``steps``.

    Parameters
    ----------
    peak
        Learning rate at the end of the warm-up.
    steps
        Number of steps of the whole training.
    warmup_steps
        Length of the warm-up; fewer than ``steps``.
    decay
        ``cosine`` or ``linear``.

    Raises
    ------
    RequestError
        For an unknown decay and a warm-up that does not end.
    """
    if decay not in ("cosine", "linear"):
        raise RequestError(f"decay: {decay!r} is neither cosine nor linear")
    if not 0 <= warmup_steps < steps:
        raise RequestError(
            f"warmup_steps: {warmup_steps} of {steps} steps; warm up for less than all of them"
        )

    def learning_rate(step):
        step = jnp.asarray(step, jnp.float32)
        warm = step / max(warmup_steps, 1)
        left = 1.0 - jnp.clip((step - warmup_steps) / (steps - warmup_steps), 0.0, 1.0)
        falling = left if decay == "linear" else 0.5 - 0.5 * jnp.cos(jnp.pi * left)
        return peak * jnp.where(step < warmup_steps, warm, falling)

    return learning_rate


def kernels(params: Any) -> Any:
    """A tree of booleans: which leaves are kernels, by the last part of their name."""
    decide = [name.rpartition("/")[2] == "kernel" for name in leaf_names(params)]
    return jax.tree.unflatten(jax.tree.structure(params), decide)


def optimizer(
    name: str, learning_rate: optax.Schedule, *, weight_decay: float, clip: float | None
) -> optax.GradientTransformation:
    """Clipping, momentum or Adam, decay of the kernels, learning rate; in this order.

    Parameters
    ----------
    name
        ``adamw`` or ``sgd``.
    learning_rate
        A schedule, see `schedule`.
    weight_decay
        Decoupled, multiplied by the learning rate.
    clip
        Largest global norm of the gradient, or None.

    Raises
    ------
    RequestError
        For an unknown name.
    """
    if name not in ("adamw", "sgd"):
        raise RequestError(f"optimizer: {name!r} is neither adamw nor sgd")
    chain = optax.chain(
        optax.identity() if clip is None else optax.clip_by_global_norm(clip),
        optax.scale_by_adam(*BETAS) if name == "adamw" else optax.trace(MOMENTUM),
        optax.add_decayed_weights(weight_decay, mask=kernels),
        optax.scale_by_learning_rate(learning_rate),
    )

    def update(gradient, state, params=None):
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            return chain.update(gradient, state, params)

    return optax.GradientTransformation(chain.init, update)
