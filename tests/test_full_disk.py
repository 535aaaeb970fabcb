"""Every write, flush and rename of every kind of file fails once: nothing is lost in silence."""

import json
import os
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from full_disk import ERRORS, every_failure, failing, no_file_beyond
from matplotlib.figure import Figure

from landscape import results
from landscape.checkpoints import native
from landscape.checkpoints.containers import safetensors
from landscape.checkpoints.flat import save_npz
from landscape.cli import main
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.surface import Surface
from landscape.surface.exports import export
from landscape.surface.li_files import write_li_directions
from landscape.training.metrics import MetricLog, read
from landscape.whole_file import whole_file

ORIGIN = {"versions": {"jax": "1"}, "metrics": ["train_loss"], "cosine": 0.5, "markers": {}}
FULL = pytest.mark.slow  # all operations of whole commands


@ERRORS
@pytest.mark.parametrize("kind", ["hessian", "surface", "ntk", "neurons"])
def test_no_failing_write_takes_what_a_result_file_holds(tmp_path, number, kind):
    shape = (2, 2) if kind == "surface" else (3,)

    def make(place, jax="1", entries=None):
        with results.ResultFile(
            place / "r.h5", kind, request={"seed": 0}, done=shape,
            fields={"train_loss": results.Field(shape, dims=("ycoordinates",)),
                    "more": results.Field((*shape, 50))},
            constants={"ycoordinates": np.arange(float(shape[0])), "names": ["a", "b"]},
            origin={**ORIGIN, "versions": {"jax": jax}},
        ) as file:  # fmt: skip
            for index in list(zip(*np.nonzero(~file.done), strict=True))[:entries]:
                file.write(index, train_loss=float(sum(index)), more=np.full(50, sum(index)))

    def check(place):
        if not (place / "r.h5").exists():
            return
        stored = results.read(place / "r.h5", kind)
        for index in np.ndindex(shape):
            if stored["done"][index]:
                assert stored["train_loss"][index] == sum(index)
                assert (stored["more"][index] == sum(index)).all()

    assert every_failure(tmp_path / "new", number, make, check) > 10

    # Gone on with in another environment, which is noted.
    begun = partial(make, entries=1)
    assert every_failure(tmp_path / "old", number, partial(make, jax="2"), check, begun) > 5


@ERRORS
def test_no_failing_write_takes_a_journals_last_state(tmp_path, number, monkeypatch):
    monkeypatch.setattr(Journal, "SHARE", np.inf)
    like = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}

    def make(place):
        journal = Journal.of_request(place / "j", {"seed": 0}).part("whole")
        state = journal.load() or {"step": 0}
        for step in range(state["step"] + 1, 4):
            vector = {"a": jnp.full(3, float(step)), "b": jnp.full((2, 2), float(step))}
            journal.save({"step": step}, [f"v-{step}"], lambda _, vector=vector: vector)

    def check(place):
        journal = Journal.of_request(place / "j", {"seed": 0}).part("whole")
        state = journal.load()
        if state is not None:
            assert journal.vector(f"v-{state['step']}", like)["a"][0] == state["step"]

    assert every_failure(tmp_path, number, make, check) > 15


@ERRORS
def test_no_failing_write_takes_a_line_of_the_training_log(tmp_path, number):
    def make(place):
        done = max((line["step"] for line in read(place / "metrics.jsonl")), default=0)
        with MetricLog(place / "metrics.jsonl", done) as log:
            for step in range(done + 1, 6):
                log.add(step=step, learning_rate=0.1)
                log.flush()

    def check(place):
        assert [line["step"] for line in read(place / "metrics.jsonl")] == list(
            range(1, 1 + len(read(place / "metrics.jsonl")))
        )

    assert every_failure(tmp_path, number, make, check) > 10


def _surface():
    x = np.linspace(-1, 1, 3)
    heights = np.add.outer(x**2, x)
    return Surface(
        x, x, {"train_loss": heights}, np.ones((3, 3), bool), np.zeros((3, 3), bool), 0.0, (1, 1)
    )


def _png(path):
    with whole_file(path, "picture") as temporary:
        Figure(figsize=(1, 1)).savefig(temporary)


def _text(path):
    with whole_file(path) as temporary:
        temporary.write_text("new")


_PARAMS = {"a": {"kernel": np.ones((20, 30))}, "b": np.zeros(3)}
_WRITERS = {
    "t.txt": _text,
    "config.json": lambda path: native.write_config(path.parent, {"schema": 1}),
    "p.npz": lambda path: save_npz(_PARAMS, path),
    "s.csv": lambda path: export(_surface(), path),
    "s.vts": lambda path: export(_surface(), path),
    "s.vtp": lambda path: export(_surface(), path),
    "s.obj": lambda path: export(_surface(), path),
    "d.h5": lambda path: write_li_directions(path, [_PARAMS]),
    "p.png": _png,
    "p.svg": _png,
    "p.pdf": _png,
}


@ERRORS
@pytest.mark.parametrize("name", _WRITERS)
def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, number, name):
    def make(place):
        _WRITERS[name](place / name)

    def check(place):
        assert not (place / name).exists()

    assert every_failure(tmp_path, number, make, check) >= 4
    path = tmp_path / name
    path.write_text("old")
    with failing(tmp_path, 2, number), pytest.raises(RequestError, match=os.strerror(number)):
        _WRITERS[name](path)
    assert path.read_text() == "old"


