"""Files of arrays of every kind: recognised by content, described, then read."""

import os
import tracemalloc

import numpy as np
import pytest
from container_files import ARRAYS, WRITERS, safetensors_, same, torch_legacy

from landscape.checkpoints.containers import opened
from landscape.checkpoints.containers.container import MOST_ARRAYS, Described
from landscape.checkpoints.containers.npz import Npz
from landscape.errors import RequestError


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_recognised_by_its_content_and_read_as_it_was_written(tmp_path, write):
    path = tmp_path / "weights.misleading.h5"
    write(path, ARRAYS)
    container = opened(path)
    assert container.arrays == {n: Described(a.shape, a.dtype) for n, a in ARRAYS.items()}
    assert same(dict(container.read(container.arrays)), ARRAYS)


@pytest.mark.parametrize("write", WRITERS)
def test_arrays_are_read_by_name_in_any_order(tmp_path, write):
    write(tmp_path / "a", ARRAYS)
    container = opened(tmp_path / "a")
    wanted = ["count", "body/kernel"]
    assert [name for name, _ in container.read(wanted)] == wanted
    assert list(container.read([])) == []


@pytest.mark.parametrize("write", WRITERS)
def test_one_array_at_a_time_is_in_memory(tmp_path, write):
    write(tmp_path / "a", {str(i): np.full(10**6, i, "f") for i in range(8)})
    tracemalloc.start()
    container = opened(tmp_path / "a")
    _, opening = tracemalloc.get_traced_memory()
    for name, array in container.read(container.arrays):
        assert array[-1] == int(name)
        del array
    _, reading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opening < 1e6
    assert reading < 2.5 * 4e6  # the file has 32e6 bytes


@pytest.mark.parametrize("write", WRITERS)
def test_a_reading_that_is_given_up_leaves_no_file_open(tmp_path, write):
    write(tmp_path / "a", ARRAYS)
    container = opened(tmp_path / "a")
    reading = container.read(ARRAYS)
    next(reading)
    reading.close()
    del reading  # an open file would warn


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_changed_since_it_was_opened_is_told(tmp_path, write):
    write(tmp_path / "a", ARRAYS)
    container = opened(tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:100])
    with pytest.raises(RequestError, match="cannot be read"):
        list(container.read(ARRAYS))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"text", "is no checkpoint"), (b"\x80\x04N.", "is no checkpoint")],
)
def test_files_of_no_known_kind_are_told_what_is_read(tmp_path, content, message):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(RequestError, match=rf"a\.npz {message}; give a run folder, or NumPy \.npz"):
        opened(tmp_path / "a.npz")


def test_what_is_no_file_is_told(tmp_path):
    with pytest.raises(RequestError, match="there is no"):
        opened(tmp_path / "missing")
    with pytest.raises(RequestError, match="is no checkpoint"):
        opened(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    with pytest.raises(RequestError, match="is empty"):
        opened(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    torch_legacy(tmp_path / "a", ARRAYS)

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", forbidden)
    with pytest.raises(RequestError, match=r"cannot be read \(Permission denied\)"):
        opened(tmp_path / "a")


def test_more_arrays_than_any_network_has_are_refused(tmp_path):
    array = Described((), np.dtype("f"))
    with pytest.raises(RequestError, match="holds 100,001 arrays"):
        Npz(tmp_path, {str(i): array for i in range(MOST_ARRAYS + 1)})


def test_a_folder_with_a_file_that_is_read_is_told_to_name_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")  # as on Hugging Face
    safetensors_(tmp_path / "model.safetensors", ARRAYS)
    with pytest.raises(RequestError, match=r"name the file in it: .*/model\.safetensors"):
        opened(tmp_path)
