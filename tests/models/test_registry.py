"""Names, sizes and requests, against the published parameter counts."""

import subprocess
import sys

import pytest

from landscape.errors import RequestError
from landscape.models.registry import build, names

# vision_transformer's models_test.py, and the model sizes of Chen et al. (arXiv:2106.01548).
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


BY_ARITHMETIC = {
    **{
        f"CIFAR-ResNet-{depth}{suffix}": cifar_size(depth, suffix == "-projection")
        for depth in (20, 32, 44, 56, 110)
        for suffix in ("", "-projection", "-noshort")
    },
    "ViT-Ti/32": vit_size(32, 192, 12, 768, 49, 3, 1000),
    "ViT-Mini/2": vit_size(2, 48, 3, 96, 16, 1, 10),
    "Mixer-L/8": mixer_size(8, 1024, 24, 512, 4096, 784, 3, 1000),
    "Mixer-L/32": mixer_size(32, 1024, 24, 512, 4096, 49, 3, 1000),
    "Mixer-Mini/2": mixer_size(2, 48, 3, 32, 96, 16, 1, 10),
}


@pytest.mark.parametrize("name", sorted(set(names()) - {"ResNet-Mini"}))
def test_the_parameter_count_is_the_published_one(name):
    assert build(name).parameter_count() == {**PUBLISHED, **BY_ARITHMETIC}[name]


def test_the_arithmetic_agrees_with_published_counts():
    assert vit_size(16, 768, 12, 3072, 196, 3, 1000) == PUBLISHED["ViT-B/16"]
    assert mixer_size(16, 768, 12, 384, 3072, 196, 3, 1000) == PUBLISHED["Mixer-B/16"]


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
        ({"name": "ViT-S/16", "image_shape": (224, 224)}, "image_shape: found"),
        ({"name": "ViT-S/16", "image_shape": 224}, "image_shape: found 224"),
        ({"name": "ViT-S/16", "classes": 0}, "classes: found 0"),
        ({"name": "ViT-S/16", "activation": "swish"}, "activation: found 'swish'"),
        ({"name": "ViT-S/16", "dropout": 1.0}, "dropout: found 1.0"),
        ({"name": "ViT-S/16", "head_init": "ones"}, "head_init: found 'ones'"),
        ({"name": "ViT-S/16", "classifier": "map"}, "classifier: found 'map'"),
        ({"name": "Mixer-S/16", "classifier": "gap"}, "classifier: Mixer-S/16"),
        ({"name": "ResNet-50", "dropout": 0.1}, "dropout: ResNet-50 has none"),
        ({"name": "ResNet-50", "stochastic_depth": 0.1}, "stochastic_depth: ResNet-50 has none"),
    ],
)
def test_a_request_that_a_model_cannot_take_is_refused(request_, found):
    with pytest.raises(RequestError, match=found) as caught:
        build(**request_)
    assert "\n" not in str(caught.value)


def test_small_images_get_the_small_stem():
    kernel = build("ResNet-50", image_shape=(32, 32, 3)).abstract()["conv_root"]["kernel"]
    assert kernel.shape == (3, 3, 3, 64)


def test_the_gap_classifier_has_no_class_token():
    model = build("ViT-B/16", classifier="gap")
    assert model.tokens == 196
    assert model.parameter_count() == 86_566_120  # models_test.py, "ViT-B_16-gap-norep"
    assert "cls" not in model.abstract()


def test_names_are_listed_without_loading_jax():
    code = (
        "import sys; from landscape.models.registry import names; names();"
        "sys.exit(any(m in sys.modules for m in ('jax', 'flax', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
