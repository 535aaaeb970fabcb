"""Names and shapes of the published files, complete, and the networks recognised in them."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import published
import pytest
from models.test_mixer import mixer_b16_keys
from models.test_resnet import resnet50_keys
from models.test_vit import vit_b16_keys
from published import shapes_of

from landscape.checkpoints import compare
from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.identification import leaf_shapes
from landscape.checkpoints.namings import big_vision, timm, torchvision, vision_transformer
from landscape.checkpoints.namings.naming import PARAMS, STATE
from landscape.checkpoints.recognition import recognised
from landscape.models.registry import build, names
from landscape.models.table import ENTRIES

NAMINGS = (timm, torchvision, big_vision, vision_transformer)


def sam_vit_b16_keys():
    """Key -> shape of vit_models/sam/ViT-B_16.npz: modules of a block are numbered together."""
    numbers = {
        "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
        "LayerNorm_1": "LayerNorm_2",
        "MlpBlock_0": "MlpBlock_3",
    }

    def older(name):
        return "/".join(numbers.get(part, part) for part in name.split("/"))

    return {older(name): shape for name, shape in vit_b16_keys().items()}


def with_biases(**weights):
    """Shapes of PyTorch's layers: each weight (out, ...) and its bias (out,)."""
    return {
        f"{name}.{kind}": shape
        for name, weight in weights.items()
        for kind, shape in (("weight", weight), ("bias", weight[:1]))
    }


def timm_vit_keys(patch=16, channels=3, width=768, depth=12, mlp=3072, tokens=197, classes=1000):
    """Key -> shape of timm's vit_base_patch16_224."""
    layers = {
        "patch_embed.proj": (width, channels, patch, patch),
        "norm": (width,),
        "head": (classes, width),
    }
    for i in range(depth):
        layers |= {
            f"blocks.{i}.norm1": (width,),
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.norm2": (width,),
            f"blocks.{i}.mlp.fc1": (mlp, width),
            f"blocks.{i}.mlp.fc2": (width, mlp),
        }
    tokens = {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width)}
    return tokens | with_biases(**layers)


def timm_mixer_keys(
    patch=16, channels=3, width=768, depth=12, tokens=196, token_mlp=384, mlp=3072, classes=1000
):
    """Key -> shape of timm's mixer_b16_224."""
    layers = {
        "stem.proj": (width, channels, patch, patch),
        "norm": (width,),
        "head": (classes, width),
    }
    for i in range(depth):
        layers |= {
            f"blocks.{i}.norm1": (width,),
            f"blocks.{i}.mlp_tokens.fc1": (token_mlp, tokens),
            f"blocks.{i}.mlp_tokens.fc2": (tokens, token_mlp),
            f"blocks.{i}.norm2": (width,),
            f"blocks.{i}.mlp_channels.fc1": (mlp, width),
            f"blocks.{i}.mlp_channels.fc2": (width, mlp),
        }
    return with_biases(**layers)


def torchvision_resnet_keys(width=64, classes=1000):
    """Key -> shape of torchvision's resnet50."""
    convolutions, norms = {"conv1": (width, 3, 7, 7)}, {"bn1": width}
    channels = width
    for stage, units in enumerate((3, 4, 6, 3)):
        inner = width * 2**stage
        for i in range(units):
            unit = f"layer{stage + 1}.{i}"
            shapes = (inner, channels, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)
            for number, shape in enumerate(shapes, 1):
                convolutions[f"{unit}.conv{number}"] = shape
                norms[f"{unit}.bn{number}"] = shape[0]
            if i == 0:
                convolutions[f"{unit}.downsample.0"] = (4 * inner, channels, 1, 1)
                norms[f"{unit}.downsample.1"] = 4 * inner
            channels = 4 * inner
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {
        **{f"{name}.weight": shape for name, shape in convolutions.items()},
        **{f"{name}.{kind}": (size,) for name, size in norms.items() for kind in kinds},
        **{f"{name}.num_batches_tracked": () for name in norms},
        **with_biases(fc=(classes, channels)),
    }


# Names, number of parameters, and who has which of our networks by these names.
TABLES = {
    "sam/ViT-B_16.npz": (sam_vit_b16_keys, 200, 86_567_656, vision_transformer, "ViT-B/16"),
    "sam/Mixer-B_16.npz": (mixer_b16_keys, 150, 59_880_472, vision_transformer, "Mixer-B/16"),
    "BiT": (resnet50_keys, 161, 25_557_032, vision_transformer, "ResNet-50"),
    "vit_base_patch16_224": (timm_vit_keys, 152, 86_567_656, timm, "ViT-B/16"),
    "mixer_b16_224": (timm_mixer_keys, 150, 59_880_472, timm, "Mixer-B/16"),
    "resnet50": (torchvision_resnet_keys, 320, 25_557_032, torchvision, "ResNet-50-BatchNorm"),
}


def described(shapes):
    return {name: Described(shape, np.dtype("f")) for name, shape in shapes.items()}


