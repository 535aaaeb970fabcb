import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from landscape import results
from landscape.errors import OtherVersion, RequestError
from landscape.results import hdf5, records, result_file

FIELDS = {"loss": results.Field((2, 3), dims=("y", "x"))}
CONSTANTS = {"x": np.arange(3.0), "y": np.arange(2.0), "names": ["a", "λ"], "d/k": np.ones(4)}


ORIGIN = {
    "command": "test", "data": {"hash": "abc"}, "x64": True, "examples": 7,
    "versions": {"jax": "0.10.2"}, "device": "1 x cpu (cpu)",
    "backend": {"flags": [], "verdict": "passed", "by": "quick check"},
}  # fmt: skip


def make(path, *, origin=ORIGIN, **request):
    return results.ResultFile(
        path,
        "surface",
        request={"seed": 0, **request},
        fields=FIELDS,
        done=(2, 3),
        constants=CONSTANTS,
        origin=origin,
    )


def test_a_file_is_complete_from_the_start(tmp_path):
    make(tmp_path / "new" / "s.h5").close()
    stored = results.read(tmp_path / "new" / "s.h5")
    assert np.isnan(stored["loss"]).all()
    assert not stored["done"].any()
    assert not stored.complete
    assert stored["names"].tolist() == ["a", "λ"]
    assert stored.group("d").keys() == {"k"}
    assert stored.attributes["data"] == {"hash": "abc"}
    assert stored.attributes["examples"] == 7
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "s.h5"]


def test_what_was_written_is_kept_and_marked(tmp_path):
    with make(tmp_path / "s.h5") as file:
        file.write((0, 1), loss=2.5)
        file.write((1, 2), loss=np.inf)
        file.annotate(cosine=0.5, note=[1, 2])
    with make(tmp_path / "s.h5") as again:
        assert again.resumed
        assert again.done.tolist() == [[False, True, False], [False, False, True]]
        assert again["loss"][0, 1] == 2.5
    stored = results.read(tmp_path / "s.h5", "surface")
    assert np.isinf(stored["loss"][1, 2])
    assert stored.attributes["note"] == [1, 2]


def test_another_request_is_refused_and_the_difference_named(tmp_path):
    make(tmp_path / "s.h5").close()
    with pytest.raises(RequestError, match=r"made with seed=0, this request has seed=1"):
        make(tmp_path / "s.h5", seed=1)
    with pytest.raises(RequestError, match=r"made with grid=null, this request has grid=5"):
        make(tmp_path / "s.h5", grid=5)
    make(tmp_path / "t.h5", data={"split": "train", "examples": 2}).close()
    with pytest.raises(RequestError, match=r'made with data.split="train".* has data.split="test"'):
        make(tmp_path / "t.h5", data={"split": "test", "examples": 2})


@pytest.mark.parametrize("kind", ["hessian", "ntk", "neurons", "surface"])
def test_files_of_the_first_version_are_neither_read_nor_gone_on_with(tmp_path, kind):
    def opened(**request):
        return results.ResultFile(
            tmp_path / "r.h5", kind, request=request, fields={"v": results.Field((2,))}, done=(2,),
            origin=ORIGIN,
        )  # fmt: skip

    opened(a=1).close()
    results.read(tmp_path / "r.h5", kind)
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        file.attrs["schema"] = 1
    told = r"r\.h5 was made by an earlier version of landscape \(file schema 1, now 2\); move the"
    with pytest.raises(OtherVersion, match=told):
        results.read(tmp_path / "r.h5", kind)
    with pytest.raises(OtherVersion, match=told):
        opened(b=2)
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        file.attrs["schema"] = 9
    with pytest.raises(OtherVersion, match=r"a later version of landscape \(file schema 9, now 2"):
        results.read(tmp_path / "r.h5")


def test_a_kind_of_ones_own_has_the_first_schema(tmp_path):
    results.ResultFile(
        tmp_path / "r.h5", "mine", request={}, fields={}, done=(1,), origin=ORIGIN
    ).close()
    assert results.read(tmp_path / "r.h5", "mine").attributes["schema"] == 1


