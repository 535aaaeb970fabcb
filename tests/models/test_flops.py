"""Counting floating-point operations."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from landscape.models.flops import count_flops
from landscape.models.registry import build


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_a_matrix_product_counts_two_per_multiply_add():
    assert count_flops(jnp.matmul, shape(3, 4), shape(4, 5)) == 2 * 3 * 4 * 5


def test_batched_and_nested_products_count_fully():
    inner = jax.jit(lambda a, b: jnp.einsum("bij,bjk->bik", a, b))
    assert count_flops(inner, shape(7, 3, 4), shape(7, 4, 5)) == 2 * 7 * 3 * 4 * 5


def test_a_convolution_counts_its_kernel_at_every_output():
    def convolve(x, k):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=dimensions)

    flops = count_flops(convolve, shape(2, 8, 8, 3), shape(3, 3, 3, 5))
    assert flops == 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)


def test_vit_b16_agrees_with_arithmetic():
    width, mlp, tokens = 768, 3072, 197
    block = tokens * (4 * width**2 + 2 * width * mlp) + 2 * tokens**2 * width
    total = 12 * block + 196 * 768 * width + width * 1000
    assert build("ViT-B/16").flops() == 2 * total


@pytest.mark.parametrize(("name", "giga"), [("ResNet-50", 4.09), ("Mixer-B/16", 12.6)])
def test_multiply_adds_are_the_published_ones(name, giga):
    """The published numbers: torchvision's table for ResNet-50, timm's for the Mixer."""
    assert build(name).flops() / 2e9 == pytest.approx(giga, rel=0.005)
