"""The network of incomplete and of absurd parameters, told by names and shapes."""

import time

import published
import pytest

from landscape.checkpoints.recognition import recognised
from landscape.models.registry import build

FAMILIES = [
    "ViT-Mini/2",
    "ViT22B-Ti/16",
    "ViT_C-1GF",
    "R+ViT-Ti/16",
    "Mixer-Mini/2",
    "ResNet-Mini",
    "ResNet-50-BatchNorm",
    "CIFAR-ResNet-20-projection",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_single_parameter_decides_which_network_it_is(name):
    shapes = published.shapes_of(build(name).abstract())
    for lacking in shapes:
        found = recognised({leaf: shape for leaf, shape in shapes.items() if leaf != lacking})
        assert (found.name, found.differences) == (name, {}), lacking


@pytest.mark.parametrize("name", ["ViT-B/16", "Mixer-B/16"])
def test_without_its_patches_a_network_is_told_by_its_other_sizes(name):
    shapes = published.shapes_of(build(name, shape={"depth": 2}).abstract())
    found = recognised(
        {leaf: shape for leaf, shape in shapes.items() if len(shape) != 4}  # the first layer
    )
    assert found.name.startswith(name.removesuffix("16"))
    assert found.differences == {"depth": 2}
    assert "image_shape" not in found.options


@pytest.mark.parametrize("kind", ["head/kernel", "head/bias"])
def test_classes_are_told_by_half_a_head(kind):
    shapes = published.shapes_of(build("ViT-Mini/2", classes=7).abstract())
    del shapes[kind]
    assert recognised(shapes).options["classes"] == 7


@pytest.mark.parametrize(
    "name",
    [
        "Transformer/encoderblock_{}/LayerNorm_0/scale",
        "MixerBlock_{}/LayerNorm_0/scale",
        "block{}/unit1/gn1/scale",
        "block1/unit{}/gn1/scale",
        "layer{}/0/bn1/scale",
        "layer1/{}/bn1/scale",
        "stem/conv{}/kernel",
    ],
)
def test_no_network_has_more_than_a_thousand_layers_in_a_row(name):
    start = time.process_time()
    for root in ({}, {"Transformer/encoder_norm/scale": (8,), "embedding/kernel": (1, 1, 8, 8)}):
        shapes = {name.format(i): (8,) for i in range(100_000)}
        assert recognised({**shapes, "gn_root/scale": (8,), "bn1/scale": (8,), **root}) is None
    assert time.process_time() - start < 5  # minutes, if each were looked for among all


@pytest.mark.parametrize("deep", [1000, 1001])
def test_a_thousand_blocks_are_the_most(deep):
    shapes = {f"MixerBlock_{i}/LayerNorm_0/scale": (8,) for i in range(deep)}
    found = recognised(shapes)
    assert (found and found.differences["depth"]) == (1000 if deep == 1000 else None)


@pytest.mark.parametrize(
    "shapes",
    [
        {"Transformer/encoder_norm/scale": (48,), "embedding/kernel": (2, 2, 1, 48)},
        {"Transformer/encoderblock_0/other": (48,)},
        {"MixerBlock_1/LayerNorm_0/scale": (48,)},
        {"conv_root/kernel": (7, 7, 3, 64), "block1/gn/scale": (64,)},
        {"conv1/kernel": (7, 7, 3, 64), "layer1/kernel": (64,)},
        {"conv1/kernel": (7, 7, 3, 64), "fc/kernel": (64, 10)},
    ],
)
def test_what_has_no_layers_is_no_network(shapes):
    assert recognised(shapes) is None


def test_no_image_has_tokens_of_a_million_pixels():
    shapes = published.shapes_of(build("R+ViT-Ti/16").abstract())
    stages = {f"block{i}/unit1/gn1/scale": (8,) for i in range(1, 20)}
    assert recognised(shapes | stages) is None