@pytest.mark.parametrize("links", [True, False])
def test_of_two_first_starts_at_once_neither_replaces_the_file_of_the_other(
    tmp_path, monkeypatch, links
):
    """Both saw no file; the second was half a second slower at making its own."""
    create, path = result_file._create, tmp_path / "s.h5"

    def late(*arguments):
        monkeypatch.setattr(result_file, "_create", create)
        with make(path, seed=1) as other:
            other.write((0, 0), loss=1.0)
        return create(*arguments)

    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr(result_file, "_create", late)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(RequestError, match="made with seed=1, this request has seed=0"):
        make(path)
    assert results.read(path)["loss"][0, 0] == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["s.h5"]
    monkeypatch.setattr(result_file, "_create", late)
    with make(tmp_path / "t.h5", seed=1):
        pass


@pytest.mark.parametrize("value", [1.0, 1e-5, np.nan])
def test_a_value_that_changed_beyond_rounding_ends_a_resumed_file(tmp_path, value):
    with make(tmp_path / "s.h5", origin={**ORIGIN, "loss": value}) as file:
        file.refuse_other_value("loss", 7.0)  # a new file has nothing to lose
    with make(tmp_path / "s.h5") as file:
        file.refuse_other_value("loss", value * (1 + 1e-4))
        with pytest.raises(RequestError, match=f"made with loss {value:.6g}, which is 7 now"):
            file.refuse_other_value("loss", 7.0)


def test_a_difference_of_schemas_comes_before_others():
    found = records.difference({"a": 1, "schema": 1, "x": 2}, {"b": 1, "schema": 2, "x": 2})
    assert found == ("schema", "1", "2")


def test_a_file_of_another_precision_is_refused_with_what_to_do(tmp_path):
    make(tmp_path / "s.h5").close()
    with pytest.raises(RequestError, match=r"float64, .* float32; set JAX_ENABLE_X64=1 to go on"):
        make(tmp_path / "s.h5", origin={**ORIGIN, "x64": False})


def test_a_file_says_with_what_it_was_gone_on(tmp_path):
    other_version = {**ORIGIN, "versions": {"jax": "0.12.0"}}
    more_devices = {**other_version, "device": "8 x cpu (cpu)"}
    by_doctor = {**ORIGIN["backend"], "by": "doctor", "examined": "later"}
    sessions = [
        ORIGIN, ORIGIN, {**ORIGIN, "backend": by_doctor}, other_version, other_version,
        more_devices, ORIGIN,
    ]  # fmt: skip
    for number, origin in enumerate(sessions[:6]):
        with make(tmp_path / "s.h5", origin=origin) as file:
            file.write((number // 3, number % 3), loss=1.0)
    with make(tmp_path / "s.h5", origin=sessions[6]):
        pass  # nothing was computed
    attributes = results.read(tmp_path / "s.h5").attributes
    assert attributes["versions"] == {"jax": "0.10.2"}
    found = [{k: v for k, v in r.items() if k != "since"} for r in attributes["resumed_with"]]
    assert found == [{"versions": {"jax": "0.12.0"}}, {"device": "8 x cpu (cpu)"}]


def test_a_file_has_provenance_also_where_its_author_gives_none(tmp_path):
    make(tmp_path / "s.h5", origin={"mine": 3}).close()
    attributes = results.read(tmp_path / "s.h5").attributes
    assert attributes["mine"] == 3
    assert {"versions", "device", "x64", "backend"} <= attributes.keys()
    assert attributes["backend"]["verdict"] == "passed"


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 50])
def test_damaged_files_are_told(tmp_path, content):
    (tmp_path / "s.h5").write_bytes(content)
    with pytest.raises(RequestError, match="not a readable HDF5 file"):
        results.read(tmp_path / "s.h5")
    with pytest.raises(RequestError, match="not a readable HDF5 file"):
        make(tmp_path / "s.h5")


def test_files_of_others_missing_files_and_other_kinds_are_told(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(RequestError, match="not written by landscape"):
        results.read(tmp_path / "other.h5")
    with pytest.raises(RequestError, match="no file"):
        results.read(tmp_path / "none.h5")
    make(tmp_path / "s.h5").close()
    with pytest.raises(RequestError, match="holds 'surface', not 'hessian'"):
        results.read(tmp_path / "s.h5", "hessian")


def test_a_file_being_written_can_be_read_but_not_written_twice(tmp_path):
    with make(tmp_path / "s.h5") as file:
        file.write((0, 0), loss=1.0)
        code = "import sys, landscape.results as r; print(r.read(sys.argv[1])['loss'][0, 0])"
        read = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "s.h5")], capture_output=True, text=True
        )
        assert read.stdout.strip() == "1.0"
        code = "import sys, pathlib; from landscape.results.result_file import _locked\n"
        code += "_locked(pathlib.Path(sys.argv[1]))"
        write = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "s.h5")], capture_output=True, text=True
        )
        assert "being written by another process" in write.stderr


