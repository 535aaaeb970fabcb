import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from landscape import records, results
from landscape.errors import OtherVersion, RequestError

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
    create, path = results._create, tmp_path / "s.h5"

    def late(*arguments):
        monkeypatch.setattr(results, "_create", create)
        with make(path, seed=1) as other:
            other.write((0, 0), loss=1.0)
        return create(*arguments)

    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr(results, "_create", late)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(RequestError, match="made with seed=1, this request has seed=0"):
        make(path)
    assert results.read(path)["loss"][0, 0] == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["s.h5"]
    monkeypatch.setattr(results, "_create", late)
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
        code = "import sys, pathlib, landscape.results as r; r._locked(pathlib.Path(sys.argv[1]))"
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
from landscape import records, results
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