@pytest.mark.parametrize("file", TABLES)
def test_a_published_file_is_recognised_and_fits_its_network(file):
    keys, entries, parameters, naming, name = TABLES[file]
    arrays = described(keys())
    assert len(arrays) == entries
    reading = next(reading for naming in NAMINGS if (reading := naming.read(arrays)))
    assert reading == naming.read(arrays)
    assert reading.unknown == ()
    shapes = leaf_shapes(reading, arrays, Path(file))
    params = {n.removeprefix(PARAMS): s for n, s in shapes.items() if n.startswith(PARAMS)}
    assert sum(map(math.prod, params.values())) == parameters
    found = recognised(params)
    assert (found.name, found.differences) == (name, {})
    model = build(found.name, **found.request)
    assert compare(described(params), model.abstract())
    state = {n.removeprefix(STATE): s for n, s in shapes.items() if n.startswith(STATE)}
    assert bool(state) == model.has_state
    if state:
        assert compare(described(state), model.abstract_state())


def test_small_files_are_named_like_the_published_ones():
    vit = published.timm_vit(build("ViT-Mini/2"))
    assert shapes_of(vit.arrays) == timm_vit_keys(2, 1, 48, 3, 96, 17, 10)
    mixer = published.timm_mixer(build("Mixer-Mini/2"))
    assert shapes_of(mixer.arrays) == timm_mixer_keys(2, 1, 48, 3, 16, 32, 96, 10)
    resnet = build("ResNet-50-BatchNorm", classes=10, shape={"width": 8})
    made = published.torchvision_resnet(resnet)
    assert shapes_of(made.arrays) == torchvision_resnet_keys(8, 10)
    older = published.before_linen(published.Published(vit_b16_keys(), {}))
    assert older.arrays == sam_vit_b16_keys()


# --- the registry ---------------------------------------------------------------------------------

# Networks whose parameters are those of another one: only activations or shortcuts differ.
TWINS = {
    "ViT_P-18GF": "ViT-B/16",
    **{f"CIFAR-ResNet-{n}-noshort": f"CIFAR-ResNet-{n}" for n in (20, 32, 44, 56, 110)},
}


@cache
def tree(name, **options):
    """Shapes of a network's parameters, from one with two blocks for each row of equal ones."""
    sizes = ENTRIES[name].shape
    units = sizes.get("units", sizes.get("resnet")) or ()
    short = {row: tuple(min(2, count) for count in units) for row in ("units", "resnet")}
    short = {row: count for row, count in {**short, "depth": 2}.items() if sizes.get(row)}
    shapes = shapes_of(build(name, shape=short, **options).abstract())
    depth = sizes.get("depth", 0)
    rows = {"Transformer/encoderblock_{}/": (0, depth), "MixerBlock_{}/": (0, depth)}
    for stage, count in enumerate(units, 1):
        rows |= {f"block{stage}/unit{{}}/": (1, count), f"layer{stage}/{{}}/": (0, count)}
    for row, (first, count) in rows.items():
        second = row.format(first + 1)
        block = {n.removeprefix(second): s for n, s in shapes.items() if n.startswith(second)}
        for number in range(first + 2, first + count):
            shapes |= {row.format(number) + name: shape for name, shape in block.items()}
    return shapes


@pytest.mark.parametrize("name", ["R26+ViT-S/32", "Mixer-S/32", "CIFAR-ResNet-32"])
def test_two_blocks_tell_the_shapes_of_many(name):
    assert tree(name) == shapes_of(build(name).abstract())


@pytest.mark.parametrize("name", names())
def test_every_registered_network_is_recognised_by_its_own_tree(name):
    found = recognised(tree(name))
    assert (found.name, found.differences) == (TWINS.get(name, name), {})
    told, expected = build(found.name, **found.request), build(found.name)
    assert told.module == expected.module
    assert found.any_size or told.image_shape == expected.image_shape


@pytest.mark.parametrize("classifier", ["token", "gap", "map"])
@pytest.mark.parametrize("position_embedding", ["learned", "sincos2d"])
@pytest.mark.parametrize("representation", [0, 5])
def test_variants_of_a_vit_are_told_by_their_trees(classifier, position_embedding, representation):
    options = {
        "classifier": classifier,
        "position_embedding": position_embedding,
        "representation": representation,
    }
    model = build("ViT-Mini/2", **options)
    found = recognised(shapes_of(model.abstract()))
    assert (found.name, found.differences) == ("ViT-Mini/2", {})
    assert build(found.name, **found.request).module == model.module


def test_a_network_that_predicts_masked_patches_is_told_by_its_tree():
    model = build("ViT-Mini/2", head="masked_patches", classifier="gap")
    found = recognised(shapes_of(model.abstract()))
    assert build(found.name, **found.request).module == model.module


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ResNet-50", {}),
        ("ResNet-18-BatchNorm", {}),
        ("ViT-S/16", {"position_embedding": "sincos2d"}),
    ],
)
def test_images_of_other_channels_are_told_where_shapes_do_not_tell_the_size(name, options):
    model = build(name, image_shape=(224, 224, 1), **options)
    found = recognised(shapes_of(model.abstract()))
    assert found.any_size
    assert found.options["image_shape"] == (224, 224, 1)
    assert build(found.name, **found.request).abstract() == model.abstract()
