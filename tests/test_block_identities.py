"""What linear algebra says of the blocks of the paper, on networks of every family."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree

from landscape import extremes, parameters
from landscape.cli.subject import classification
from landscape.data import load
from landscape.models import registry
from landscape.objective import Objective

SHAPES = {
    "ViT-Mini/2": {"width": 16, "depth": 2, "heads": 2, "mlp": 24},
    "Mixer-Mini/2": {"width": 16, "depth": 2, "token_mlp": 12, "channel_mlp": 24},
    "ResNet-Mini": {"units": (1, 1), "width": 4},
}
JOINT = {"ViT-Mini/2": ("attention", "mlp"), "Mixer-Mini/2": ("token_mlp", "channel_mlp")}


@dataclass
class Restricted:
    """P H P, with P the projection on a block: one compiled product serves all blocks.

    On flat vectors: the arithmetic of a search compiles in a tenth of the time that it takes on
    trees of many leaves.
    """

    objective: Any
    names: list[str]

    def __post_init__(self):
        self.params, self._tree = ravel_pytree(self.objective.params)

    def product(self, vector):
        return self._inside(self.objective.product(self._tree(self._inside(self._tree(vector)))))

    def _inside(self, tree):
        leaves = parameters.named_leaves(tree)
        return ravel_pytree(
            parameters.with_leaves(
                tree, {k: jnp.zeros_like(v) for k, v in leaves.items() if k not in self.names}
            )
        )[0]


def measured(objective, blocks):
    """{block: bounds on its λmax}, the whole matrix included."""
    every = {**blocks, "whole": parameters.leaf_names(objective.params)}
    return {
        name: extremes(
            Restricted(objective, names),
            width=0.05,
            ends="max",
            statements=len(every),
        ).lambda_max
        for name, names in every.items()
    }


# Compiling the convolutions of a ResNet takes as long as the two others together.
@pytest.fixture(
    scope="module",
    params=[*JOINT, pytest.param("ResNet-Mini", marks=pytest.mark.slow)],
)
def network(request):
    """Name, parameters and objective of a small network after a step from a random start."""
    model = registry.build(request.param, head_init="lecun", shape=SHAPES[request.param])
    loss, _, _ = classification(model, "minus_one_to_one", "softmax_cross_entropy")
    split = load("digits").train.thinned(24)
    data = [{"images": split.images, "labels": split.labels}]
    return request.param, Objective(loss, model.init(jax.random.key(0)), data)


def test_a_layer_is_no_sharper_than_its_joint_block_and_that_not_than_the_whole(network):
    name, objective = network
    blocks = parameters.blocks(objective.params, "paper")
    pairs = [(f"{layer}/{kind}", kind) for kind in JOINT.get(name, ())
             for layer in blocks if f"{layer}/{kind}" in blocks][::2]  # fmt: skip
    if "input_layers" in blocks:
        pairs += [("embedding", "input_layers")]
    pairs += [(outer, "whole") for _, outer in pairs]
    assert len(pairs) >= 2
    found = measured(objective, {label: blocks[label] for pair in pairs for label in pair[:1]})
    for inner, outer in pairs:
        assert set(blocks[inner]) <= set(blocks.get(outer, blocks[inner]))
        assert found[inner].lower <= found[outer].upper, (inner, outer)
        assert found[inner].lower > 0


def test_the_gauss_newton_matrix_is_no_sharper_than_its_partition_together(network):
    name, objective = network
    blocks = parameters.blocks(objective.params, "paper")
    partition = [*JOINT.get(name, ()), "head"]
    partition += ["input_layers"] if "input_layers" in blocks else ["embedding"]
    partition += [label for label in blocks if "/unit" in label]
    leaves = [leaf for label in partition for leaf in blocks[label]]
    assert sorted(leaves) == sorted(parameters.leaf_names(objective.params))
    matrix = objective.with_curvature("gauss_newton")
    found = measured(matrix, {label: blocks[label] for label in partition})
    whole = found.pop("whole")
    assert whole.lower <= sum(part.upper for part in found.values())
    assert max(part.lower for part in found.values()) <= whole.upper
