"""PyTorch's files without PyTorch: exact values, and nothing but values."""

import contextlib
import os
import zipfile

import numpy as np
import pytest
from torch_files import FORMATS, Storage, Tensor, state_dict, tensor, write

from landscape.checkpoints.torch_pickle import is_torch_file, load_state_dict
from landscape.errors import RequestError

ARRAYS = {
    "b.weight": np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype("f"),
    "a.bias": np.arange(5, dtype="f"),
    "a.count": np.array(7),
    "a.none": np.zeros((0, 3), "f"),
}
ONE = Storage(np.arange(6, dtype="f"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.th"


def refused(path, message):
    with pytest.raises(RequestError, match=message) as told:
        load_state_dict(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_come_back_as_they_were_and_in_order(path, form):
    write(path, state_dict(ARRAYS), form)
    assert is_torch_file(path)
    found = load_state_dict(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("form", FORMATS)
def test_a_state_dict_is_found_in_a_training_checkpoint(path, form):
    prefixed = state_dict({f"module.{name}": array for name, array in ARRAYS.items()})
    write(path, {"best": tensor(1.0, "9"), "epoch": 3, "state_dict": prefixed}, form)
    assert list(load_state_dict(path)) == list(ARRAYS)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["f", "d", "e", "l", "?"])
def test_every_kind_of_storage_keeps_its_values(path, form, dtype):
    values = np.array([0, 1, 1.5, -300]).astype(dtype)
    found = load_state_dict(write(path, state_dict({"a": values}), form))["a"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_bfloat16_is_the_upper_half_of_a_float32(path):
    upper = np.array([0x3F80, 0xC049, 0x0000, 0x7F80], np.uint16)
    found = load_state_dict(write(path, state_dict({"a": upper})))["a"]
    np.testing.assert_array_equal(found, np.array([1, -3.140625, 0, np.inf], "f"))


@pytest.mark.parametrize("form", FORMATS)
def test_strides_and_shared_storages_are_followed(path, form):
    tensors = {"turned": Tensor(ONE, (3, 2), (1, 3)), "end": Tensor(ONE, (2,), (2,), offset=3)}
    found = load_state_dict(write(path, tensors, form))
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["end"], [3, 5])


@pytest.mark.parametrize("form", FORMATS)
def test_code_in_a_file_does_not_run(path, form):
    marker = path.with_name("ran")

    class Harmful:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    write(path, {"a": tensor(1.0, "0"), "z": Harmful()}, form)
    refused(path, r"it wants to load \w+\.system")
    assert not marker.exists()


@pytest.mark.parametrize("state", [{"shape": (9,)}, (None, {"shape": (9,)}), (None, {"x": 1})])
def test_a_file_cannot_change_a_tensor_after_its_check(path, state):
    write(path, {"a": Tensor(ONE, (6,), (1,), state=state)})
    refused(path, "cannot be read")


def test_a_file_cannot_change_what_builds_tensors(path):
    set_attribute = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x01\x00\x00\x00xK\x01s\x86b."
    write(path, {}, body=set_attribute)
    refused(path, "no attribute 'x'")


@pytest.mark.parametrize(
    "said",
    [((7,), (1,), 0), ((6,), (1,), 1), ((2, 2), (1, 5), 0), ((6,), (-1,), 5), ((99, 6), (0, 1), 0),
     ((2**40, 2**40), (0, 0), 0), ((-1,), (1,), 0), ((1,) * 99, (1,) * 99, 0), ((2,), (1, 1), 0)],
)  # fmt: skip
def test_a_tensor_does_not_reach_beyond_its_storage(path, said):
    refused(write(path, {"a": Tensor(ONE, *said)}), "cannot be read")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [2, 7, 2**50, -1])
def test_a_storage_has_the_size_it_says(path, form, size):
    storage = Storage(ONE.values, size=size)
    refused(write(path, {"a": Tensor(storage, (2,), (1,))}, form), "cannot be read")


@pytest.mark.parametrize("form", FORMATS)
def test_no_part_of_a_file_is_taken_for_the_whole(path, form):
    whole = write(path, state_dict(ARRAYS), form).read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path, "get an undamaged copy")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_damage_of_any_kind_raises_nothing_else(path, form, seed):
    whole = write(path, state_dict(ARRAYS), form).read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(RequestError):  # some damage only changes values
            load_state_dict(path)


def test_a_short_file_cannot_ask_for_a_large_memo(path):
    write(path, {}, body=b"\x80\x02}r\xff\xff\xff\x7f.")
    refused(path, "remembers more objects")


def test_archives_are_not_unpacked(path):
    write(path, state_dict({"a": np.zeros(10**5, "f")}), "zip", zipped=zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_of_the_other_order_are_refused(path, form):
    refused(write(path, state_dict(ARRAYS), form, little_endian=False), "big-endian")


@pytest.mark.parametrize("content", [[], {}, {"epoch": 3}, {1: tensor(1.0, "0")}])
def test_a_file_without_a_state_dict_is_refused(path, content):
    refused(write(path, content), "no mapping of names to tensors")


def test_other_files_are_not_taken_for_one(path):
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    assert not is_torch_file(path.with_suffix(".npz"))
    path.write_bytes(b"")
    assert not is_torch_file(path)
