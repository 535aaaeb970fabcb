"""Squares of images: weights against integrals, sides and crops as each library cuts them."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from integrals import area_means
from PIL import Image, ImageOps

from landscape.data.resizing import (
    CENTRAL_SQUARE,
    Geometry,
    area_sums,
    bilinear_sums,
    resized,
)
from landscape.errors import RequestError

RNG = np.random.default_rng(0)
LENGTHS = [(1, 1), (1, 4), (5, 5), (8, 4), (5, 3), (3, 7), (7, 3), (341, 224)]
TENSORFLOW = ["area", "bilinear_without_antialias"]
PILLOW = ["bilinear", "bicubic"]
GEOMETRIES = [CENTRAL_SQUARE, Geometry("central_square", 0.7, "bicubic")] + [
    Geometry(resize, crop, interpolation)
    for resize in ("shorter_side", "squash")
    for crop in (1.0, 0.875)
    for interpolation in TENSORFLOW + PILLOW
]


def picture(height, width, channels=3):
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


def area_weights(inputs, outputs):
    return area_sums(np.eye(inputs, dtype=np.uint8), outputs, slice(0, outputs))


def bilinear_weights(inputs, outputs):
    return bilinear_sums(np.eye(inputs, dtype=np.uint8), outputs, slice(0, outputs))


@pytest.mark.parametrize(("inputs", "outputs"), LENGTHS)
def test_area_shares_out_every_input_pixel(inputs, outputs):
    weights = area_weights(inputs, outputs)
    assert weights.shape == (outputs, inputs)
    assert (weights.sum(1) == inputs).all()
    assert (weights.sum(0) == outputs).all()
    # A pixel in `outputs` pieces each, an output pixel of `inputs` pieces
    pieces = np.repeat(np.eye(inputs, dtype=int), outputs, axis=0)
    np.testing.assert_array_equal(weights, pieces.reshape(outputs, inputs, inputs).sum(1))


@pytest.mark.parametrize(("inputs", "outputs"), LENGTHS)
def test_bilinear_interpolates_between_the_centres_of_pixels(inputs, outputs):
    weights = bilinear_weights(inputs, outputs)
    assert (weights.sum(1) == 2 * outputs).all()
    values = RNG.normal(size=inputs)
    centres = (np.arange(outputs) + 0.5) * inputs / outputs - 0.5
    expected = np.interp(centres, np.arange(inputs), values)
    np.testing.assert_allclose(weights @ values / (2 * outputs), expected, atol=1e-12)


@pytest.mark.parametrize("sums", [area_sums, bilinear_sums])
@pytest.mark.parametrize(("inputs", "outputs"), LENGTHS)
def test_a_part_of_the_sums_is_a_part_of_all(sums, inputs, outputs):
    pixels = picture(inputs, 3)
    whole = sums(pixels, outputs, slice(0, outputs))
    for start in range(0, outputs, max(1, outputs // 5)):
        kept = slice(start, min(start + 3, outputs))
        np.testing.assert_array_equal(sums(pixels, outputs, kept), whole[kept])


def test_sums_of_many_white_pixels_do_not_overflow():
    pixels = np.full((65_535, 1), 255, np.uint8)
    assert area_sums(pixels, 1, slice(0, 1)).item() == 255 * 65_535
    twice = area_sums(area_sums(pixels, 1, slice(0, 1)).repeat(65_535, 0), 1, slice(0, 1))
    assert twice.item() == 255 * 65_535**2


def test_weights_by_hand():
    assert area_weights(4, 3).tolist() == [[3, 1, 0, 0], [0, 2, 2, 0], [0, 0, 1, 3]]
    assert area_weights(2, 3).tolist() == [[2, 0], [1, 1], [0, 2]]
    assert bilinear_weights(3, 2).tolist() == [[3, 1, 0], [0, 1, 3]]
    assert bilinear_weights(5, 1).tolist() == [[0, 0, 2, 0, 0]]
    for weights in (area_weights(6, 6) / 6, bilinear_weights(6, 6) / 12):
        np.testing.assert_array_equal(weights, np.eye(6))


def test_area_of_a_whole_factor_truncates_the_means_of_blocks():
    pixels = picture(12, 8)
    blocks = pixels.reshape(4, 3, 4, 2, 3).sum((1, 3)) // 6
    np.testing.assert_array_equal(resized(pixels, Geometry("squash", 1.0, "area"), 4), blocks)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (53, 37), (9, 9), (16, 61)])
def test_area_is_the_integral_over_every_pixel(height, width):
    pixels = picture(height, width)
    found = resized(pixels, Geometry("squash", 1.0, "area"), 16)
    rest = area_means(pixels, 16, 16) - found
    assert rest.min() > -1e-9
    assert rest.max() < 1


def test_bilinear_without_antialias_rounds_to_the_nearest():
    pixels = np.array([[[0], [3]]], np.uint8)
    found = resized(pixels, Geometry("squash", 1.0, "bilinear_without_antialias"), 4)
    assert found[0, :, 0].tolist() == [0, 1, 2, 3]  # 0, 0.75, 2.25, 3


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("shape", [(5, 9, 3), (31, 14, 3), (13, 13, 1), (300, 17, 1)])
def test_flat_images_of_any_shape_stay_flat(geometry, shape):
    for value in (0, 1, 254, 255):
        found = resized(np.full(shape, value, np.uint8), geometry, 10)
        assert found.shape == (10, 10, shape[-1])
        assert found.dtype == np.uint8
        assert (found == value).all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_images_and_arrays_give_the_same(geometry):
    for mode, channels in (("L", 1), ("RGB", 3)):
        pixels = picture(17, 23, channels)
        image = Image.fromarray(pixels.squeeze())
        assert image.mode == mode
        np.testing.assert_array_equal(resized(image, geometry, 8), resized(pixels, geometry, 8))


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.crop == 1])
def test_without_a_crop_an_image_of_the_wanted_size_stays_as_it_is(geometry):
    pixels = picture(7, 7)
    np.testing.assert_array_equal(resized(pixels, geometry, 7), pixels)
    np.testing.assert_array_equal(resized(Image.fromarray(pixels), geometry, 7), pixels)


@pytest.mark.parametrize(
    ("interpolation", "longer", "start"),
    [
        ("area", 12, 2),
        ("area", 14, 3),
        ("bilinear_without_antialias", 14, 3),
        ("bilinear", 12, 2),
        ("bilinear", 14, 4),
        ("bicubic", 13, 3),
    ],
)
def test_crop_starts_where_the_library_lets_it_start(interpolation, longer, start):
    """The shorter side, 8, is what 7 / 0.875 asks for: nothing is interpolated."""
    pixels = picture(8, longer)
    geometry = Geometry("shorter_side", 0.875, interpolation)
    np.testing.assert_array_equal(resized(pixels, geometry, 7), pixels[:7, start : start + 7])
    found = resized(pixels.swapaxes(0, 1), geometry, 7)
    np.testing.assert_array_equal(found, pixels.swapaxes(0, 1)[start : start + 7, :7])


def test_tensorflow_rounds_the_longer_side_and_torchvision_truncates_it():
    pixels = picture(30, 40)  # the longer side becomes 10.67
    found = resized(pixels, Geometry("shorter_side", 1.0, "area"), 8)
    rest = area_means(pixels, 8, 11)[:, 1:9] - found
    assert rest.min() > -1e-9
    assert rest.max() < 1
    whole = Image.fromarray(pixels).resize((10, 8), Image.Resampling.BICUBIC)
    found = resized(pixels, Geometry("shorter_side", 1.0, "bicubic"), 8)
    np.testing.assert_array_equal(found, whole.crop((1, 0, 9, 8)))


@pytest.mark.parametrize(
    ("size", "crop", "target"), [(224, 0.9, 248), (224, 0.875, 256), (224, 0.95, 235), (8, 1.0, 8)]
)
@pytest.mark.parametrize("interpolation", TENSORFLOW + PILLOW)
def test_resized_side_is_the_size_over_the_crop_rounded_down(size, crop, target, interpolation):
    pixels = picture(target, target, 1)
    margin = (target - size) / 2
    start = int(margin) if interpolation in TENSORFLOW else round(margin)
    kept = slice(start, start + size)
    for resize in ("shorter_side", "squash"):
        found = resized(pixels, Geometry(resize, crop, interpolation), size)
        np.testing.assert_array_equal(found, pixels[kept, kept])


@pytest.mark.parametrize(("height", "width"), [(4, 6), (9, 4), (37, 52), (11, 11)])
def test_central_square_is_the_fit_of_pillow(height, width):
    image = Image.fromarray(picture(height, width))
    expected = ImageOps.fit(image, (8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized(image, CENTRAL_SQUARE, 8), expected)


def test_central_square_can_be_a_part_of_the_shorter_side():
    pixels = picture(8, 10)
    found = resized(pixels, Geometry("central_square", 0.5, "bilinear"), 4)
    np.testing.assert_array_equal(found, pixels[2:6, 3:7])


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("shape", [(1, 400, 3), (400, 1, 3), (1, 60_000, 3), (60_000, 1, 1)])
def test_memory_does_not_grow_with_the_ratio_of_the_sides(geometry, shape):
    pixels = np.full(shape, 7, np.uint8)
    with peak_memory() as peak:
        found = resized(pixels, geometry, 224)
    assert (found == 7).all()
    assert found.shape == (224, 224, shape[-1])
    assert peak() < 20e6


@contextmanager
def peak_memory():
    """Bytes of Python's and NumPy's objects, and of Pillow's images."""
    made = []
    new = Image.Image._new
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Image.Image, "_new", lambda self, core: made.append(core.size) or new(self, core)
        )
        tracemalloc.start()
        try:
            yield lambda: peak
        finally:
            pixels = max((width * height for width, height in made), default=0)
            peak = tracemalloc.get_traced_memory()[1] + 4 * pixels
            tracemalloc.stop()


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize("turned", [False, True])
def test_long_images_are_cut_before_they_are_resized_to_the_same(
    interpolation, turned, monkeypatch
):
    """Of exact positions (1:400 at 256) to the bit; of others within Pillow's float32."""
    for shape, size, crop in (((1, 400), 224, 0.875), ((3, 500), 32, 0.9), ((5, 333), 40, 1.0)):
        pixels = picture(*shape)
        pixels = pixels.swapaxes(0, 1) if turned else pixels
        geometry = Geometry("shorter_side", crop, interpolation)
        monkeypatch.setattr("landscape.data.resizing._WHOLE", 2**60)
        whole = resized(pixels, geometry, size).astype(int)
        monkeypatch.setattr("landscape.data.resizing._WHOLE", 0)
        cut = resized(pixels, geometry, size).astype(int)
        assert abs(cut - whole).max() <= (0 if shape == (1, 400) else 1)
        assert (cut != whole).mean() < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("longer_side", 1.0, "area"), "resize 'longer_side' is none of shorter_side, squash"),
        (("squash", 1.0, "lanczos"), "interpolation 'lanczos' is none of area"),
        (("squash", 0.0, "area"), "crop 0.0; give a fraction"),
        (("squash", 87.5, "area"), "crop 87.5; give a fraction"),
        (("central_square", 1.0, "area"), "no area of a central square; use bilinear, bicubic"),
    ],
)
def test_geometry_that_does_not_exist_is_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        Geometry(*arguments)
