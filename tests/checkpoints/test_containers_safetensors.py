"""``.safetensors`` files: read and written by their own library, within limits."""

import json

import ml_dtypes
import numpy as np
import pytest
from container_files import ARRAYS, loaded, refused, safetensors_header, same
from safetensors import safe_open

from landscape.checkpoints.containers.safetensors import recognises, written
from landscape.errors import RequestError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a"


def entry(shape=(1,), offsets=(0, 4), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "?", "c8", ml_dtypes.bfloat16]
)
def test_every_dtype_keeps_its_values(path, dtype):
    arrays = {"a": np.array([[0, 1, 1.5]]).astype(dtype), "b": np.array(1).astype(dtype)}
    written(path, arrays, {})
    assert same(loaded(path), arrays)


def test_what_is_written_has_its_metadata_and_needs_no_order_in_memory(path):
    arrays = {"turned": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">i4")}
    written(path, arrays, {"source": "a.npz"})
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"source": "a.npz"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(path):
    with pytest.raises(RequestError, match="cannot be written"):
        written(path, {"a": np.ones(1, "c16")}, {})
    assert not list(path.parent.iterdir())
    path.write_bytes(b"a file where a folder should be")
    with pytest.raises(RequestError, match="cannot be written"):
        written(path / "below", ARRAYS, {})


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(shape=(2,))},
        {"a": entry(shape=(2**62, 2**62))},
        {"a": entry(offsets=(0, 8))},
        {"a": entry(offsets=(4, 0))},
        {"a": entry(offsets=(0, 4)), "b": entry(offsets=(2, 6))},
        {"a": entry(dtype="F128")},
        {"a": entry(shape=(-1,))},
        {"a": entry(shape=(1,) * 33)},
    ],
)
def test_claims_that_do_not_fit_the_values_are_told(path, header):
    refused(safetensors_header(path, json.dumps(header), bytes(4)), "cannot be read")


def test_a_dtype_that_numpy_lacks_is_named(path):
    header = {"a": entry(shape=(4,), dtype="F8_E4M3")}
    refused(safetensors_header(path, json.dumps(header), bytes(4)), "'a' is of dtype F8_E4M3")


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a\\u0000b", "x" * 1001])
def test_names_that_are_paths_out_of_the_file_are_refused(path, name):
    refused(safetensors_header(path, f'{{"{name}": {json.dumps(entry())}}}', bytes(4)), "a name")


def test_two_arrays_of_one_name_are_refused(path):
    twice = f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}'
    refused(safetensors_header(path, twice, bytes(4)), "a name appears twice")


def test_a_long_header_is_refused_by_its_length(path):
    path.write_bytes((8 * 2**20 + 1).to_bytes(8, "little") + b"{}")
    refused(path, "its header has 8,388,609 bytes")


def test_other_files_are_not_taken_for_one(path):
    for content in (b"", b"\x02", b"not such {", b"\x02" + bytes(7) + b"[]"):
        path.write_bytes(content)
        assert not recognises(path)
