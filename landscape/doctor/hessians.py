"""Products with Hessians that are known otherwise: in closed form, by differences in float64.

Each network family at the smallest size that has all its kinds of layers. The parameters are drawn
so that no scale is one and no bias zero.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from landscape.devices import data_mesh
from landscape.doctor.programs import Found, dtype
from landscape.losses import get_loss
from landscape.models import registry
from landscape.objective import Composite, Objective

FAMILIES = {
    "ViT": ("ViT-Mini/2", {"width": 8, "depth": 1, "heads": 2, "mlp": 16}),
    "MLP-Mixer": ("Mixer-Mini/2", {"width": 8, "depth": 1, "token_mlp": 8, "channel_mlp": 16}),
    "GroupNorm ResNet": ("ResNet-Mini", {"units": (1,), "width": 4, "groups": 2}),
    "BatchNorm ResNet": ("CIFAR-ResNet-20", {"units": (1, 1), "width": 4}),
}

_STEP = 1e-6  # of the differences: their error is 1e-9 of the product
_EXAMPLES = 40_000


def network(family: str) -> Found:
    """A product of one family, by the objective and by central differences in float64, flat.

    The differences are another program: gradients only, and compiled without optimisations.

    Raises
    ------
    ArithmeticError
        If the product over blank images, where every normalisation divides by its epsilon, is not
        finite.
    """
    generator = np.random.default_rng(0)
    name, shape = FAMILIES[family]
    model = registry.build(name, shape=shape, image_shape=(4, 4, 1), classes=3, head_init="lecun")
    cross_entropy = get_loss("softmax_cross_entropy")

    def draw(leaf):
        values = generator.standard_normal(leaf.shape)
        fan_in = int(np.prod(leaf.shape[:-1]))
        return values / np.sqrt(fan_in) if len(leaf.shape) > 1 else 1 + values**2 / 4

    def loss(params, state, batch):
        images = batch["images"].astype(jax.tree.leaves(params)[0].dtype)
        return cross_entropy(model.apply(params, images, state=state), batch["labels"])

    params = jax.tree.map(draw, model.abstract())
    state = jax.tree.map(draw, model.abstract_state()) if model.has_state else {}
    vector = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape), params)
    batch = {
        "images": generator.random((8, *model.image_shape)).astype(dtype()),
        "labels": generator.integers(0, 3, 8).astype(np.int32),
    }
    rounded = _as((params, state, vector), dtype())
    objective = Objective(loss, rounded[0], [batch], state=rounded[1])
    found = objective.product(rounded[2])
    expected = _differences(loss, batch, *_as(rounded, "f8"))
    blank = objective.with_batches([{**batch, "images": np.zeros_like(batch["images"])}])
    if not np.isfinite(_flat(blank.product(rounded[2]))).all():
        raise ArithmeticError("the product over blank images is not finite")
    return _flat(found), _flat(expected)


def _differences(loss: Callable, batch: Any, params: Any, state: Any, vector: Any) -> Any:
    """The Hessian of the mean loss times a vector, in float64."""
    with jax.enable_x64(True):
        gradient = jax.jit(
            jax.grad(lambda params: jnp.mean(loss(params, state, batch))),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        ends = [
            _as(gradient(jax.tree.map(lambda p, v, s=step: p + s * v, params, vector)), "f8")
            for step in (_STEP, -_STEP)
        ]
    return jax.tree.map(lambda up, down: (up - down) / (2 * _STEP), *ends)


def softmax_regression(mesh: Mesh | None = None) -> Found:
    """A product of softmax regression over 40,000 examples, found and in closed form, (3, 3) each.

    ``X' (P * R - P * sum(P * R))/N`` with ``R = X V`` and the probabilities P.
    """
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((_EXAMPLES, 3)).astype(dtype())
    weights, vector = generator.standard_normal((2, 3, 3)).astype(dtype())
    cross_entropy = get_loss("softmax_cross_entropy")
    batch = {"inputs": inputs, "labels": generator.integers(0, 3, _EXAMPLES).astype(np.int32)}
    objective = Objective(
        Composite(
            lambda weights, batch: batch["inputs"] @ weights,
            lambda logits, batch: cross_entropy(logits, batch["labels"]),
        ),
        weights,
        [batch],
        mesh=mesh,
    )
    x, logits = inputs.astype("f8"), inputs.astype("f8") @ weights.astype("f8")
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = odds / odds.sum(axis=1, keepdims=True)
    r = x @ vector.astype("f8")
    expected = x.T @ (p * r - p * np.sum(p * r, axis=1, keepdims=True)) / len(x)
    return np.asarray(objective.product(vector)), expected


def all_devices() -> Found:
    """The same product with the examples divided among all devices, and on one."""
    return softmax_regression(data_mesh())[0], softmax_regression()[0]


def _as(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf, "f8").ravel() for leaf in jax.tree.leaves(tree)])
