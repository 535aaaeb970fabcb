"""A small softmax network of a user, for `hessian --objective`."""

import jax
import jax.numpy as jnp
import numpy as np

import landscape


def make(examples=600, hidden=40):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, 6)).astype("f")
    labels = rng.integers(0, 4, examples).astype(np.int32)
    params = {
        "first": {"kernel": jnp.asarray(rng.normal(size=(6, hidden)).astype("f"))},
        "second": {"kernel": jnp.asarray(rng.normal(size=(hidden, 4)).astype("f"))},
    }

    def criterion(logits, batch):
        picked = jnp.take_along_axis(logits, batch["labels"][:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - picked

    def sample(key, logits, example):
        return {**example, "labels": jax.random.categorical(key, logits).astype(jnp.int32)}

    loss = landscape.Composite(
        lambda p, b: jnp.tanh(b["x"] @ p["first"]["kernel"]) @ p["second"]["kernel"],
        criterion,
        sample,
    )
    data = [{"x": x[i : i + 8], "labels": labels[i : i + 8]} for i in range(0, examples, 8)]
    return landscape.Objective(loss, params, data)
