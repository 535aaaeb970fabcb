import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import devices
from landscape.errors import RequestError


def test_a_mesh_has_as_many_devices_as_asked_for():
    assert devices.data_mesh().size == 8
    assert devices.data_mesh(3).axis_names == ("data",)
    assert devices.data_mesh(np.int64(3)).size == 3
    with pytest.raises(RequestError, match="9 asked for, 8 available"):
        devices.data_mesh(9)


def test_arrays_are_split_or_replicated():
    mesh = devices.data_mesh(4)
    array = devices.place({"x": np.arange(8.0, dtype="f")}, devices.split(mesh))["x"]
    assert [s.data.shape for s in array.addressable_shards] == [(2,)] * 4
    whole = devices.place(np.arange(8.0, dtype="f"), devices.replicated(mesh))
    assert [s.data.shape for s in whole.addressable_shards] == [(8,)] * 4


def test_the_memory_of_a_program_is_known_before_it_runs(monkeypatch):
    program = jax.jit(lambda x: jnp.sum(jnp.sin(jnp.outer(x, x)) @ jnp.cos(jnp.outer(x, x))))
    compiled = devices.compile_within_memory(program, jnp.ones(100), what="test", examples=4)
    assert devices.required_memory(compiled) >= 100 * 100 * 4
    monkeypatch.setattr(devices, "available_memory", lambda: 50_000)
    with pytest.raises(RequestError, match=r"test of 4 examples .* --batch-size 1 or less"):
        devices.compile_within_memory(program, jnp.ones(100), what="test", examples=4)


def test_free_memory_of_a_cpu_is_that_of_the_host():
    free = devices.available_memory()
    assert free is None or free > 2**20


def test_a_cache_folder_of_the_user_is_respected(monkeypatch, tmp_path):
    set_to = []
    monkeypatch.setattr(jax.config, "update", lambda *pair: set_to.append(pair))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    devices.use_compilation_cache()
    assert set_to == []
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.delenv("LANDSCAPE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    devices.use_compilation_cache()
    assert ("jax_compilation_cache_dir", str(tmp_path / "landscape" / "jax")) in set_to


def test_a_single_process_joins_nobody(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda: pytest.fail("joined"))
    devices.start_processes()
