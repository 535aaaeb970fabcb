"""What is there already is kept: no file is overwritten that the command has not written."""

import json
import os
import types

import h5py
import matplotlib.figure
import numpy as np
import pytest

from landscape import results
from landscape.cli import hessian_pictures, main, outputs
from landscape.errors import RequestError

PRECIOUS = {
    "weights.npz": b"PK\x03\x04 of an archive",
    "model.safetensors": b"\x10\0\0\0\0\0\0\0{}",
    "model.th": b"\x80\x02.",
    "script.py": b"print('mine')\n",
    "config.json": b'{\n  "schema": 1\n}\n',
    "one_line.json": b'{"schema": 1}\n',
    "notes.txt": b"words\n",
    "metrics.jsonl": b'{"step": 1}\n{"step": 2}\n',
}
BRIEF = ("formats",), ("models", "R50")


@pytest.mark.parametrize("name", PRECIOUS)
@pytest.mark.parametrize("command", BRIEF)
def test_an_outcome_replaces_nothing_but_an_outcome(tmp_path, capsys, command, name):
    path = tmp_path / name
    path.write_bytes(PRECIOUS[name])
    assert main([*command, "--out", str(path), "--json"]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert path.read_bytes() == PRECIOUS[name]


def test_an_outcome_of_before_is_replaced(tmp_path):
    path = tmp_path / "formats.json"
    assert main(["formats", "--out", str(path), "--json"]) == 0
    first = path.read_text()
    assert main(["formats", "--out", str(path), "--json"]) == 0
    assert path.read_text() == first


@pytest.mark.parametrize("name", ["weights.npz", "script.py", "config.json"])
@pytest.mark.parametrize("command", ["hessian", "surface", "ntk", "neurons"])
def test_a_result_replaces_nothing(tmp_path, capsys, run, command, name):
    path = tmp_path / name
    path.write_bytes(PRECIOUS[name])
    assert main([command, "--checkpoint", str(run), "--out", str(path)]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert path.read_bytes() == PRECIOUS[name]


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (("--out", "a.h5", "--li-directions", "a.h5"), "li_directions: a.h5 is also named by out"),
        (("--out", "./a.h5", "--li-directions", "a.h5"), "li_directions: a.h5 is also named by"),
        (("--picture", "a.png", "--export", "a.png"), "export: a.png is also named by picture"),
        (("--export", "a.obj", "a.obj"), "export: a.obj is also named by export"),
        (("--checkpoint", "model.npz", "--out", "model.npz"), "is also named by checkpoint"),
        (("--checkpoint", "model.npz@3", "--out", "model.npz"), "is also named by checkpoint"),
        (("--data", "link.npz", "--out", "model.npz"), "is also named by data"),
        (("--x", "file:d.h5", "--li-directions", "d.h5"), "d.h5 is also named by x"),
        (("--x", "to:model.npz", "--picture", "model.npz"), "model.npz is also named by x"),
        (("--objective", "own.py:make", "--out", "own.py"), "own.py is also named by objective"),
        (("--draw", "d.h5", "--html", "d.h5"), "d.h5 is also named by draw"),
    ],
)
def test_no_file_is_written_that_is_read_or_written_already(
    tmp_path, capsys, monkeypatch, written, named
):
    monkeypatch.chdir(tmp_path)
    contents = {"model.npz": b"weights", "d.h5": b"directions", "own.py": b"raise SystemExit(9)"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.npz").symlink_to("model.npz")
    assert main(["surface", "--grid", "3", *written]) == 2
    assert named in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents
    assert len(os.listdir(tmp_path)) == 4


def picture(path):
    matplotlib.figure.Figure().savefig(path)


def animated(path):
    from landscape.plots.animation import animate, save_animation

    x = np.linspace(-1, 1, 3)
    save_animation(animate([("", x, x, np.add.outer(x**2, x**2))], kind="contour"), path)


def li_directions(path):
    from landscape.surface.li_files import write_li_directions

    write_li_directions(path, [{"a": np.ones((2, 3), np.float32)}])


def others_directions(path):
    with h5py.File(path, "w") as file:
        file["xdirection/0"] = np.ones((2, 3))


def text(content):
    return lambda path: path.write_text(content)


PAGE = '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
OBJECT = "# x and y in units of the directions, z = train loss\n"


@pytest.mark.parametrize(
    ("name", "option", "ours", "others"),
    [
        ("a.png", "picture", picture, lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n photo")),
        ("a.pdf", "picture", picture, text("%PDF-1.4 of others")),
        ("a.svg", "picture", picture, text("<?xml version='1.0'?><svg/>")),
        ("a.jpg", "picture", None, text("photo")),
        ("a.h5", "li_directions", li_directions, others_directions),
        ("a.obj", "export", text(OBJECT), text("v 0 0 0\n")),
        ("a.csv", "export", text("x,y,train_loss,done,interpolated\n1,"), text("x,y\n1,2\n")),
        ("a.html", "html", text(f"{PAGE}<meta name='generator' content='landscape'>"), text(PAGE)),
        ("a.gif", "animation", animated, text("GIF89a of others")),
        ("a.mp4", "animation", text("ftyp made by landscape"), text("ftyp")),
        ("a.vts", "export", text('<VTKFile><PointData Scalars="zvalue">'), text("<VTKFile>")),
        ("a.npz", "picture", None, text("PK")),
    ],
)
def test_only_files_of_its_own_kind_are_replaced(tmp_path, name, option, ours, others):
    path = tmp_path / name
    outputs.check_replaceable(path, option)  # nothing is there
    if ours is not None:
        ours(path)
        outputs.check_replaceable(path, option)
    path.unlink(missing_ok=True)
    others(path)
    with pytest.raises(RequestError, match=rf"{option}: .*{name} is there and was not written by"):
        outputs.check_replaceable(path, option)


def test_a_report_of_an_earlier_version_is_replaced(tmp_path):
    page = f"{PAGE}<caption>Table 1. Trainability, sharpness and accuracy</caption>"
    (tmp_path / "report.html").write_text(page)
    outputs.check_replaceable(tmp_path / "report.html", "out", "report")


@pytest.mark.parametrize("name", ["s5", "s.jpeg", "s.", ".png"])
def test_pictures_of_other_formats_are_refused_before_anything_is_computed(capsys, tmp_path, name):
    line = ["surface", "--checkpoint", "none", "--picture", str(tmp_path / name)]
    assert main(line) == 2
    assert "is of no format here; use .png, .pdf, .svg" in capsys.readouterr().err


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(RequestError, match=r"a\.png is no file"):
        outputs.check_replaceable(tmp_path / "a.png", "picture")


def test_nothing_is_written_in_place_of_a_device(capsys):
    assert main(["formats", "--out", os.devnull]) == 2
    assert f"out: {os.devnull} is no file" in capsys.readouterr().err


def test_a_page_of_others_is_not_replaced_by_the_report(tmp_path, run, call):
    (tmp_path / "report.html").write_text("<html>mine</html>")
    os.symlink(run, tmp_path / "run")
    for more in ((), ("--out", tmp_path / "report.html")):
        status, _, err = call("report", tmp_path / "run", *more)
        assert (status, "was not written by this command" in err) == (2, True)
    assert (tmp_path / "report.html").read_text() == "<html>mine</html>"
    status, _, _ = call("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert (status, call("report", tmp_path / "run", "--out", tmp_path / "page.html")[0]) == (0, 0)


def test_pictures_of_a_folder_are_not_replaced_but_by_pictures(tmp_path, monkeypatch):
    attributes = {"method": "power", "density": True, "data_error": False, "scan": ()}
    stored = types.SimpleNamespace(attributes=attributes)
    drawn = types.SimpleNamespace(figure=matplotlib.figure.Figure())
    monkeypatch.setattr(results, "read", lambda path, kind: stored)
    monkeypatch.setattr(hessian_pictures, "_spectrum", lambda stored: drawn)
    for _ in range(2):
        hessian_pictures.draw(tmp_path / "h.h5", tmp_path / "ours")
    (tmp_path / "spectrum.png").write_bytes(b"photo")
    with pytest.raises(RequestError, match=r"pictures: .*spectrum.png is there"):
        hessian_pictures.draw(tmp_path / "h.h5", tmp_path)
    assert (tmp_path / "spectrum.png").read_bytes() == b"photo"


def test_json_that_is_too_deep_is_not_ours(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(RequestError, match="was not written by this command"):
        outputs.check_replaceable(tmp_path / "a.json", "out", "formats")
    (tmp_path / "a.json").write_text(json.dumps({"models": []}) + "\n")
    outputs.check_replaceable(tmp_path / "a.json", "out", "formats")
