"""Five hundred photographs of ImageNet through every preprocessing."""

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from integrals import area_means
from PIL import Image

from landscape.data.preprocessing import PREPROCESSING
from landscape.data.resizing import resized

ARCHIVE = Path(__file__).parents[2].parent / "shared/data/imagenet-samples.zip"
SIZE = 224
# Of black, of white, and of ImageNet's mean colour
MINUS_ONE_TO_ONE = (-1, -1, -1), (1, 1, 1), (-0.03, -0.09, -0.19)
STANDARDISED = (-2.1179, -2.0357, -1.8044), (2.2489, 2.4286, 2.64), (0, 0, 0)
EXPECTED = {  # of the others, minus one to one
    "zero_to_one": ((0, 0, 0), (1, 1, 1), (0.485, 0.456, 0.406)),
    **dict.fromkeys(
        ("imagenet", "deit", "torchvision", "torchvision_v2", "timm_resnet"), STANDARDISED
    ),
}

pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"there is no {ARCHIVE.name}")


@pytest.fixture(scope="module")
def photographs():
    with zipfile.ZipFile(ARCHIVE) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith(".JPEG")]


def decoded(photograph):
    return Image.open(io.BytesIO(photograph)).convert("RGB")


def _planes(preprocessing, square):
    return preprocessing.values(square).reshape(-1, 3).T


def test_every_photograph_through_every_preprocessing(photographs):
    """Bytes of the right shape; values that span their range, with the mean of photographs."""

    jitted = {name: jax.jit(partial(_planes, each)) for name, each in PREPROCESSING.items()}
    geometries = {each.geometry for each in PREPROCESSING.values()}

    def through_every(photograph):
        image = decoded(photograph)
        squares = {geometry: resized(image, geometry, SIZE) for geometry in geometries}
        for square in squares.values():
            assert square.shape == (SIZE, SIZE, 3)
            assert square.dtype == np.uint8
        values = [
            np.asarray(jitted[name](squares[each.geometry])) for name, each in PREPROCESSING.items()
        ]
        return [(x.min(1), x.max(1), x.mean(1)) for x in values]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        every = np.array(list(pool.map(through_every, photographs)))
    assert every.shape == (500, len(PREPROCESSING), 3, 3)
    for index, name in enumerate(PREPROCESSING):
        low, high, typical = EXPECTED.get(name, MINUS_ONE_TO_ONE)
        lowest, highest, means = every[:, index].swapaxes(0, 1)
        # Among 500 photographs some have black, some have white
        np.testing.assert_allclose(lowest.min(0), low, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(highest.max(0), high, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(means.mean(0), typical, atol=0.1, err_msg=name)


@pytest.mark.parametrize("index", [0, 123, 250, 499])
def test_area_of_a_photograph_is_its_integral(photographs, index):
    image = decoded(photographs[index])
    found = resized(image, PREPROCESSING["big_vision"].geometry, 98)  # shorter side 112
    height, width = (round(112 * length / min(image.size)) for length in image.size[::-1])
    top, left = (height - 98) // 2, (width - 98) // 2
    whole = area_means(np.asarray(image), height, width)
    rest = whole[top : top + 98, left : left + 98] - found
    assert rest.min() > -1e-9
    assert rest.max() < 1


@pytest.mark.parametrize("index", [0, 123, 250, 499])
@pytest.mark.parametrize(
    ("name", "shorter", "method"),
    [
        ("torchvision", 256, Image.Resampling.BILINEAR),
        ("timm_mixer", 256, Image.Resampling.BICUBIC),
        ("deit", 256, Image.Resampling.BICUBIC),
        ("timm_vit", 248, Image.Resampling.BICUBIC),
        ("timm_resnet", 235, Image.Resampling.BICUBIC),
    ],
)
def test_photograph_is_scaled_and_cut_as_torchvision_does(
    photographs, index, name, shorter, method
):
    image = decoded(photographs[index])
    longer = shorter * max(image.size) // min(image.size)
    upright = image.height > image.width
    scaled = image.resize((shorter, longer) if upright else (longer, shorter), method)
    left, top = (round((length - SIZE) / 2) for length in scaled.size)
    expected = scaled.crop((left, top, left + SIZE, top + SIZE))
    found = resized(image, PREPROCESSING[name].geometry, SIZE)
    np.testing.assert_array_equal(found, expected)
