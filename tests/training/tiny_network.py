"""A network small enough to train in a test, with the interface of the registry's models."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from landscape.models.registry import build as from_registry

NAME = "Mixer-Mini/2"  # in whose place it stands: run folders name networks of the registry


def build(name, *, classes, image_shape, dropout=None, **options):
    """A hidden layer of 16 with dropout for `NAME`, else the registry's network."""
    if name != NAME:
        options |= {} if dropout is None else {"dropout": dropout}
        return from_registry(name, classes=classes, image_shape=image_shape, **options)
    inputs, rate = int(np.prod(image_shape)), dropout or 0.0

    def init(key):
        first, second = jax.random.split(key)
        return {
            "hidden": {
                "kernel": jax.random.normal(first, (inputs, 16)) / np.sqrt(inputs),
                "bias": jnp.zeros(16),
            },
            "head": {"kernel": 0.1 * jax.random.normal(second, (16, classes))},
        }

    def apply(params, images, *, key=None):
        x = images.reshape(len(images), -1) @ params["hidden"]["kernel"]
        x = jax.nn.relu(x + params["hidden"]["bias"][None])
        if key is not None and rate:
            x = jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)
        return x @ params["head"]["kernel"]

    return SimpleNamespace(
        name=name,
        family="tiny",
        classes=classes,
        image_shape=tuple(image_shape),
        request={
            "name": name,
            "classes": classes,
            "image_shape": list(image_shape),
            "dropout": dropout,
        },
        init=init,
        abstract=lambda: jax.eval_shape(init, jax.random.key(0)),
        apply=apply,
        has_state=False,
    )
