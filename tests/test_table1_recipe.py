"""The recipe of Table 1: what it says of the paper, and what its analyses ask for."""

import jax
import jax.numpy as jnp
import pytest

from landscape import parameters
from landscape.cli import quickstart
from landscape.models import registry


@pytest.fixture(scope="module")
def recipe():
    return quickstart._recipe()


def test_what_was_published_is_table_1_of_version_1(recipe):
    found = {name: tuple(values.values()) for name, values in recipe.PUBLISHED.items()}
    assert found == {
        "ResNet-50": (25, 2801.6, 122.9, 76.0),
        "ResNet-152": (60, 2801.6, 179.8, 78.5),
        "ViT-B/16": (87, 4205.3, 738.8, 74.6),
        "ViT-B/16-SAM": (87, 4205.3, 20.9, 79.9),
        "Mixer-B/16": (59, 14468.0, 1644.4, 66.4),
        "Mixer-B/16-SAM": (59, 14468.0, 22.5, 77.4),
    }


def test_kernels_have_at_most_half_as_many_images_as_the_head_sees_features(recipe):
    asked = recipe.ANALYSES["digits"]
    for network in recipe.DIGITS:
        model = registry.build(network.training["model"])
        image = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float32)
        seen = jax.eval_shape(model.intermediates, model.abstract(), image).pre_logits.shape[1]
        for name in ("ntk", "ntk-lecun"):
            assert asked[name]["batch_size"] <= seen / 2


def test_imagenet_is_analysed_over_the_tenth_that_the_paper_takes(recipe):
    asked = recipe.ANALYSES["imagenet"]
    assert {asked[name]["images"] for name in ("hessian", "surface", "neurons")} == {128_116}
    assert "the analyses are those of the paper" not in recipe.__doc__


def test_the_hessian_is_asked_for_the_blocks_of_table_3(recipe):
    for network in recipe.DIGITS:
        tree = registry.build(network.training["model"]).abstract()
        for scheme in recipe.ANALYSES["digits"]["hessian"]["blocks"]:
            assert parameters.blocks(tree, scheme)["embedding"]
