"""One bad run never ends a report: its faults are named on the page, and the others are shown."""

import json
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic_runs as made
from report_page import page, without_drawing

from landscape import report
from landscape.cli import main
from landscape.report import reading

BESIDE = "Mixer-Mini/2"  # the model of the run that nothing is wrong with


@pytest.fixture
def folder(tmp_path):
    return made.write_run(tmp_path / "bad", "ViT-Mini/2", ["whole", "encoderblock_0/mlp"], points=3)


@pytest.fixture
def shown(drawn, monkeypatch):
    """The page of that run and a good one, without pictures."""
    without_drawing(monkeypatch)
    return drawn


@pytest.fixture
def drawn(tmp_path):
    """The same with its pictures."""
    made.write_config(tmp_path / "good", BESIDE)
    made.write_hessian(tmp_path / "good", ["whole"], 77.0)

    def pages(folder):
        runs = [report.collect(folder) for folder in (folder, tmp_path / "good")]
        found = page(runs, tmp_path)
        assert "77.00" in found.text
        return found

    return pages


def change(path, *keys, value):
    """Set a value deep inside a file of JSON, whose lines may be several."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    config = part = json.loads(lines[-1])
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text("\n".join([*lines[:-1], json.dumps(config)]))


def test_an_accuracy_in_percent_is_named_and_left_out(folder, shown):
    change(folder / "metrics.jsonl", "test_accuracy", value=99.0)
    found = shown(folder)
    assert "line 300: test_accuracy is 99.0, not a fraction between 0 and 1; left out" in found.text
    assert "9,900" not in found.text
    assert "9900" not in found.text


@pytest.mark.parametrize(
    ("file", "keys", "value", "told"),
    [
        ("metrics.jsonl", ["train_loss"], "low", "train_loss is 'low', not a number"),
        ("metrics.jsonl", ["train_loss"], 10**400, "train_loss is 1000"),
        ("metrics.jsonl", ["test_accuracy"], float("nan"), "test_accuracy is nan"),
        ("metrics.jsonl", ["step"], "last", "step is 'last', not a whole number"),
        ("metrics.jsonl", ["epoch"], [1], "epoch is [1], not a finite number"),
        ("config.json", ["model"], None, "model is None, not a mapping"),
        ("config.json", ["training"], [], "training is [], not a mapping"),
        ("config.json", ["data", "test_examples"], -360, "data.test_examples is -360"),
        ("config.json", ["data", "test_examples"], "360", "data.test_examples is '360'"),
        ("config.json", ["training", "rho"], "large", "training.rho is 'large'"),
        ("config.json", ["model", "name"], 3, "model.name is 3, not text"),
        ("config.json", ["steps"], 10**400, "steps is 1000"),
    ],
)
def test_odd_values_of_configuration_and_log_are_named(folder, shown, file, keys, value, told):
    change(folder / file, *keys, value=value)
    assert f"{told}" in shown(folder).text


@pytest.mark.parametrize("line", ["[]", "3", "{", "null", '"x"'])
def test_lines_that_are_no_records_are_counted(folder, shown, line):
    path = folder / "metrics.jsonl"
    path.write_text(f"{line}\n" * 3 + path.read_text())
    assert "metrics.jsonl: line 1 and 2 more: no" in shown(folder).text
    assert len(report.collect(folder).metrics) == 300


def test_of_steps_that_do_not_rise_the_fewest_are_left_out(folder, shown):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines.insert(10, lines[200])
    lines.insert(100, lines[5])
    path.write_text("\n".join(lines))
    told = "metrics.jsonl: line 11 and 1 more: its step does not fit those of the other lines"
    assert told in shown(folder).text
    assert [line["step"] for line in report.collect(folder).metrics] == list(range(1, 301))


def edited(folder, name, edit):
    with h5py.File(folder / f"{name}.h5", "r+", libver=("earliest", "v108")) as file:
        edit(file)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("hessian", "targets"), ("hessian", "parameters"), ("hessian", "lambda_max_upper"),
     ("hessian", "lambda_min_estimate"), ("surface", "ycoordinates"), ("surface", "xcoordinates"),
     ("ntk", "eigenvalues"), ("neurons", "layers"), ("neurons", "standard_error")],
)  # fmt: skip
def test_missing_datasets_are_named(folder, shown, name, dataset):
    edited(folder, name, lambda file: file.pop(dataset))
    assert f"{name}.h5: {dataset} missing" in shown(folder).text


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("hessian", "loss"), ("hessian", "norm"), ("hessian", "confidence"), ("surface", "cosine"),
     ("ntk", "epsilon"), ("neurons", "parameters_hash")],
)  # fmt: skip
def test_attributes_of_other_types_are_named(folder, shown, name, attribute):
    wrong = 3 if attribute == "parameters_hash" else "high"
    edited(folder, name, lambda file: file.attrs.update({attribute: wrong}))
    assert f"{name}.h5: {attribute} is {wrong!r}, not" in shown(folder).text


def test_marks_of_another_shape_are_named(folder, shown):
    def edit(file):
        del file["done"]
        file["done"] = np.ones((2, 2), "u1")

    for name in ("hessian", "surface", "ntk", "neurons"):
        edited(folder, name, edit)
    text = shown(folder).text
    assert text.count("(2, 2)") >= 4
    for name in ("hessian", "surface", "ntk", "neurons"):
        assert f"{name}.h5" in text


@pytest.mark.parametrize(
    ("name", "dataset", "value", "told"),
    [
        ("neurons", "standard_error", -1.0, "standard_error has 1 of 1 values below 0"),
        ("neurons", "active_fraction", 1.5, "active_fraction has 1 of 1 values outside of 0 to 1"),
        ("surface", "train_loss", 1e300, "train_loss has 1 of 9 values beyond ±1e100"),
        ("surface", "xcoordinates", 5.0, "finite, rising numbers"),
        ("hessian", "parameters", -1, "parameters has 1 of 2 values below 0"),
        ("hessian", "lambda_max_upper", 1.0, "lambda_max has 1 of 2 estimates outside of their"),
        ("ntk", "eigenvalues", np.nan, "eigenvalues are not finite"),
    ],
)
def test_values_that_cannot_be_right_are_counted(folder, shown, name, dataset, value, told):
    def edit(file):
        values = file[dataset][...]
        values.flat[0] = value
        file[dataset][...] = values

    edited(folder, name, edit)
    assert told in shown(folder).text


@pytest.mark.parametrize("model", ["$x$", r"$^_\$", "$\\frac{$", "_name", "\ud800", "a\nb\0"])
def test_any_name_of_a_model_gives_a_page_with_pictures(folder, drawn, model):
    change(folder / "config.json", "model", "name", value=model)
    found = drawn(folder)
    assert len(found.all("img")) == 5
    assert model.encode("unicode_escape").decode().replace("\\\\", "\\") in found.text


@pytest.mark.parametrize(
    ("name", "told"),
    [(b"\xff\xfe", r"\xff\xfe"), (b"<i>&\"'", "<i>&\"'"), (b"a\nb", r"a\nb"),
     ("\u202eab".encode(), r"\u202eab"), (b"n" * 250, "n" * 59 + "…"), (b"$^_$", "$^_$")],
)  # fmt: skip
def test_any_name_of_a_folder_gives_a_page(tmp_path, folder, shown, name, told, capsys):
    (folder / "config.json").unlink()
    other = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    folder.rename(other)
    found = shown(other)
    assert told in found.text
    assert "\u202e" not in found.text
    assert not found.all("i")
    assert main(["report", str(other), "--out", str(tmp_path / "other.html")]) == 0
    capsys.readouterr().out.encode()


def test_the_title_is_escaped_and_never_empty(tmp_path, folder, monkeypatch):
    without_drawing(monkeypatch)
    hostile = "</title><script>alert(1)</script>\u202e"
    found = page([report.collect(folder)], tmp_path, title=hostile)
    assert found.texts("title") == found.texts("h1") == [hostile.replace("\u202e", r"\u202e")]
    assert not found.all("script")
    assert page([report.collect(folder)], tmp_path, title=" ").texts("h1") == ["Loss landscapes"]


@pytest.mark.parametrize("file", ["metrics.jsonl", "config.json", "hessian.h5"])
@pytest.mark.parametrize("what", ["pipe", "folder", "loop", "nothing"])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, folder, shown, file, what):
    (folder / file).unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda path: path.symlink_to(path),
     "nothing": lambda path: path.symlink_to("gone")}[what](folder / file)  # fmt: skip
    (tmp_path / "loop").symlink_to("loop")  # beside the runs
    assert f"ViT-Mini/2: {file}" in shown(folder).text or f"bad: {file}" in shown(folder).text
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report.html"), "--json"]) == 0


def test_a_long_log_takes_bounded_time_and_memory_and_is_told_to_be_thinned(folder, shown):
    path = folder / "metrics.jsonl"
    line = '{"step": %d, "epoch": %f, "train_loss": 1.0, "gradient_norm": 1.0}\n'
    with path.open("w") as file:
        file.writelines(line % (step, step / 9) for step in range(200_000))
        file.write('{"step": 200000, "epoch": 9e5, "train_loss": 0.5, "test_accuracy": 0.9}\n')
    start = time.process_time()
    found, every = reading.log(path, pytest.fail)
    assert time.process_time() - start < 2
    assert every == 40
    assert len(found) == 5001
    assert found[-1]["test_accuracy"] == 0.9
    assert "every 40th line of ViT-Mini/2 is shown" in shown(folder).text


def test_files_too_large_to_be_read_are_named(folder, shown):
    with (folder / "metrics.jsonl").open("ab") as file:
        file.truncate(2**40)
    with (folder / "config.json").open("ab") as file:
        file.truncate(2**30)
    text = shown(folder).text
    assert "config.json: larger than 16 MiB and not read" in text
    assert "metrics.jsonl: larger than 1024 MiB and not read" in text


def test_deeply_nested_json_is_named(folder, shown):
    (folder / "config.json").write_text("[" * 10**5)
    (folder / "metrics.jsonl").write_text("[" * 10**4 + "\n{}\n")
    text = shown(folder).text
    assert "config.json: not readable as JSON" in text
    assert "metrics.jsonl: line 1: not JSON; left out" in text


def test_the_directions_of_a_surface_are_not_read(folder):
    edited(folder, "surface", lambda file: file.create_dataset("directions/x/w", data=np.ones(9)))
    assert not [n for n in report.collect(folder).results["surface"].data if "directions" in n]


def test_labels_are_told_apart_whatever_the_names(tmp_path):
    for place, name in enumerate(("A", "A", "A (run) #2")):
        made.write_config(tmp_path / str(place) / "run", name)
    runs = [report.collect(tmp_path / str(place) / "run") for place in range(3)]
    columns = report.table1(runs).columns
    assert len(set(columns)) == 4