def test_coordinates_are_dimension_scales(tmp_path):
    make(tmp_path / "s.h5").close()
    with h5py.File(tmp_path / "s.h5") as file:
        assert [dim[0].name for dim in file["loss"].dims] == ["/y", "/x"]


WRITER = """
import sys
import numpy as np
from landscape import results
from landscape.results import hdf5, records, result_file
with results.ResultFile(sys.argv[1], "surface", request={}, fields={"v": results.Field((4000,))},
                        done=(4000,), origin={"versions": {}}) as file:
    print("open", flush=True)
    for i in np.flatnonzero(~file.done):
        file.write(i, v=float(i))
"""


def test_a_killed_writer_leaves_a_file_that_goes_on(tmp_path):
    path, delays = tmp_path / "s.h5", np.random.default_rng(0).uniform(0.01, 0.3, 6)
    finished = 0
    for delay in delays:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "open\n"
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        stored = results.read(path)
        done = stored["done"].astype(bool)
        assert (stored["v"][done] == np.flatnonzero(done)).all()
        assert done.sum() >= finished
        finished = done.sum()
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True, capture_output=True)
    stored = results.read(path)
    assert stored.complete
    assert (stored["v"] == np.arange(4000)).all()


def test_provenance_names_versions_and_device_but_no_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/analysis_cli.py", "hessian"])
    origin = results.provenance(seed=3)
    assert origin["command"] == "analysis_cli.py hessian"
    assert {"jax", "numpy", "python"} <= origin["versions"].keys()
    assert origin["seed"] == 3
    assert "cpu" in origin["device"]
    assert origin["backend"]["flags"] == sorted(os.environ.get("XLA_FLAGS", "").split())
    assert origin["backend"]["verdict"] == "passed"
    json.dumps(origin)


# --- what is stored comes back, or is refused before there is a file -----------------------------

TEXTS = ["[not json", "{", '["a"]', "null", "", "a\nb", "\x00", "\udcff", "é" * 9000, "x" * 100_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_of_a_record_comes_back(tmp_path, text):
    make(tmp_path / "s.h5", origin={**ORIGIN, "note": text, "all": [text, None]}).close()
    attributes = results.read(tmp_path / "s.h5").attributes
    assert attributes["note"] == text
    assert attributes["all"] == [text, None]
    make(tmp_path / "s.h5", origin={**ORIGIN, "note": text, "all": [text, None]}).close()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.int64(3), 3), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("a"), "a"),
        (np.arange(3), [0, 1, 2]), (np.array(2.5), 2.5), (pathlib.Path("a/b"), "a/b"),
        (None, None), ((1, (2, None)), [1, [2, None]]), (2**70, 2**70), (True, True),
        ({"a": {"b": np.int32(1)}}, {"a": {"b": 1}}), (float("inf"), float("inf")),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_of_numpy_and_paths_are_stored_as_pythons(tmp_path, value, stored):
    for _ in range(2):  # also as the request of a file that is gone on with
        with make(tmp_path / "s.h5", origin={**ORIGIN, "lr": value}, lr=value) as file:
            assert file.request["lr"] == stored
    found = results.read(tmp_path / "s.h5").attributes
    assert found["lr"] == stored
    assert type(found["lr"]) is type(stored)
    assert found["request"]["lr"] == stored


