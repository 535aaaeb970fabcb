"""Names, sizes and requests, against the published parameter counts."""

import json
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest

from landscape.errors import RequestError
from landscape.models.flops import count_flops
from landscape.models.registry import build, checked_request, names
from landscape.parameters import size

# vision_transformer's models_test.py, the model sizes of Chen et al. (arXiv:2106.01548) and of
# Xiao et al. (arXiv:2106.14881, computed from pycls), torchvision's, and the CIFAR files'.
PUBLISHED = {
    "ViT-Ti/16": 5_717_416,
    "ViT-S/8": 22_055_272,
    "ViT-S/14": 22_004_584,
    "ViT-S/16": 22_050_664,
    "ViT-S/32": 22_878_952,
    "ViT-B/8": 86_576_872,
    "ViT-B/16": 86_567_656,
    "ViT-B/32": 88_224_232,
    "ViT-L/16": 304_326_632,
    "ViT-L/32": 306_535_400,
    "ViT-H/14": 632_045_800,
    "Mixer-S/8": 20_646_504,
    "Mixer-S/16": 18_528_264,
    "Mixer-S/32": 19_104_624,
    "Mixer-B/8": 64_864_168,
    "Mixer-B/16": 59_880_472,
    "Mixer-B/32": 60_293_428,
    "Mixer-L/16": 208_196_168,
    "R+ViT-Ti/16": 6_337_704,
    "R26+ViT-S/32": 36_431_912,
    "R26+ViT-B/32": 101_383_976,
    "R50+ViT-B/16": 98_659_112,
    "R50+ViT-L/32": 328_994_856,
    "ViT_C-1GF": 4_567_936,
    "ViT_C-4GF": 17_754_136,
    "ViT_C-18GF": 81_573_160,
    "ViT_C-36GF": 167_796_008,
    "ViT_P-1GF": 4_830_376,
    "ViT_P-4GF": 18_507_112,
    "ViT_P-18GF": 86_567_656,
    "ViT_P-36GF": 178_364_392,
    "ResNet-18-BatchNorm": 11_689_512,
    "ResNet-34-BatchNorm": 21_797_672,
    "ResNet-50-BatchNorm": 25_557_032,
    "ResNet-101-BatchNorm": 44_549_160,
    "ResNet-152-BatchNorm": 60_192_808,
    "ResNet-50": 25_557_032,
    "ResNet-101": 44_549_160,
    "ResNet-152": 60_192_808,
    "ResNet-50x2": 98_004_072,
    "ResNet-101x2": 173_868_136,
    "ResNet-152x2": 236_350_568,
}


def vit_size(patch, width, depth, mlp, tokens, channels, classes):
    """Parameters of a ViT with a class token, by arithmetic."""
    block = 4 * width * (width + 1) + 2 * width * mlp + mlp + width + 4 * width
    stem = (patch**2 * channels + 1) * width + (tokens + 1) * width + width
    return stem + depth * block + 2 * width + (width + 1) * classes


def mixer_size(patch, width, depth, token_mlp, channel_mlp, tokens, channels, classes):
    """Parameters of an MLP-Mixer, by arithmetic."""
    block = 2 * tokens * token_mlp + token_mlp + tokens
    block += 2 * width * channel_mlp + channel_mlp + width + 4 * width
    stem = (patch**2 * channels + 1) * width
    return stem + depth * block + 2 * width + (width + 1) * classes


