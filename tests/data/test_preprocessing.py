"""From bytes to network inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.data.preprocessing import DEFAULT, PREPROCESSING, preprocess
from landscape.errors import RequestError

EVERY_BYTE = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3)


def test_default_maps_bytes_to_minus_one_to_one():
    inputs = np.asarray(preprocess(DEFAULT)(EVERY_BYTE))
    np.testing.assert_allclose(inputs, EVERY_BYTE / 127.5 - 1, atol=1e-7)


def test_imagenet_standardises_each_channel():
    inputs = np.asarray(preprocess("imagenet")(EVERY_BYTE))
    expected = (EVERY_BYTE / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_it_can_be_jitted_and_keeps_double_precision(name, x64):
    inputs = jax.jit(preprocess(name, jnp.float64))(EVERY_BYTE)
    assert inputs.dtype == jnp.float64
    np.testing.assert_allclose(inputs, preprocess(name)(EVERY_BYTE), atol=1e-6)


def test_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(RequestError, match="'caffe' is none of minus_one_to_one, zero_to_one"):
        preprocess("caffe")
