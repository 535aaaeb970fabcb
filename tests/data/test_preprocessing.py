"""From bytes to network inputs, and what each name stands for."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.data.preprocessing import DEFAULT, PREPROCESSING, get_preprocessing, preprocess
from landscape.errors import RequestError

EVERY_BYTE = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3)
IMAGENET = "mean 0.485, 0.456, 0.406; standard deviation 0.229, 0.224, 0.225"
PUBLISHED = {
    "big_vision": ("[-1, 1]", "shorter_side", 0.875, "area"),
    "vision_transformer": ("[-1, 1]", "squash", 1.0, "bilinear_without_antialias"),
    "timm_vit": ("[-1, 1]", "shorter_side", 0.9, "bicubic"),
    "timm_mixer": ("[-1, 1]", "shorter_side", 0.875, "bicubic"),
    "deit": (IMAGENET, "shorter_side", 0.875, "bicubic"),
    "torchvision": (IMAGENET, "shorter_side", 0.875, "bilinear"),
    "torchvision_v2": (IMAGENET, "shorter_side", 224 / 232, "bilinear"),
    "timm_resnet": (IMAGENET, "shorter_side", 0.95, "bicubic"),
}
SQUASHED, WHOLE = ("squash", 1.0, "bilinear_without_antialias"), ("shorter_side", 1.0, "bicubic")
BY_SIZE = {
    # timm: vit_*_224 and _384.augreg_in21k_ft_in1k, dinov2 at 518
    "timm_vit": {224: ("shorter_side", 0.9, "bicubic"), 384: WHOLE, 518: WHOLE},
    "timm_resnet": {224: ("shorter_side", 0.95, "bicubic"), 288: WHOLE},
    # facebookresearch/mae, util/datasets.py: the whole image above 224
    "deit": {
        192: ("shorter_side", 0.875, "bicubic"),
        224: ("shorter_side", 0.875, "bicubic"),
        225: WHOLE,
        384: WHOLE,
    },
    # torchvision's ViT_B_16, ViT_L_16 and ViT_H_14: IMAGENET1K_V1, then IMAGENET1K_SWAG_E2E_V1
    "torchvision": {
        224: ("shorter_side", 0.875, "bilinear"), 384: WHOLE, 512: WHOLE, 518: WHOLE,
    },
    "big_vision": {224: ("shorter_side", 0.875, "area"), 384: SQUASHED},
    "vision_transformer": {224: SQUASHED, 384: SQUASHED, 512: SQUASHED},
    "minus_one_to_one": {8: ("central_square", 1.0, "bilinear"),
                         384: ("central_square", 1.0, "bilinear")},
}  # fmt: skip
OWN = {"minus_one_to_one": "[-1, 1]", "zero_to_one": "[0, 1]", "imagenet": IMAGENET}


def test_default_maps_bytes_to_minus_one_to_one():
    inputs = np.asarray(preprocess(DEFAULT)(EVERY_BYTE))
    np.testing.assert_allclose(inputs, EVERY_BYTE / 127.5 - 1, atol=1e-7)


def test_imagenet_standardises_each_channel():
    inputs = np.asarray(preprocess("imagenet")(EVERY_BYTE))
    expected = (EVERY_BYTE / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)


def test_values_of_the_published_are_those_of_the_three():
    for name in ("big_vision", "vision_transformer", "timm_vit", "timm_mixer"):
        expected = preprocess("minus_one_to_one")(EVERY_BYTE)
        np.testing.assert_array_equal(preprocess(name)(EVERY_BYTE), expected)
    for name in ("deit", "torchvision", "torchvision_v2", "timm_resnet"):
        expected = preprocess("imagenet")(EVERY_BYTE)
        np.testing.assert_array_equal(preprocess(name)(EVERY_BYTE), expected)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_it_can_be_jitted_and_keeps_double_precision(name, x64):
    inputs = jax.jit(preprocess(name, jnp.float64))(EVERY_BYTE)
    assert inputs.dtype == jnp.float64
    np.testing.assert_allclose(inputs, preprocess(name)(EVERY_BYTE), atol=1e-6)


def test_each_is_described_as_published():
    own = {name: (values, "central_square", 1.0, "bilinear") for name, values in OWN.items()}
    described = {name: each.described() for name, each in PREPROCESSING.items()}
    assert {name: tuple(each.values()) for name, each in described.items()} == own | PUBLISHED
    for each in described.values():
        assert list(each) == ["values", "resize", "crop", "interpolation"]


def test_what_is_cropped_depends_on_the_size_as_each_publisher_has_it():
    for name, sizes in BY_SIZE.items():
        each = get_preprocessing(name)
        for size, expected in sizes.items():
            assert dataclasses.astuple(each.geometry_for(size)) == expected, (name, size)
            assert tuple(each.described(size).values())[1:] == expected
        assert each.geometry_for(None) == each.geometry  # nothing is resized


@pytest.mark.parametrize(
    ("name", "size", "shorter"),
    [("torchvision_v2", 224, 232), ("torchvision", 224, 256), ("timm_vit", 224, 248),
     ("timm_vit", 384, 384), ("big_vision", 224, 256)],
)  # fmt: skip
def test_the_shorter_side_becomes_as_long_as_published(name, size, shorter):
    assert math.floor(size / get_preprocessing(name).geometry_for(size).crop) == shorter


def test_grey_images_have_the_values_that_need_no_channels():
    grey = EVERY_BYTE[..., :1]
    np.testing.assert_allclose(preprocess("zero_to_one")(grey), grey / 255, atol=1e-7)
    with pytest.raises(RequestError, match="imagenet is for 3 channels, the images have 1"):
        preprocess("imagenet")(grey)


def test_unknown_name_is_refused_with_those_there_are():
    for lookup in (preprocess, get_preprocessing):
        with pytest.raises(RequestError, match="'caffe' is none of minus_one_to_one, zero_to_one"):
            lookup("caffe")