def cifar_size(depth, projections=False):
    """Parameters of a CIFAR ResNet, by arithmetic; 20 to 56 layers are published."""
    total = 9 * 3 * 16 + 2 * 16 + 64 * 10 + 10
    for channels_in, channels in ((16, 16), (16, 32), (32, 64)):
        convolutions = channels_in + (2 * (depth - 2) // 6 - 1) * channels
        total += (9 * convolutions + 4 * (depth - 2) // 6) * channels
        if projections and channels_in != channels:
            total += (channels_in + 2) * channels
    return total


SIZES = {
    "Ti": (192, 12, 768),
    "S": (384, 12, 1536),
    "B": (768, 12, 3072),
    "L": (1024, 24, 4096),
    "H": (1280, 32, 5120),
}


def plain_vit_size(width, depth, mlp):
    """No class token, fixed positions, and a tanh layer as wide as the network."""
    with_both = vit_size(16, width, depth, mlp, 196, 3, 1000)
    return with_both - 198 * width + width * (width + 1)


def vit22b_size(patch, width, depth, mlp, heads):
    """No biases in norms, queries, keys and values; one norm a block; attention pooling."""
    attention = 4 * width**2 + width + 2 * (width // heads)
    mlp = 2 * width * mlp + mlp + width
    tokens = (224 // patch) ** 2
    ends = (patch**2 * 3 + 1) * width + tokens * width + width + (width + 1) * 1000
    pooling = 4 * width**2 + width + width + mlp + width  # probe, norm; no norms in its attention
    return ends + depth * (attention + mlp + width) + pooling


def hybrid_size(width, depth, mlp, stages, tokens):
    """A ViT whose patches are one pixel of a ResNet's maps."""
    resnet = 49 * 3 * 64 + 2 * 64
    channels = 64
    for stage, units in enumerate(stages):
        inner, out = 64 * 2**stage, 256 * 2**stage
        resnet += channels * out + 2 * out
        for unit in range(units):
            resnet += (channels if unit == 0 else out) * inner + 9 * inner**2 + inner * out
            resnet += 4 * inner + 2 * out
        channels = out
    return resnet + vit_size(1, width, depth, mlp, tokens, channels, 1000)


BY_ARITHMETIC = {
    **{
        f"CIFAR-ResNet-{depth}{suffix}": cifar_size(depth, suffix == "-projection")
        for depth in (20, 32, 44, 56, 110)
        for suffix in ("", "-projection", "-noshort")
    },
    **{
        f"ViT-{size}/{patch}": vit_size(patch, *sizes, (224 // patch) ** 2, 3, 1000)
        for size, sizes in SIZES.items()
        for patch in (8, 14, 16, 32)
    },
    **{f"PlainViT-{size}/16": plain_vit_size(*SIZES[size]) for size in ("Ti", "S", "B", "L")},
    **{
        f"ViT22B-{size}/16": vit22b_size(16, *SIZES[size], heads)
        for size, heads in (("Ti", 3), ("S", 6), ("B", 12), ("L", 16))
    },
    "ViT-22B/14": vit22b_size(14, 6144, 48, 24576, 48),
    "R50+ViT-S/32": hybrid_size(*SIZES["S"], (3, 4, 6, 3), 49),
    "R26+ViT-B/16": hybrid_size(*SIZES["B"], (2, 2, 4), 196),
    "R50+ViT-B/32": hybrid_size(*SIZES["B"], (3, 4, 6, 3), 49),
    "R26+ViT-L/32": hybrid_size(*SIZES["L"], (2, 2, 2, 2), 49),
    "ViT-Mini/2": vit_size(2, 48, 3, 96, 16, 1, 10),
    "Mixer-L/8": mixer_size(8, 1024, 24, 512, 4096, 784, 3, 1000),
    "Mixer-L/32": mixer_size(32, 1024, 24, 512, 4096, 49, 3, 1000),
    "Mixer-Mini/2": mixer_size(2, 48, 3, 32, 96, 16, 1, 10),
}


@pytest.mark.parametrize("name", sorted(set(names()) - {"ResNet-Mini"}))
def test_the_parameter_count_is_the_published_one(name):
    assert build(name).parameter_count() == {**BY_ARITHMETIC, **PUBLISHED}[name]


def test_the_arithmetic_agrees_with_published_counts():
    assert {name for name in PUBLISHED if name in BY_ARITHMETIC}
    for name in PUBLISHED.keys() & BY_ARITHMETIC.keys():
        assert BY_ARITHMETIC[name] == PUBLISHED[name]
    assert mixer_size(16, 768, 12, 384, 3072, 196, 3, 1000) == PUBLISHED["Mixer-B/16"]
    assert hybrid_size(*SIZES["B"], (3, 4, 9), 196) == PUBLISHED["R50+ViT-B/16"]


def test_the_blocks_of_vit_22b_have_21743_million_weights():
    blocks = build("ViT-22B/14").abstract()["Transformer"]
    kernels = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(blocks)
        if "encoderblock" in str(path) and "kernel" in str(path)
    ]
    assert sum(kernels) // 10**6 == 21_743


@pytest.mark.parametrize("name", ["ViT-S/16", "Mixer-S/16", "ViT_C-1GF"])
def test_two_shallow_networks_tell_the_costs_of_a_deep_one(name):
    model = build(name)
    assert model.parameter_count() == size(model.abstract())
    shape = jax.ShapeDtypeStruct((1, *model.image_shape), "float32")
    apply = partial(model.apply, state=model.init_state())
    assert model.flops() == count_flops(apply, model.abstract(), shape)


@pytest.mark.parametrize("model", [name for name in names() if "Mini" in name])
def test_the_mini_models_take_digits(model):
    model = build(model)
    assert (model.image_shape, model.classes) == ((8, 8, 1), 10)
    assert model.parameter_count() < 60_000
    # With a zero head the tangent kernel is that of the head's inputs: singular on the paper's
    # batches of 48 images if there are fewer of them.
    assert model.abstract()["head"]["kernel"].shape[0] >= 48


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("vit_b16", "ViT-B/16"),
        ("ViT-B_16", "ViT-B/16"),
        ("mixer s 32", "Mixer-S/32"),
        ("RESNET50X2", "ResNet-50x2"),
        ("vit-mini-2", "ViT-Mini/2"),
    ],
)
def test_case_and_punctuation_of_a_name_do_not_matter(spelling, name):
    assert build(spelling).name == name


def test_no_two_names_differ_only_in_punctuation():
    assert len({"".join(filter(str.isalnum, name.lower())) for name in names()}) == len(names())


def test_equal_requests_give_the_identical_object():
    assert build("ViT-B/16") is build("vit_b16", classes=1000, image_shape=[224, 224, 3])
    assert build("ViT-B/16") is not build("ViT-B/16", classes=10)


def test_an_unknown_name_is_answered_with_the_nearest_names():
    with pytest.raises(RequestError) as caught:
        build("ViT-B/17")
    message = str(caught.value)
    assert "'ViT-B/17'" in message
    assert "ViT-B/16" in message
    assert "analysis_cli.py models" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ({"name": "ViT-S/16", "image_shape": (100, 224, 3)}, "patch, 16 pixels, found 100x224"),
        ({"name": "Mixer-Mini/2", "image_shape": (8, 7, 1)}, "patch, 2 pixels, found 8x7"),
        ({"name": "ViT-S/16", "image_shape": "224"}, "image_shape: found '224'"),
        ({"name": "ViT-S/16", "image_shape": (224.9, 224, 3)}, "image_shape: found"),
        ({"name": "ViT-S/16", "image_shape": ("224", "224", "3")}, "image_shape: found"),
        ({"name": "ViT-S/16", "classes": True}, "classes: found True"),
        ({"name": "ViT-S/16", "classes": np.zeros((3, 3))}, "classes: found array"),
        ({"name": ["ViT-S/16"]}, "is not in the registry"),
        ({"name": "ViT-S/16", "dropout": "0.1"}, "dropout: found '0.1'"),
        ({"name": "ViT-S/16", "stochastic_depth": [0.1]}, "stochastic_depth: found \\[0.1\\]"),
        ({"name": "ResNet-50", "dropout": "none"}, "dropout: found 'none'"),
        ({"name": "ViT-S/16", "classifier": ["gap"]}, "classifier: found \\['gap'\\]"),
        ({"name": "ViT-S/16", "activation": {}}, "activation: found {}"),
        ({"name": "ViT-S/16", "head_init": ["zeros"]}, "head_init: found"),
        ({"name": "ViT-S/16", "dtype": ["bfloat16"]}, "dtype: found"),
        ({"name": "ViT-S/16", "representation": 0.0}, "representation: found 0.0"),
        ({"name": "ViT-S/16", "remat": "no"}, "remat: found 'no'"),
        ({"name": "ViT-S/16", "shape": 3}, "shape: found 3"),
        ({"name": "ViT-S/16", "shape": {"depth": 10**9}}, "give at most 1,000"),
        ({"name": "ResNet-50", "shape": {"units": (1, 1000)}}, "give at most 1,000"),
        ({"name": "ViT-S/16", "shape": []}, "shape: found \\[\\]"),
        ({"name": "ViT-S/16", "shape": {"depth": True}}, "depth is True"),
        ({"name": "ViT-S/16", "shape": {"depth": 2.0}}, "depth is 2.0"),
        ({"name": "ViT22B-S/16", "shape": {"block": "paralel"}}, "block: found 'paralel'"),
        ({"name": "CIFAR-ResNet-20", "shape": {"shortcut": "Pad"}}, "shortcut: found 'Pad'"),
        ({"name": "CIFAR-ResNet-20", "shape": {"style": "imagenet"}}, "style: found 'imagenet'"),
        ({"name": "CIFAR-ResNet-20", "shape": {"bottleneck": 1}}, "bottleneck is 1"),
        ({"name": "ResNet-50", "shape": {"units": 3}}, "units is 3"),
        ({"name": "ResNet-50", "shape": {"units": ()}}, "units is \\(\\)"),
        ({"name": "ResNet-50", "shape": {"units": (1, 0)}}, "units is \\(1, 0\\)"),
        ({"name": "R50+ViT-B/16", "shape": {"resnet": "34"}}, "resnet is '34'"),
        ({"name": "ViT_C-1GF", "shape": {"convolutions": (8, 2)}}, "convolutions is \\(8, 2\\)"),
        ({"name": "ViT_C-1GF", "shape": {"convolutions": ((8, 2, 1),)}}, "convolutions is"),
        (
            {"name": "ViT-S/16", "head": "masked_patches", "image_shape": (16, 16, 10**9)},
            "head: masked_patches .* found 1000000000",
        ),
        ({"name": "PlainViT-S/16", "shape": {"width": 6}}, "sincos2d .* found 6"),
        ({"name": "PlainViT-S/16", "shape": {"width": 4, "heads": 2}}, "sincos2d .* found 4"),
        ({"name": "ViT-S/16", "image_shape": (224, 224)}, "image_shape: found"),
        ({"name": "ViT-S/16", "image_shape": 224}, "image_shape: found 224"),
        ({"name": "ViT-S/16", "classes": 0}, "classes: found 0"),
        ({"name": "ViT-S/16", "activation": "swish"}, "activation: found 'swish'"),
        ({"name": "ViT-S/16", "dropout": 1.0}, "dropout: found 1.0"),
        ({"name": "ViT-S/16", "head_init": "ones"}, "head_init: found 'ones'"),
        ({"name": "ViT-S/16", "classifier": "mean"}, "classifier: found 'mean'"),
        ({"name": "ViT-S/16", "position_embedding": "sin"}, "position_embedding: found 'sin'"),
        ({"name": "ViT-S/16", "representation": -1}, "representation: found -1"),
        ({"name": "ViT-S/16", "head": "colours"}, "head: found 'colours'"),
        ({"name": "ViT-S/16", "dtype": "float16"}, "dtype: found 'float16'"),
        ({"name": "ViT-S/16", "shape": {"units": (1,)}}, "ViT-S/16 has no size 'units'"),
        ({"name": "ViT-S/16", "shape": {"depth": 0}}, "depth is 0"),
        ({"name": "ViT-S/16", "shape": {"heads": 5}}, "384 channels cannot be divided among 5"),
        ({"name": "R50+ViT-B/16", "image_shape": (40, 40, 3)}, "patch, 16 pixels, found 40x40"),
        ({"name": "Mixer-S/16", "classifier": "gap"}, "classifier: Mixer-S/16"),
        ({"name": "ResNet-50", "dropout": 0.1}, "dropout: ResNet-50 has none"),
        ({"name": "ResNet-50", "stochastic_depth": 0.1}, "stochastic_depth: ResNet-50 has none"),
    ],
)
def test_a_request_that_a_model_cannot_take_is_refused(request_, found):
    with pytest.raises(RequestError, match=found) as caught:
        build(**request_)
    assert "\n" not in str(caught.value)


def test_whole_numbers_of_numpy_are_taken():
    shape = [np.int64(32), np.int32(32), np.uint8(3)]
    model = build("ViT-S/16", classes=np.int64(7), image_shape=shape, shape={"depth": np.int64(2)})
    assert model is build("ViT-S/16", classes=7, image_shape=(32, 32, 3), shape={"depth": 2})
    json.dumps(model.request)


@pytest.mark.parametrize("name", names())
def test_the_request_of_a_network_survives_json_and_makes_the_same_network(name):
    model = build(name, classes=3)
    request = json.loads(json.dumps(model.request))
    assert checked_request(request) == request
    assert build(**checked_request(request)) is model


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("R50+ViT-B/16", {"resnet": (1, 1)}),
        ("ViT_C-1GF", {"convolutions": ((8, 4), (8, 4))}),
        ("ViT22B-S/16", {"block": "sequential"}),
        ("CIFAR-ResNet-20", {"bottleneck": True, "style": "torchvision", "units": (1,)}),
    ],
)
def test_changed_sizes_survive_json(name, shape):
    model = build(name, shape=shape)
    request = json.loads(json.dumps(model.request))
    assert checked_request(request) == request
    assert build(**request) is model


