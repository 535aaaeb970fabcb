import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from landscape.data.npz import read_npz
from landscape.errors import OutOfMemory, RequestError


def test_arrays_come_back_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", **{"x": np.arange(6.0).reshape(2, 3), "y": np.ones(2, "u1")})
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
    with pytest.raises(RequestError, match=r"write it with numpy\.savez"):
        read_npz(tmp_path / "a.npz", ["x"], ["y"], "data")


def test_missing_files_and_single_arrays_are_told(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        read_npz(tmp_path / "none.npz", ["x"], ["y"], "data")
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(RequestError, match="not a zip file"):
        read_npz(tmp_path / "a.npy", ["x"], ["y"], "data")


def header(dtype, shape):
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def write(path, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)


def refusal(path):
    """The reason in the one line, for less than a megabyte."""
    tracemalloc.start()
    with pytest.raises(RequestError) as raised:
        read_npz(path, ["x"], ["y"], "data")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    assert str(raised.value).isprintable()
    return str(raised.value)


def test_ten_thousand_million_zeros_are_refused_before_memory_is_taken(tmp_path):
    zeros = bytes(10_000_000)
    path = tmp_path / "a.npz"
    write(path, ("x.npy", header("|u1", (10_000_000,)) + zeros))
    content = path.read_bytes()
    path.write_bytes(
        content.replace(*(n.to_bytes(4, "little") for n in (10_000_128, 4_000_000_000)))
    )
    assert "unpacks to more than" in refusal(path)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("|u1", (10**10,)), ("<f8", (10**9, 10**9)), ("|u1", (4,)), ("|u1", (0, 10**18))],
)
def test_arrays_longer_or_shorter_than_what_is_there_are_refused(tmp_path, dtype, shape):
    write(tmp_path / "a.npz", ("x.npy", header(dtype, shape) + bytes(3)))
    assert "not a complete .npz of plain arrays" in refusal(tmp_path / "a.npz")


def test_two_arrays_of_one_name_are_refused(tmp_path):
    array = header("|u1", (2,)) + bytes(2)
    with pytest.warns(UserWarning, match="Duplicate name"):
        write(tmp_path / "a.npz", ("x.npy", array), ("x.npy", array))
    assert "two of its arrays have one name" in refusal(tmp_path / "a.npz")


def test_other_ways_of_packing_are_refused(tmp_path):
    write(tmp_path / "a.npz", ("x.npy", header("|u1", (2,)) + bytes(2)), method=zipfile.ZIP_BZIP2)
    assert "packed in a way that NumPy does not write" in refusal(tmp_path / "a.npz")


def test_a_directory_of_many_members_is_refused_before_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in range(12_000):
            archive.writestr(f"{name:050}", b"")
    assert "has parts of" in refusal(tmp_path / "a.npz")


def test_what_is_not_asked_for_is_left_unread(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(3), z=np.array([print], object))
    assert read_npz(tmp_path / "a.npz", ["x"], ["y"], "data").keys() == {"x"}


def test_a_missing_array_is_named_among_what_is_there(tmp_path):
    write(tmp_path / "a.npz", ("z\n.npy", b""), ("w.npy", b""))
    assert "no array 'x' among z\\n, w; name the arrays x" in refusal(tmp_path / "a.npz")


def test_arrays_that_unpack_to_a_hundred_times_their_size_are_read(tmp_path):
    """As dSprites."""
    images = np.zeros((1000, 64, 64), np.uint8)
    images[np.arange(1000), 10:50, np.arange(1000) % 60] = 255
    np.savez_compressed(tmp_path / "a.npz", x=images)
    assert images.nbytes > 100 * (tmp_path / "a.npz").stat().st_size
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", ["x"], [], "data")["x"], images)


def test_arrays_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.ones(1000), z=np.ones(10_000))
    monkeypatch.setattr("landscape.data.npz.available_memory", lambda: 10_000)
    assert read_npz(tmp_path / "a.npz", ["x"], [], "data").keys() == {"x"}
    monkeypatch.setattr("landscape.data.npz.available_memory", lambda: 8000)
    with pytest.raises(OutOfMemory, match=r"its arrays need 8\.13e-06 GB, 8e-06 GB are free"):
        read_npz(tmp_path / "a.npz", ["x"], [], "data")
