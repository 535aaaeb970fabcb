"""``.npz`` files: what their headers say, and what is refused."""

import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest
from container_files import loaded, npz, refused

from landscape.checkpoints.containers.npz import opened, recognises


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a"


def saved(path, **arrays):
    npz(path, arrays)
    return path


def members(path, contents, packing=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def header(text, version=b"\x01\x00"):
    text = text.encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def test_two_bytes_without_a_type_are_bfloat16(path):
    values = np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3)
    saved(path, a=values.view("V2"), b=values[0, 1])
    found = loaded(path)
    assert found["a"].dtype == found["b"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found["a"], values)
    assert found["b"] == 1
    assert opened(path).arrays["a"].dtype == ml_dtypes.bfloat16


def test_order_of_bytes_and_of_axes_is_that_of_this_machine(path):
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    found = loaded(saved(path, a=values, b=np.asfortranarray(values.astype("f"))))
    assert found["a"].dtype.isnative
    np.testing.assert_array_equal(found["a"], values.astype("f"))
    np.testing.assert_array_equal(found["b"], values.astype("f"))


def test_text_and_dates_are_left_out(path):
    saved(path, a=np.ones(2), text=np.array("epoch 3"), day=np.array("2021-06-03", "M8[D]"))
    assert list(loaded(path)) == ["a"]


def test_python_objects_are_never_loaded(path):
    refused(saved(path, a=np.array([print], object)), "holds object, no numbers")
    refused(saved(path, a=np.zeros(2, [("x", "f"), ("y", "O")])), "no numbers")


def test_headers_of_python_2_are_read_without_a_warning(path):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }\n"
    members(path, {"a.npy": header(text) + np.ones(2, "f").tobytes()})
    with warnings.catch_warnings(record=True) as told:
        assert loaded(path)["a"].shape == (2, 1)
    assert not told


@pytest.mark.parametrize("shape", ["(3,)", "(1,)", "(-2,)", "(2, 1073741824, 1073741824)", "'2'"])
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_says_more_or_less_than_there_is_is_told(path, shape, packing):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"
    members(path, {"a.npy": header(text) + bytes(8)}, packing)
    refused(path, "cannot be read")


def test_expressions_in_a_header_are_not_evaluated(path, tmp_path):
    text = f"{{'descr': open({str(tmp_path / 'ran')!r}, 'w'), 'shape': (), }}\n"
    refused(members(path, {"a.npy": header(text)}), "cannot be read")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../a.npy", "a/../../b.npy", "/etc/a.npy", ".npy", "x" * 1001 + ".npy", "a\nb.npy"]
)
def test_names_that_are_paths_out_of_the_file_are_refused(path, name):
    with path.open("wb") as file:
        np.save(file, np.ones(1, "f"))
    content = path.read_bytes()
    refused(members(path, {"first.npy": content, name: content}), "a name")


def test_two_arrays_of_one_name_are_refused(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile
        with zipfile.ZipFile(path, "w") as archive:
            for _ in range(2):
                archive.writestr("a.npy", b"")
    refused(path, "one name")


def test_other_members_and_packings_are_refused(path):
    refused(members(path, {"a.npy": b"", "b.pkl": b""}), "cannot be read")
    refused(members(path, {"a.npy": b"x" * 99}, zipfile.ZIP_LZMA), "packed in a way")


def test_a_changed_value_is_noticed(path):
    saved(path, a=np.arange(100.0))
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    refused(path, "Bad CRC-32")


def test_other_archives_are_not_taken_for_one(path):
    assert not recognises(members(path, {"a/data.pkl": b"", "b.npy": b""}))
    assert not recognises(members(path, {}))