def test_checkpoints_that_do_not_fit_are_told_and_the_complete_ones_stay(tmp_path):
    """TensorStore writes them, in the background."""
    params = {"kernel": jnp.arange(20_000.0)}
    with native.Writer(tmp_path / "r", None) as writer:
        writer.save(1, params, {"s": params})
    with (
        no_file_beyond(10_000),
        pytest.raises(RequestError, match=r"out: .*r cannot be written \(File too large\); free"),
        native.Writer(tmp_path / "r", None) as writer,
    ):
        writer.save(2, params, {"s": params})
    assert native.steps(tmp_path / "r") == [1]
    with native.Writer(tmp_path / "r", None) as writer:
        writer.save(2, params, {"s": params})
    assert native.steps(tmp_path / "r") == [1, 2]
    assert not list((tmp_path / "r" / "checkpoints").glob("*tmp*"))


def test_converted_files_that_do_not_fit_are_told(tmp_path):
    wide = {"kernel": np.arange(20_000.0)}
    told = r"out: .* cannot be written"
    with no_file_beyond(10_000):
        with pytest.raises(RequestError, match=told):
            safetensors.written(tmp_path / "p.safetensors", wide, {})
        with pytest.raises(RequestError, match=told):
            save_npz(wide, tmp_path / "p.npz")
        with pytest.raises(RequestError, match=told):
            native.save_params(tmp_path / "r", 0, {"kernel": wide["kernel"]}, None, {"schema": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert native.steps(tmp_path / "r") == []


OWN = Path(__file__).parent / "cli" / "own_objective.py"  # small
SURFACE = ["surface", "--grid", "3x3", "--images", "64"]
HESSIAN = ["hessian", "--blocks", "none", "--objective", f"{OWN}:make"]

NEURONS = ["neurons", "--images", "16"]
NTK = ["ntk", "--batch-size", "4", "--batches", "2"]


def _command(arguments, run, out, capsys):
    words = [*arguments, "--out", str(out), "--quiet", "--json"]
    words += [] if "--objective" in words else ["--checkpoint", str(run)]
    capsys.readouterr()
    status = main(words)
    return status, capsys.readouterr()


def _every_nth(arguments, run, folder, number, capsys, nths, failed=None):
    """These operations fail, one after the other, of a command that each time goes on."""
    out = folder / "out" / "r.h5"
    folder.mkdir()
    for nth in nths:
        with failing(folder, nth, number) as disk:
            status, (_, told) = _command(arguments, run, out, capsys)
        if disk.failed is None:
            break
        if failed is not None:
            failed.append(disk.failed)
        assert status == 2, (nth, disk.failed, told)
        assert len(told.strip().splitlines()) == 1
        assert os.strerror(number) in told
        if out.exists():
            results.read(out)
    status, (printed, _) = _command(arguments, run, out, capsys)
    assert status in (0, 1)
    return json.loads(printed)


def _without_file(outcome):
    return {name: value for name, value in outcome.items() if name not in ("file", "files")}


@ERRORS
@pytest.mark.parametrize("arguments", [SURFACE, HESSIAN], ids=["surface", "hessian"])
def test_a_command_goes_on_once_there_is_room(tmp_path, run, capsys, number, arguments):
    expected = _every_nth(arguments, run, tmp_path / "whole", number, capsys, [])
    nths = [1, 3, 8, 14, 20, 26]
    found = _every_nth(arguments, run, tmp_path / "part", number, capsys, nths)
    assert _without_file(found) == _without_file(expected)


@FULL
@ERRORS
@pytest.mark.parametrize(
    "arguments", [SURFACE, HESSIAN, NEURONS, NTK], ids=["surface", "hessian", "neurons", "ntk"]
)
def test_every_operation_of_a_command_may_fail(tmp_path, run, capsys, number, arguments):
    expected = _every_nth(arguments, run, tmp_path / "whole", number, capsys, [])
    for nth in range(1, 200):
        failed = []
        found = _every_nth(arguments, run, tmp_path / f"{nth}", number, capsys, [nth], failed)
        assert _without_file(found) == _without_file(expected)
        if not failed:
            break
    assert 10 < nth < 199


@FULL
@ERRORS
@pytest.mark.parametrize("command", ["report", "evaluate", "convert"])
def test_every_operation_of_a_command_that_writes_one_file_may_fail(
    tmp_path, run, capsys, number, command
):
    for nth in range(1, 200):
        out = tmp_path / f"{nth}"
        out.mkdir()
        words = {
            "report": ["report", run, "--out", out / "r.html"],
            "evaluate": ["evaluate", "--checkpoint", run, "--out", out / "e.json"],
            "convert": ["convert", run, out / "c.npz"],
        }[command]
        with failing(out, nth, number) as disk:
            status = main([*map(str, words), "--json", "--quiet"])
        told = capsys.readouterr().err
        if status == 0 and disk.failed == "open":  # zipfile tries another mode
            continue
        assert status == (0 if disk.failed is None else 2), (nth, disk.failed, told)
        if disk.failed is None:
            break
        assert len(told.strip().splitlines()) == 1
        assert not list(out.iterdir())
    assert 3 < nth < 199
