"""Flax's msgpack files: as Flax writes them, and every wrong byte told."""

import flax.serialization
import ml_dtypes
import msgpack
import numpy as np
import optax
import pytest
from container_files import loaded, refused

from landscape.checkpoints.containers.msgpack import recognises


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a"


def refused_bytes(path, content, message):
    path.write_bytes(content)
    refused(path, message)


def array(shape=(1,), dtype="float32", values=bytes(4), code=1, more=b""):
    """A map with one array of which anything can be said."""
    content = msgpack.packb([shape, dtype, values]) + more
    return msgpack.packb({"a": msgpack.ExtType(code, content)})


def test_a_training_state_is_flattened_to_names(path):
    params = {"layer": {"kernel": np.ones((2, 3), "f"), "bias": np.zeros(3, ml_dtypes.bfloat16)}}
    state = {"params": params, "opt_state": optax.adam(0.1).init(params), "step": np.int32(5)}
    path.write_bytes(flax.serialization.to_bytes(state))
    found = loaded(path)
    moments = [f"opt_state/0/{m}/layer/{leaf}" for m in ("mu", "nu") for leaf in ("bias", "kernel")]
    assert {"params/layer/kernel", "step", "opt_state/0/count", *moments} <= found.keys()
    assert found["step"] == 5
    assert found["params/layer/bias"].dtype == ml_dtypes.bfloat16


def test_leaves_that_are_no_arrays_are_left_out(path):
    tree = {"n": 3, "x": -1.5, "none": None, "true": True, "c": 1j, "text": "t", "b": b"", "a": {}}
    tree |= {"big": 2**60, "list": [[1, {"deep": 2}], "x"], "w": np.ones(2)}
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    assert list(loaded(path)) == ["w"]


def test_arrays_in_pieces_are_put_together(path, monkeypatch):
    monkeypatch.setattr("flax.serialization.MAX_CHUNK_SIZE", 40)
    arrays = {"w": np.arange(24.0).reshape(4, 6), "small": np.ones(5)}
    path.write_bytes(flax.serialization.msgpack_serialize(arrays))
    assert b"chunked_array" in path.read_bytes()
    np.testing.assert_array_equal(loaded(path)["w"], arrays["w"])


def test_a_map_of_pieces_that_do_not_fit_is_told(path):
    for pieces in ({}, {"0": np.ones(3)}, {"0": np.ones(2), "1": np.ones(2, "f")}, {"1": 3}):
        tree = {"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": pieces}
        content = flax.serialization.msgpack_serialize({"a": tree})
        refused_bytes(path, content, "cannot be read")


@pytest.mark.parametrize("size", [3, 20, 70_000])
def test_maps_of_every_length_are_recognised(path, size):
    tree = {f"{i:x}": None for i in range(size)} | {"w": np.ones(2)}
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    assert recognises(path)
    assert list(loaded(path)) == ["w"]


@pytest.mark.parametrize(
    "content",
    [
        array(shape=(2,)),
        array(shape=(2**40, 2**40)),
        array(shape=(-1,)),
        array(shape=(1,) * 33),
        array(shape=("1",)),
        array(shape={0: 1}),
        array(dtype="float64"),
        array(dtype="object"),
        array(dtype="O"),
        array(dtype="<f4"),
        array(dtype=3),
        array(values="text"),
        array(values=[0, 0, 0, 0]),
        array(more=b"\xc0"),
        array() + b"\xc0",
        b"\x81\xa1a\xc1",
        b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\x81\xa1\xff\xc0",
        b"\x82\xa1a\xc0\x01\xc0",
    ],
)
def test_what_is_not_as_flax_writes_it_is_told(path, content):
    refused_bytes(path, content, "cannot be read")


def test_extensions_of_other_types_are_left_out(path):
    path.write_bytes(array(code=5))
    assert loaded(path) == {}


@pytest.mark.parametrize("name", ["", "..", "/a", "a\0b", "x" * 1001, "x" * 5000])
def test_names_that_are_paths_out_of_the_file_are_refused(path, name):
    refused_bytes(path, flax.serialization.msgpack_serialize({name: np.ones(1)}), "a name")


def test_two_arrays_of_one_name_are_refused(path):
    tree = {"a/b": np.ones(1), "a": {"b": np.ones(1)}}
    refused_bytes(path, flax.serialization.msgpack_serialize(tree), "appears twice")
    entry = array()[1:]
    refused_bytes(path, b"\x82" + entry + entry, "appears twice")


def test_deep_maps_are_refused(path):
    refused_bytes(path, b"\x81\xa1a" * 100_000 + b"\xc0", "nested more than 64 deep")


def test_other_files_are_not_taken_for_one(path):
    for content in (b"", b"\x80", b"\x81", b"\x81\x01", b"\x80\x02}.", b"\xde\x00", b"{}", b"\x93"):
        path.write_bytes(content)
        assert not recognises(path)