def test_a_request_that_holds_nan_is_the_same_again(tmp_path):
    make(tmp_path / "s.h5", lr=float("nan"), all=[float("nan")]).close()
    make(tmp_path / "s.h5", lr=float("nan"), all=[float("nan")]).close()
    with pytest.raises(RequestError, match=r"made with lr=NaN, this request has lr=1"):
        make(tmp_path / "s.h5", lr=1, all=[float("nan")])


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tag": b"x"}, "record: tag is bytes; use text"),
        ({"a": {"b": [1, {2, 3}]}}, r"record: a\.b is set; use text"),
        ({"z": 1j}, "record: z is complex; use"),
        ({"w": np.ones(2000)}, "record: w is ndarray; use"),
        ({"f": len}, "record: f is builtin_function_or_method"),
        ({"a": {3: 1}}, r"record: a\.3 is no name; use text"),
        ({"deep": nested(5000)}, "record: deep is too deep or too long; leave it out"),
        ({"kind": "mine"}, "record: 'kind' is no name for an entry; use another"),
        ({"a\0": 1}, r"record: 'a\\x00' is no name for an entry; use another"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name_before_there_is_a_file(tmp_path, record, message):
    with pytest.raises(RequestError, match=message):
        make(tmp_path / "s.h5", origin={**ORIGIN, **record})
    assert not list(tmp_path.iterdir())


def test_a_request_of_any_length_is_stored(tmp_path):
    """A ViT-L with all blocks names its leaves in 100 KiB, more than HDF5 stores in its headers."""
    blocks = {f"block{i}": [f"encoderblock_{i}/leaf{j}/kernel" for j in range(16)]
              for i in range(200)}  # fmt: skip
    assert len(json.dumps(blocks)) > 100_000
    for seed in (0, 0, 1):
        if seed:
            blocks["block7"].pop()
            with pytest.raises(RequestError, match=r"made with blocks\.block7="):
                make(tmp_path / "s.h5", blocks=blocks)
        else:
            make(tmp_path / "s.h5", origin={**ORIGIN, "all": blocks}, blocks=blocks).close()
    attributes = results.read(tmp_path / "s.h5").attributes
    assert len(attributes["request"]["blocks"]) == len(attributes["all"]) == 200


# --- files of earlier versions -------------------------------------------------------------------


def of_an_earlier_version(path):
    """As version 51a9f04 wrote it: storage where values are written, JSON told by its brackets."""
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        file.attrs.update(
            {"kind": "surface", "schema": 2, "command": "test", "x64": True, "examples": 7,
             "request": '{"kind": "surface", "schema": 2, "seed": 0}', "note": "[no json",
             "versions": '{"jax": "0.10.1"}', "data": '{"hash": "abc"}'}
        )  # fmt: skip
        for name in ("x", "y", "d/k"):
            file[name] = CONSTANTS[name]
        names = np.array(CONSTANTS["names"], object)
        file.create_dataset("names", data=names, dtype=h5py.string_dtype())
        file.create_dataset("loss", (2, 3), "f8", fillvalue=np.nan)
        file.create_dataset("done", (2, 3), "u1", fillvalue=0)
        for axis, name in enumerate("yx"):
            file[name].make_scale(name)
            file["loss"].dims[axis].attach_scale(file[name])


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_of_an_earlier_version_is_read_and_gone_on_with(tmp_path, begun):
    path = tmp_path / "s.h5"
    of_an_earlier_version(path)
    if begun:
        with h5py.File(path, "r+") as file:
            file["loss"][0, 1] = 2.5
            file["done"][0, 1] = 1
    for _ in range(2):
        stored = results.read(path)
        assert stored["done"].sum() == begun
        assert np.isnan(stored["loss"]).sum() == 6 - begun
        assert stored.attributes["note"] == "[no json"
        assert stored.attributes["data"] == {"hash": "abc"}
        make(path).close()  # which renews it
    with make(path) as file:
        file.write((1, 2), loss=3.5)
    stored = results.read(path)
    assert stored["loss"][1, 2] == 3.5
    assert begun == (stored["loss"][0, 1] == 2.5)
    assert stored["names"].tolist() == ["a", "λ"]
    assert stored["d/k"].tolist() == [1.0] * 4
    assert stored.attributes["versions"] == {"jax": "0.10.1"}
    assert stored.attributes["resumed_with"][0]["versions"] == {"jax": "0.10.2"}
    with h5py.File(path) as file:
        assert [dim[0].name for dim in file["loss"].dims] == ["/y", "/x"]


# --- room, writers, and what is read -------------------------------------------------------------


def test_no_later_write_changes_anything_but_values(tmp_path):
    """Neither a kill nor a full disk can then take away what was there."""
    path = tmp_path / "s.h5"
    with make(path) as file:
        size = path.stat().st_size
        for index in np.ndindex(2, 3):
            file.write(index, loss=1.0)
        file.annotate(note="x" * 5000)
        assert path.stat().st_size == size
        with hdf5.reading(path) as whole:
            held = [whole.datasets[name] for name in ("loss", "done", "attributes/later")]
        places = [(dataset.place, dataset.nbytes) for dataset in held]
    after = path.read_bytes()
    path.unlink()
    make(path).close()
    before = bytearray(path.read_bytes())
    for place, length in places:
        before[place : place + length] = after[place : place + length]
    assert bytes(before) == after


def test_attributes_that_come_later_have_room_and_no_more(tmp_path):
    with make(tmp_path / "s.h5") as file:
        file.annotate(one=1)
        file.annotate(two="x" * 10_000)
        with pytest.raises(RequestError, match=r"annotate: .* has room for 16,384 bytes of attri"):
            file.annotate(three="x" * 10_000)
    with make(tmp_path / "s.h5") as file:
        file.annotate(four=4)
    attributes = results.read(tmp_path / "s.h5").attributes
    assert (attributes["one"], attributes["four"], len(attributes["two"])) == (1, 4, 10_000)


def test_of_many_environments_the_oldest_become_one(tmp_path):
    for number in range(30):
        with make(tmp_path / "s.h5", origin={**ORIGIN, "device": f"{number}" * 500}) as file:
            file.write((0, 0), loss=1.0)
    found = results.read(tmp_path / "s.h5").attributes["resumed_with"]
    assert len(found) < 20
    assert found[-1]["device"] == "29" * 500


CREATE = """
import sys, time
from landscape import results
from landscape.errors import RequestError
time.sleep(max(0, float(sys.argv[3]) - time.time()))
try:
    with results.ResultFile(sys.argv[1], "surface", request={"seed": int(sys.argv[2])}, done=(50,),
                            fields={"v": results.Field((50,))}, origin={"versions": {}}) as file:
        time.sleep(0.3)
        for i in range(50):
            file.write(i, v=float(sys.argv[2]))
    print("wrote")
except RequestError as error:
    print("refused", error)
"""


def test_of_two_processes_that_make_one_file_one_is_refused(tmp_path):
    at = str(time.time() + 1.5)
    processes = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path / "s.h5"), str(seed), at],
                         stdout=subprocess.PIPE, text=True)
        for seed in (1, 2)
    ]  # fmt: skip
    told = [process.communicate(timeout=60)[0] for process in processes]
    assert sorted(text.split()[0] for text in told) == ["refused", "wrote"]
    winner = 1 + [text.startswith("wrote") for text in told].index(True)
    stored = results.read(tmp_path / "s.h5")
    assert stored.complete
    assert (stored["v"] == winner).all()
    assert stored.attributes["request"]["seed"] == winner
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


