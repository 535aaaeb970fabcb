"""``report``: what is on the page stands in its JSON and in the terminal too."""

import json
import os

import pytest
import synthetic_runs as made
from hostile import asked

from landscape.cli import main


@pytest.fixture
def folders(tmp_path):
    """Two runs that cannot be compared."""
    for name, l2 in (("a", 0.0), ("b", 0.5)):
        made.write_config(tmp_path / name, "ViT")
        made.write_hessian(tmp_path / name, ["whole"], request={"l2": l2})
    return [str(tmp_path / name) for name in ("a", "b")]


DIFFERENT = "Hessians of different runs differ in l2 (0.0, 0.5)"


def test_notes_and_warnings_are_in_the_json(folders, capsys):
    assert main(["report", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any(DIFFERENT in line for line in found["warnings"])
    assert all(table["notes"] for table in found["tables"])


def test_notes_and_warnings_are_shown_in_the_terminal(folders, capsys):
    assert main(["report", *folders]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert DIFFERENT in shown
    assert "Ritz value" in shown


def test_a_mistyped_folder_is_refused_and_a_file_beside_the_runs_is_not(folders, tmp_path, capsys):
    assert main(["report", *folders]) == 0
    assert main(["report", *folders, str(tmp_path / "report.html")]) == 0
    capsys.readouterr()
    assert main(["report", *folders, str(tmp_path / "typo")]) == 2
    error = capsys.readouterr().err
    assert f"runs: there is no folder {tmp_path / 'typo'}" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["\0", "x" * 5000, "\udcff", "[red]x[/red]", "/dev/null", "pipe", "loop"]
)
def test_what_is_no_folder_is_refused_in_one_line(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    assert asked(["report", name], capsys, tmp_path) == 2