@pytest.mark.parametrize(
    ("hostile", "found"),
    [
        (None, "model: found None"),
        ([["name", "ViT-S/16"]], "model: found"),
        ("ViT-S/16", "model: found 'ViT-S/16'"),
        ({}, "its name is None"),
        ({"name": ["ViT-S/16"]}, "its name is"),
        ({"name": 16}, "its name is 16"),
        ({"name": "x" * 10**6}, "is not in the registry"),
        ({"name": "no\nname"}, "is not in the registry"),
        ({"name": "ViT-S/16", "self": 1}, "'self' is no argument"),
        ({"name": "ViT-S/16", "a\nb": 1}, "is no argument"),
        ({"name": "ViT-S/16", 5: 1}, "5 is no argument"),
    ],
)
def test_a_hostile_request_is_refused_in_one_line(hostile, found):
    with pytest.raises(RequestError, match=found) as caught:
        checked_request(hostile)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_checked_request_has_the_registrys_spelling():
    assert checked_request({"name": "vit_s16", "classes": 3}) == {"name": "ViT-S/16", "classes": 3}


def test_sizes_of_an_entry_can_be_changed():
    model = build("ViT-S/16", shape={"depth": 2, "width": 96, "mlp": 128})
    assert model.parameter_count() == vit_size(16, 96, 2, 128, 196, 3, 1000)
    assert model is build("ViT-S/16", shape={"mlp": 128, "width": 96, "depth": 2})


def test_small_images_get_the_small_stem():
    kernel = build("ResNet-50", image_shape=(32, 32, 3)).abstract()["conv_root"]["kernel"]
    assert kernel.shape == (3, 3, 3, 64)


def test_the_gap_classifier_has_no_class_token():
    model = build("ViT-B/16", classifier="gap")
    assert model.tokens == 196
    assert "cls" not in model.abstract()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ViT-B/16", 86_566_120),
        ("ViT-B/32", 88_222_696),
        ("ViT-S/16", 22_049_896),
        ("ViT-S/32", 22_878_184),
    ],
)
def test_counts_with_the_gap_classifier_are_the_published_ones(name, count):
    # models_test.py, "ViT-B_16-gap-norep" and its kin
    assert build(name, classifier="gap").parameter_count() == count


def test_names_are_listed_without_loading_jax():
    code = (
        "import sys; from landscape.models.registry import names; names();"
        "sys.exit(any(m in sys.modules for m in ('jax', 'flax', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