LEFT_OPEN = """
import sys, resource
from landscape import results
from landscape.errors import RequestError
size = int(sys.argv[2])
if size:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    fields = {"v": results.Field((2, 5000))}
    file = results.ResultFile(sys.argv[1], "surface", request={}, done=(2,), fields=fields,
                              origin={"versions": {}})
    file.write(0, v=1.0)
except RequestError as error:
    print(error)
"""  # fmt: skip


@pytest.mark.parametrize("size", [0, 1000, 5000, 30_000, 60_000])
def test_a_process_ends_in_peace_with_a_file_open_or_not_to_be_made(tmp_path, size):
    path = tmp_path / "s.h5"
    command = [sys.executable, "-c", LEFT_OPEN, str(path), str(size)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    if size:
        assert f"out: {path} cannot be written (File too large); free space" in ended.stdout
        assert not list(tmp_path.iterdir())
    else:
        assert results.read(path)["done"].tolist() == [1, 0]


def test_what_a_killed_process_was_making_is_deleted_a_day_later(tmp_path):
    old, new = (tmp_path / f".{number}-0123abcd-s.h5" for number in (1, 2))
    others = [tmp_path / ".1-0123abcd-other.h5", tmp_path / ".s.h5"]
    for path in (old, new, *others):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 3 * 86400,) * 2)
    os.utime(new)
    make(tmp_path / "s.h5").close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "s.h5", new.name, *(path.name for path in others)
    }  # fmt: skip


def test_only_what_is_asked_for_is_read(tmp_path, monkeypatch):
    """The directions of a surface are as large as the network."""
    more = {"directions/x/k": np.ones(500_000), "directions/y/k": np.ones(500_000)}

    def opened():
        return results.ResultFile(
            tmp_path / "s.h5", "surface", request={}, fields=FIELDS, done=(2, 3), origin=ORIGIN,
            constants={**CONSTANTS, **more},
        )  # fmt: skip

    opened().close()
    read = []

    def counted(call):
        def reading(*arguments):
            found = call(*arguments)
            read.append(found if isinstance(found, int) else len(found))
            return found

        return reading

    monkeypatch.setattr(os, "pread", counted(os.pread))
    monkeypatch.setattr(os, "preadv", counted(os.preadv))
    stored = results.read(tmp_path / "s.h5", without=["directions"])
    assert not stored.group("directions")
    assert stored.group("d").keys() == {"k"}
    assert sum(read) < 60_000
    opened().close()  # going on with it needs them no more
    assert sum(read) < 120_000
    assert results.read(tmp_path / "s.h5")["directions/x/k"].sum() == 500_000
    assert sum(read) > 8_000_000


