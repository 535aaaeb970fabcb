"""From uint8 images to network inputs, by name.

The name belongs to a checkpoint and is written into its configuration.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from landscape.errors import RequestError


def _minus_one_to_one(x: jax.Array) -> jax.Array:
    """What the Google ViT, MLP-Mixer and BiT checkpoints were trained with."""
    return x / 127.5 - 1.0


def _zero_to_one(x: jax.Array) -> jax.Array:
    return x / 255.0


def _imagenet(x: jax.Array) -> jax.Array:
    """Per-channel mean and standard deviation of ImageNet, torchvision's constants."""
    mean = jnp.array([[[[0.485, 0.456, 0.406]]]], x.dtype)
    deviation = jnp.array([[[[0.229, 0.224, 0.225]]]], x.dtype)
    return (x / 255.0 - mean) / deviation


PREPROCESSING: dict[str, Callable[[jax.Array], jax.Array]] = {
    "minus_one_to_one": _minus_one_to_one,
    "zero_to_one": _zero_to_one,
    "imagenet": _imagenet,
}
DEFAULT = next(iter(PREPROCESSING))


def preprocess(name: str = DEFAULT, dtype=jnp.float32) -> Callable[[jax.Array], jax.Array]:
    """The function ``images (uint8) -> inputs`` called ``name``; it can be jitted.

    Parameters
    ----------
    name
        One of `PREPROCESSING`.
    dtype
        Floating dtype in which it computes and of what it returns.

    Raises
    ------
    RequestError
        For an unknown name.

    Examples
    --------
    >>> preprocess("minus_one_to_one")(jnp.array([0, 255], jnp.uint8)).tolist()
    [-1.0, 1.0]
    """
    if name not in PREPROCESSING:
        raise RequestError(f"preprocessing: {name!r} is none of {', '.join(PREPROCESSING)}")
    function = PREPROCESSING[name]
    return lambda images: function(jnp.asarray(images).astype(dtype))
