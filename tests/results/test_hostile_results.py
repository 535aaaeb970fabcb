"""Generated result files and journals, damaged and made up: read, or refused in one line."""

import json
import shutil
import struct
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile import CASES, MARK, asked, each, only_within
from hypothesis import strategies as st

from landscape import results
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.surface import read_directions, read_surface
from landscape.surface.li_files import read_li_directions, read_li_surface

ORIGIN = {
    "command": "test", "versions": {"jax": "1"}, "metrics": ["train_loss"], "cosine": 0.5,
    "markers": {"a": [0.1, 0.2]}, "confidence": 0.9, "note": "text",
}  # fmt: skip
LIKE = {"k": jnp.zeros(5)}


def opened(path, origin=ORIGIN):
    return results.ResultFile(
        path, "surface", request={"seed": 0, "blocks": {"a": ["b"]}}, done=(3, 4), origin=origin,
        fields={"train_loss": results.Field((3, 4), dims=("ycoordinates", "xcoordinates")),
                "interpolated": results.Field((3, 4), "u1")},
        constants={"xcoordinates": np.arange(4.0), "ycoordinates": np.arange(3.0),
                   "names": ["a", "λ"], "directions/x/k": np.ones(5)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a result file, which one name makes longer."""
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    with opened(path) as file:
        file.write((0, 1), train_loss=2.5)
    return path.read_bytes()


def told(call):
    """What it returns; None where it is refused in one line."""
    try:
        return call()
    except RequestError as error:
        line = str(error)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    assert MARK not in line
    return None


def goes_nowhere_else(path):
    """Whatever a file holds, reading it and going on with it end well or in one line."""
    with only_within(path.parent, jax.config.jax_compilation_cache_dir):
        stored = told(lambda: results.read(path))
        told(lambda: results.read(path, "surface", without=["directions"]))
        told(lambda: read_surface(path))
        told(lambda: read_directions(path, LIKE))
        told(lambda: read_li_surface(path))
        told(lambda: read_li_directions(path, LIKE))
        file = told(lambda: opened(path))
        if file is not None:
            with file:
                told(lambda: file.write((2, 3), train_loss=1.0, interpolated=1))
    assert not list(path.parent.glob(".*"))
    return stored


PLACES = st.one_of(st.integers(0, 2**16), st.integers(0, 7000), st.integers(0, 900))
LENGTHS = st.sampled_from([0, 1, 2**16, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, 96, 20_000])
CHANGES = st.one_of(
    st.tuples(st.just("bit"), PLACES, st.integers(0, 7)),
    st.tuples(st.just("byte"), PLACES, st.integers(0, 255)),
    st.tuples(st.just("number"), PLACES, st.one_of(LENGTHS, st.integers(0, 2**15))),
    st.tuples(st.just("cut"), PLACES, st.just(0)),
    st.tuples(st.just("copy"), PLACES, PLACES),
)


def changed(content, changes):
    raw = bytearray(content)
    for kind, place, value in changes:
        place %= len(raw)
        if kind == "bit":
            raw[place] ^= 1 << value
        elif kind == "byte":
            raw[place] = value
        elif kind == "number":
            raw[place : place + 8] = struct.pack("<Q", value)
        elif kind == "cut":
            del raw[max(place, 1) :]
        else:
            raw[place : place + 64] = raw[value % len(raw) :][:64]
    return bytes(raw)


@CASES
def test_damaged_result_files_are_read_or_refused(times, whole, tmp_path):
    path = tmp_path / "r" / "s.h5"
    path.parent.mkdir()

    def check(changes):
        path.write_bytes(changed(whole, changes))
        goes_nowhere_else(path)

    each(st.lists(CHANGES, min_size=1, max_size=8), 250 * times, check)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=6,
)  # fmt: skip
RAW = st.one_of(
    JSON.map(json.dumps),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
    st.sampled_from(["[" * 9_000, '{"a":' * 5_000, "[", "{}", "NaN", "", "1" * 5000]),
    st.floats(),
    st.integers(-(2**60), 2**60),
    st.sampled_from([np.ones(3), np.zeros((2, 2), "i4"), np.bool_(True), h5py.Empty("f8"),
                     np.array(["a"], object), np.complex128(1), np.float16(1), b"\xff"]),
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "kind",
        "schema",
        "request",
        "json",
        "metrics",
        "cosine",
        "markers",
        "explained",
        "length_x",
        "note",
        "resumed_with",
    ]
)


@CASES
def test_attributes_of_any_type_are_read_or_refused(times, whole, tmp_path):
    path = tmp_path / "r" / "s.h5"
    path.parent.mkdir()

    def check(attributes):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            for name, value in attributes.items():
                file.attrs[name] = value
        goes_nowhere_else(path)

    each(st.dictionaries(NAMES, RAW, min_size=1, max_size=3), 90 * times, check)


SECRET = "secret.bin"


def _external(file, name):
    file.create_dataset(name, (3, 4), "f8", external=[(SECRET, 0, h5py.h5f.UNLIMITED)])


def _virtual(file, name):
    layout = h5py.VirtualLayout((3, 4), "f8")
    layout[...] = h5py.VirtualSource("secret.h5", "x", (3, 4))
    file.create_virtual_dataset(name, layout)


def _bomb(file, name):
    file.create_dataset(name, (10**7, 10**7), "f8")


def _chunked_bomb(file, name):
    file.create_dataset(name, (10**7, 10**7), "f8", chunks=(10, 10), compression="gzip")


def _same_text(file, name):
    file.create_dataset(name, data=np.array(["x" * 30_000] * 3, object), dtype=h5py.string_dtype())


ADDED = {
    "external": _external,
    "virtual": _virtual,
    "bomb": _bomb,
    "chunked": _chunked_bomb,
    "text": _same_text,
    "soft": lambda file, name: file.__setitem__(name, h5py.SoftLink("/xcoordinates")),
    "nowhere": lambda file, name: file.__setitem__(name, h5py.SoftLink("/none")),
    "another": lambda file, name: file.__setitem__(name, h5py.ExternalLink("secret.h5", "x")),
    "twice": lambda file, name: file.__setitem__(name, file["ycoordinates"]),
    "cycle": lambda file, name: file.create_group(name).__setitem__("a", file["/"]),
    "reference": lambda file, name: file.create_dataset(name, data=file.ref, dtype=h5py.ref_dtype),
    "empty": lambda file, name: file.__setitem__(name, h5py.Empty("f8")),
    "compound": lambda file, name: file.__setitem__(name, np.zeros(3, "i4,f8")),
    "numbers": lambda file, name: file.__setitem__(name, np.ones(2)),
    "wide": lambda file, name: file.__setitem__(name, np.ones((3, 4), ">f4")),
    "scalar": lambda file, name: file.__setitem__(name, 1.0),
    "words": lambda file, name: file.__setitem__(name, np.array([b"a", b"\xff"])),
}


@CASES
def test_datasets_that_are_not_what_they_should_be_are_read_or_refused(times, whole, tmp_path):
    """Other files are never read, nor written into, and no memory is taken for what is declared."""
    folder = tmp_path / "r"
    folder.mkdir()
    (tmp_path / SECRET).write_bytes(MARK.encode() * 10)
    (folder / SECRET).write_bytes(MARK.encode() * 10)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["x"] = np.full((3, 4), 42.0)
    path = folder / "s.h5"
    kept = [(place, place.read_bytes()) for place in folder.iterdir()]
    names = st.sampled_from(["train_loss", "done", "interpolated", "xcoordinates", "path/x",
                             "directions/x/k", "more", "attributes/later"])  # fmt: skip

    def check(case):
        name, what = case
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            if name in file:
                del file[name]
            ADDED[what](file, name)
        stored = goes_nowhere_else(path)
        assert stored is None or 42.0 not in stored.data.get(name, ())
        assert [(place, place.read_bytes()) for place, _ in kept] == kept

    each(st.tuples(names, st.sampled_from(sorted(ADDED))), 80 * times, check)


@pytest.mark.parametrize("what", ["external", "virtual", "another", "soft", "cycle", "bomb",
                                  "chunked", "reference"])  # fmt: skip
def test_what_is_not_in_the_file_is_refused(whole, tmp_path, what):
    path = tmp_path / "s.h5"
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        ADDED[what](file, "more")
    with pytest.raises(RequestError, match=r"s\.h5 is not a readable HDF5 file, or not one of l"):
        results.read(path)


def test_every_hard_link_to_one_heap_is_not_read_as_text_of_its_own(tmp_path):
    """3,000 names that all are the same megabyte would be 3 GB."""
    path = tmp_path / "s.h5"
    with opened(path, {**ORIGIN, "long": "x"}) as file:
        pass
    with h5py.File(path, "r+") as file:
        file.create_dataset("t", data=np.array(["x" * 10**6] + ["y"] * 2999, object),
                            dtype=h5py.string_dtype())  # fmt: skip
        place = file["t"].id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[place : place + 48_000] = raw[place : place + 16] * 3000
    path.write_bytes(raw)
    with pytest.raises(RequestError, match="text is longer than the file"):
        results.read(path)


@CASES
def test_journals_of_any_content_are_gone_on_with_or_refused(times, tmp_path):
    request = {"seed": 0, "data": {"hash": "a"}}
    kept, folder = tmp_path / "kept", tmp_path / "r" / "j"
    journal = Journal.of_request(kept, request).part("whole")
    journal.save({"step": 1, "values": [0.5]}, ["v-1"], lambda _: {"k": jnp.ones(5)})
    folder.parent.mkdir()
    files = ["request.json", "whole/state.json", "whole/v-1.npz"]
    raw = {name: (kept / name).read_bytes() for name in files}
    elsewhere = b'{"scalars": {"step": 9}, "vectors": ["../../x"]}'
    contents = st.one_of(
        st.lists(CHANGES, min_size=1, max_size=3),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.binary(max_size=30),
        st.sampled_from([None, b"", b"{}", b"[]", b"null", b"[" * 9_000, b"\xff", elsewhere]),
    )

    def check(case):
        name, content = case
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)
        content = changed(raw[name], content) if isinstance(content, list) else content
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)

        def go_on():
            found = Journal.of_request(folder, request).part("whole")
            scalars = found.load()
            if scalars is not None:
                found.vector("v-1", LIKE)
            return scalars

        with only_within(folder.parent, jax.config.jax_compilation_cache_dir):
            scalars = told(go_on)
        # What is gone on with is what was kept, or nothing.
        assert scalars in (None, {"step": 1, "values": [0.5]})

    each(st.tuples(st.sampled_from(files), contents), 75 * times, check)


@CASES
def test_commands_that_read_result_files_end_in_one_line(times, whole, tmp_path, capsys):
    path = tmp_path / "s.h5"

    def check(changes):
        path.write_bytes(changed(whole, changes))
        asked(["surface", "--draw", path, "--export", tmp_path / "s.csv"], capsys, tmp_path)
        (tmp_path / "s.csv").unlink(missing_ok=True)

    each(st.lists(CHANGES, min_size=1, max_size=4), 5 * times, check)


def test_a_vector_that_is_a_bomb_is_refused(tmp_path):
    journal = Journal(tmp_path)
    journal.save({"step": 1}, ["v-1"], lambda _: {"k": jnp.ones(5)})
    header = b"\x93NUMPY\x01\x00v\x00" + repr(
        {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
    ).encode().ljust(117) + b"\n"  # fmt: skip
    with zipfile.ZipFile(tmp_path / "v-1.npz", "w") as archive:
        archive.writestr("0.npy", header)
    with pytest.raises(RequestError, match=r"is damaged \(v-1.npz\); delete that folder to start"):
        journal.vector("v-1", LIKE)
