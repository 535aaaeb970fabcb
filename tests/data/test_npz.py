import numpy as np
import pytest

from landscape.data.npz import read_npz
from landscape.errors import RequestError


def test_arrays_come_back_by_name(tmp_path):
    np.savez(
        tmp_path / "a.npz", **{"x": np.arange(6.0).reshape(2, 3), "y": np.ones(2, "u1")}
    )
    found = read_npz(tmp_path / "a.npz", ["x"], ["y"], "data")
    assert set(found) == {"x", "y"}
    np.testing.assert_array_equal(found["x"], np.arange(6.0).reshape(2, 3))


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([print], object))
    with pytest.raises(RequestError, match=r"not a complete \.npz of plain arrays"):
        read_npz(tmp_path / "a.npz", ["x"], ["y"], "data")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_truncated_files_are_told(tmp_path, part):
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=1000))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: int(part * len(content))])
    with pytest.raises(RequestError, match="write it with numpy.savez"):
        read_npz(tmp_path / "a.npz", ["x"], ["y"], "data")


def test_missing_files_and_single_arrays_are_told(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        read_npz(tmp_path / "none.npz", ["x"], ["y"], "data")
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(RequestError, match="not a zip file"):
        read_npz(tmp_path / "a.npy", ["x"], ["y"], "data")