def test_a_file_without_the_room_it_should_have_is_not_written_into(tmp_path):
    make(tmp_path / "s.h5").close()
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["attributes/later"]
        file["attributes/later"] = np.frombuffer(b"{}", "u1")
    before = (tmp_path / "s.h5").read_bytes()
    with pytest.raises(RequestError, match=r"no uint8 of shape \(16384,\) as 'attributes/later'"):
        make(tmp_path / "s.h5")
    assert (tmp_path / "s.h5").read_bytes() == before


def test_large_values_are_read_in_as_many_calls_as_it_takes(tmp_path, monkeypatch):
    """Linux gives 2 GiB at most."""
    with make(tmp_path / "s.h5") as file:
        file.write(..., loss=np.arange(6.0).reshape(2, 3))
    whole, preadv = results.read(tmp_path / "s.h5"), os.preadv
    monkeypatch.setattr(os, "preadv", lambda d, buffers, place: preadv(d, [buffers[0][:5]], place))
    for name, values in results.read(tmp_path / "s.h5").data.items():
        np.testing.assert_array_equal(values, whole[name])
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(RequestError, match=r"the end of .* is missing"):
        results.read(tmp_path / "s.h5")


def test_empty_names_come_back(tmp_path):
    constants = {"none": np.array([], object), "short": np.array([], "U3"), "n": np.ones((0, 3))}
    results.ResultFile(
        tmp_path / "r.h5", "mine", request={}, fields={}, done=(1,), constants=constants,
        origin=ORIGIN,
    ).close()  # fmt: skip
    found = results.read(tmp_path / "r.h5")
    assert [found[name].shape for name in constants] == [(0,), (0,), (0, 3)]


def test_datasets_are_in_the_order_of_hdf5(tmp_path):
    names = ["g/a/b", "g/a-b", "g/a b", "g/a.b", "g/B", "a"]
    results.ResultFile(
        tmp_path / "r.h5", "mine", request={}, fields={}, done=(1,), origin=ORIGIN,
        constants=dict.fromkeys(names, 1.0),
    ).close()  # fmt: skip
    seen = []
    with h5py.File(tmp_path / "r.h5") as file:
        file.visititems(lambda n, i: seen.append(n) if isinstance(i, h5py.Dataset) else None)
    assert [n for n in results.read(tmp_path / "r.h5").data if n != "done"] == [
        n for n in seen if n in names
    ]


def test_a_kill_while_attributes_are_added_loses_none_of_the_others(tmp_path, monkeypatch):
    path = tmp_path / "s.h5"
    with make(path) as file:
        file.write((0, 0), loss=1.0)
        file.annotate(told="a" * 9000)
        write = os.pwrite
        monkeypatch.setattr(
            os, "pwrite", lambda d, values, at: write(d, values[:4096], at) and 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            file.annotate(told="b" * 9000, more="c")
        monkeypatch.undo()
    assert results.read(path)["loss"][0, 0] == 1.0
    with make(path) as file:
        file.annotate(told="d")
    assert results.read(path).attributes["told"] == "d"


def test_no_attribute_takes_the_place_of_what_the_file_is(tmp_path):
    with make(tmp_path / "s.h5") as file, pytest.raises(RequestError, match="'kind' is a name of"):
        file.annotate(kind="other")


def test_where_there_are_no_hard_links_a_failing_move_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(os, "link", fails)
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(RequestError, match="cannot be written"):
        make(tmp_path / "s.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "index",
    [(1, 2), (np.int64(0), np.int64(1)), 1, (0, slice(1, 3)), (slice(None), 1), ...,
     np.array([[True, False, False], [False, True, True]]), ([0, 1], [2, 0]), slice(0, 0)],
)  # fmt: skip
def test_whatever_is_chosen_is_what_is_written(tmp_path, index):
    expected, marks = np.full((2, 3), np.nan), np.zeros((2, 3), bool)
    values = np.arange(1.0, 7.0).reshape(2, 3)[index]
    expected[index], marks[index] = values, True
    with make(tmp_path / "s.h5") as file:
        file.write(index, loss=values)
    found = results.read(tmp_path / "s.h5")
    np.testing.assert_array_equal(found["loss"], expected)
    np.testing.assert_array_equal(found["done"], marks)
