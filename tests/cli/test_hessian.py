"""`hessian` with a user's own objective, small enough to compare with a dense matrix."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from own_objective import make
from rich.console import Console
from spectra import dense

from landscape import curvature, results
from landscape.cli import hessian, hessian_pictures
from landscape.curvature import fisher
from landscape.numbers import CHECKED, interval

OWN = f"{Path(__file__).with_name('own_objective.py')}:make"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def measure(call, tmp_path):
    """Run `hessian` on the objective; its JSON."""

    def run(*arguments, out="h.h5", expected=0):
        status, found, err = call(
            "hessian", "--objective", OWN, *arguments, "--out", tmp_path / out
        )
        assert status == expected, err
        return found

    return run


def shown(path) -> list[str]:
    """The lines that a result file is shown as."""
    console = Console(file=io.StringIO(), width=160)
    hessian.summary(path).show(console)
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def matrix():
    return dense(make())


def test_nothing_is_told_that_was_not_asked_for(measure):
    found = measure("--blocks", "none")
    assert set(found) == {
        "examples", "loss", "norm", "matrix", "file", "lambda_max", "lambda_min",
    }  # fmt: skip


def test_everything_at_once(measure, matrix, tmp_path):
    found = measure(
        "--blocks", "tensors", "--method", "both", "--top", 6, "--trace", "--probes", 40,
        "--density", "--data-error", "--scan", 50, 600, "--pictures", tmp_path / "pictures",
    )  # fmt: skip
    values = np.linalg.eigvalsh(matrix)
    assert found["lambda_max"]["lower"] <= values[-1] <= found["lambda_max"]["upper"]
    assert found["lambda_min"]["lower"] <= values[0] <= found["lambda_min"]["upper"]
    top = [pair["value"] for pair in found["top"]]
    np.testing.assert_allclose(top, values[::-1][:6], rtol=1e-3)
    assert all(pair["residual"] <= 2e-3 * values[-1] for pair in found["top"])
    checks = [found["lambda_max"]["check"], *(pair["check"] for pair in found["top"])]
    np.testing.assert_allclose(checks, values[::-1][[0, *range(6)]], rtol=1e-3)
    assert 0 < found["lambda_max"]["product_error"] < 1e-3 * values[-1]
    for name, true in (("trace", np.trace(matrix)), ("frobenius", np.linalg.norm(matrix))):
        assert abs(found[name]["estimate"] - true) <= 5 * found[name]["standard_error"]
        assert found[name]["probes"] == 40
    blocks = {"first/kernel": slice(0, 240), "second/kernel": slice(240, 400)}
    assert set(found["blocks"]) == set(blocks)
    for name, rows in blocks.items():
        block, part = found["blocks"][name], matrix[rows, rows]
        largest = np.linalg.eigvalsh(part)[-1]
        assert block["lambda_max"]["lower"] <= largest <= block["lambda_max"]["upper"]
        assert block["power"]["estimate"] == pytest.approx(largest, rel=0.02)
        error = 5 * block["trace"]["standard_error"]
        assert abs(block["trace"]["estimate"] - np.trace(part)) <= error
        assert block["parameters"] == len(part)
    dimension = (np.maximum(values, 0) / (np.maximum(values, 0) + 1)).sum()
    told = found["density"]["effective_dimension"]
    assert abs(told["estimate"] - dimension) <= 5 * told["standard_error"]
    assert found["data_error"]["quotient"] == pytest.approx(values[-1], rel=1e-3)
    assert len(found["data_error"]["shards"]) == 10
    assert [entry["examples"] for entry in found["scan"]] == [50, 600]
    assert found["scan"][0]["lambda_max"]["estimate"] > found["scan"][1]["lambda_max"]["estimate"]
    assert found["scan"][0]["other_examples"] < found["scan"][0]["lambda_max"]["estimate"]
    assert "held_out_lambda_max" not in found["data_error"]  # there is only one split
    drawn = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert drawn == {"blocks.png", "convergence.png", "spectrum.png", "scan.png"}
    assert not (tmp_path / "h.h5.partial").exists()


def test_power_iteration_alone(measure, matrix):
    found = measure("--method", "power", "--blocks", "tensors")
    assert "lambda_max" not in found
    assert not found["power"]["certified"]
    assert found["power"]["estimate"] == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=0.02)
    largest = np.linalg.eigvalsh(matrix[:240, :240])[-1]
    assert found["blocks"]["first/kernel"]["power"]["estimate"] == pytest.approx(largest, rel=0.02)


@pytest.mark.parametrize("kind", ["gauss_newton", "fisher", "empirical_fisher"])
def test_other_matrices(measure, kind):
    objective = make()
    objective = fisher(objective) if kind == "fisher" else objective.with_curvature(kind)
    largest = np.linalg.eigvalsh(dense(objective))[-1]
    found = measure("--matrix", kind, "--blocks", "none", "--ends", "max")
    assert found["matrix"] == kind
    assert found["loss"] == pytest.approx(
        make().loss(), rel=1e-6
    )  # drawn labels have no part in it
    assert found["lambda_max"]["lower"] <= largest <= found["lambda_max"]["upper"]


def test_linearizing_changes_no_number(measure):
    one, other = (
        measure("--blocks", "tensors", *more, out=f"{len(more)}.h5")
        for more in ([], ["--linearize"])
    )
    estimates = [found["lambda_max"]["estimate"] for found in (one, other)]
    assert estimates[0] == pytest.approx(estimates[1], rel=1e-5)


def test_running_out_of_products_is_told(measure, tmp_path):
    found = measure("--blocks", "none", "--limit", 3, "--scan", 100, expected=1)
    assert not found["lambda_max"]["converged"]
    assert not found["scan"][0]["lambda_max"]["converged"]
    assert any("λmin" in line and "NOT CONVERGED" in line for line in shown(tmp_path / "h.h5"))
    drawn = hessian_pictures._convergence(results.read(tmp_path / "h.h5"))
    assert drawn.get_title() == "Bounds on λmax, not converged"


def test_what_was_not_certified_has_bounds_and_is_not_called_converged(measure, tmp_path):
    path = tmp_path / "h.h5"
    found = measure(
        "--blocks", "tensors", "--ends", "max", "--density", "--starts", 2, "--steps", 8
    )
    smallest = found["lambda_min"]
    assert not smallest["converged"]
    assert smallest["upper"] - smallest["lower"] > 0.01 * abs(smallest["estimate"])
    lines = shown(path)
    bounds = interval(smallest["lower"], smallest["upper"]) + " (not searched)"
    (row,) = [line for line in lines if "λmin" in line]  # nothing of it beside the blocks
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["λmin", "", bounds]
    (place,) = [i for i, line in enumerate(lines) if line.startswith("┃ block")]
    heads = [line.strip("┃ ").split("┃")[-1].strip() for line in lines[place - 1 : place + 1]]
    assert heads == ["λmax", "converged"]
    words = [text.get_text() for text in hessian_pictures._spectrum(results.read(path)).texts]
    assert words[0].endswith("ticks: certified λmax")
    closing = hessian_pictures._convergence(results.read(path))
    estimate, upper = (line.get_xydata()[-1] for line in closing.lines[:2])
    largest = found["lambda_max"]
    np.testing.assert_array_equal(estimate, [largest["products"], largest["estimate"]])
    np.testing.assert_array_equal(upper, [largest["products"], largest["upper"]])
    assert closing.get_title() == "Bounds on λmax"


def test_the_other_split_is_searched_and_all_bounds_share_the_confidence(
    measure, monkeypatch, tmp_path
):
    spent, settings = [], sys.modules["landscape.curvature.extremes"]._Settings
    search, pairs = settings.search, curvature.eigenpairs

    def searched(self, *arguments):
        spent.append((1 - self.confidence) / self.statements)
        return search(self, *arguments)

    def paired(*arguments, confidence, **options):
        spent.append(1 - confidence)
        return pairs(*arguments, confidence=confidence, **options)

    other = make().subset(range(100))
    monkeypatch.setattr(other, "describe", lambda: {"data": {"split": "test"}})
    monkeypatch.setattr(hessian, "_other_split", lambda *_: other)
    monkeypatch.setattr(settings, "search", searched)
    monkeypatch.setattr(curvature, "eigenpairs", paired)
    more = ["--blocks", "tensors", "--scan", 50, 600, "--top", 1, "--data-error"]
    found = measure(*more, "--ends", "max", "--confidence", "0.99")
    assert len(spent) == 3 + 2 + 1 + 1  # targets, scan, top, the other split
    assert sum(spent) == pytest.approx(0.01)
    error = found["data_error"]
    assert (error["held_out_split"], error["held_out_examples"]) == ("test", 100)
    top = error["held_out_lambda_max"]
    assert error["held_out"] <= top["upper"]
    assert top["lower"] <= np.linalg.eigvalsh(dense(other))[-1] <= top["upper"]
    assert top["converged"]

    # A finding is said, and only then.
    path, told = tmp_path / "h.h5", "Sharper on the test split"
    upper = found["lambda_max"]["upper"]
    for quotient, exceeds in ((0.5 * upper, False), (2 * upper, True)):
        with h5py.File(path, "r+") as file:
            file["data_error/held_out"][...] = quotient
            file["data_error/held_out_lambda_max_lower"][...] = 0.5 * upper
        assert hessian.summary(path).data["data_error"]["held_out_exceeds_upper_bound"] == exceeds
        assert any(line.startswith(told) for line in shown(path)) == exceeds
    # λmax itself may lie above, which says it all.
    told = "λmax over the test images, at least "
    with h5py.File(path, "r+") as file:
        file["data_error/held_out"][...] = 0.5 * upper
        file["data_error/held_out_lambda_max_upper"][...] = 3 * upper
    for lower, exceeds in ((0.9 * upper, False), (2 * upper, True)):
        with h5py.File(path, "r+") as file:
            file["data_error/held_out_lambda_max_lower"][...] = lower
        error = hessian.summary(path).data["data_error"]
        assert error["held_out_lambda_max_exceeds"] == exceeds
        assert not error["held_out_exceeds_upper_bound"]
        assert any(line.startswith(told) for line in shown(path)) == exceeds
    hessian_pictures.draw(path, tmp_path / "pictures")
    assert (tmp_path / "pictures" / "data_error.png").stat().st_size > 10_000
    with h5py.File(path, "r+") as file:
        file["data_error/held_out_lambda_max_converged"][...] = 0
    assert not hessian.summary(path).converged


def test_printed_bounds_contain_the_bounds(measure, tmp_path):
    path, given = tmp_path / "h.h5", (33.159634, 33.158869, 33.160400)
    measure("--blocks", "none", "--top", 1, "--scan", 600)
    with h5py.File(path, "r+") as file:
        for end in ("lambda_max_", "lambda_min_", "scan/"):
            for part, value in zip(("estimate", "lower", "upper"), given, strict=True):
                file[end + part][0] = value
        for part, value in zip(("value", "lower", "upper"), given, strict=True):
            file[f"top/{part}"][0] = value
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in shown(path)
        if "33.1" in line
    ]
    found = {row[0]: row for row in cells}
    assert found["whole"][2:5] == found["600"][1:4] == ["33.16", "33.15", "33.17"]
    assert found["1"][1:4] == ["33.16", "33.15", "33.17"]
    assert found["λmin"][1:] == ["33.16", "[33.15, 33.17]"]


def test_an_end_that_its_vector_does_not_confirm_is_said_by_its_name(measure, tmp_path):
    path = tmp_path / "h.h5"
    found = measure("--blocks", "tensors", "--scan", 600)
    ends = [found["lambda_max"], found["lambda_min"], found["scan"][0]["lambda_max"]]
    assert all(end["confirmed"] for end in ends)
    assert not any("confirmed" in line for line in shown(path))
    with h5py.File(path, "r+") as file:  # merely wide, and a check as it happens to be
        file["lambda_max_converged"][1] = 0
        file["lambda_max_check"][1] *= 0.8
    assert not any("confirmed" in line for line in shown(path))
    names = {
        "λmax": ("lambda_max_confirmed", 0),
        "λmin": ("lambda_min_confirmed", 0),
        "λmax of first/kernel": ("lambda_max_confirmed", 1),
        "λmax over 600 images": ("scan/confirmed", 0),
    }
    for name, (dataset, place) in names.items():
        with h5py.File(path, "r+") as file:
            file[dataset][place] = 0
        (line,) = [line for line in shown(path) if "confirmed" in line]
        assert line.startswith(f"{name} is not confirmed: ")
        assert "by the check along its vector" in line
        with h5py.File(path, "r+") as file:
            file[dataset][place] = 1
    assert not hessian.summary(path).converged


def test_an_end_that_was_not_asked_for_need_not_be_confirmed(measure, tmp_path):
    found = measure("--blocks", "none", "--ends", "max")
    assert not found["lambda_min"]["confirmed"]
    assert not any("confirmed" in line for line in shown(tmp_path / "h.h5"))


def test_what_checked_means_is_said_where_it_is_shown(measure, tmp_path):
    measure("--blocks", "none", "--ends", "max", "--top", 1)
    lines = shown(tmp_path / "h.h5")
    assert any("┃ checked ┃" in line for line in lines)
    assert CHECKED in lines
    assert not any("in float64 ┃" in line for line in lines)


def test_files_of_the_earlier_schema_are_refused_by_its_number(measure, call, tmp_path):
    path, arguments = tmp_path / "h.h5", ["--blocks", "none", "--ends", "max"]
    measure(*arguments)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 1
        file.attrs["request"] = "{}"
    status, _, err = call("hessian", "--objective", OWN, *arguments, "--out", path)
    assert status == 2
    assert "made by an earlier version of landscape (file schema 1, now 2); move the file" in err


def test_central_differences_agree(measure, matrix):
    found = measure("--second-derivative", "central_differences", "--blocks", "none")
    largest = np.linalg.eigvalsh(matrix)[-1]
    assert found["lambda_max"]["estimate"] == pytest.approx(largest, rel=1e-2)
    assert found["lambda_max"]["lower"] <= largest <= found["lambda_max"]["upper"]


def test_blocks_by_regular_expression(measure):
    found = measure("--blocks", "a=first/", "rest=second", "--ends", "max")
    assert {name: b["parameters"] for name, b in found["blocks"].items()} == {"a": 240, "rest": 160}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--blocks", "a=first", "paper"], "neither one partition nor NAME=REGEX"),
        (["--blocks", "a=third"], "matches no parameter"),
        (["--top", "500"], "the matrix has 400"),
        (["--scan", "601"], "there are 600"),
        (["--trace", "--probes", "0"], "probes: 0"),
        (["--density", "--starts", "0"], "starts: 0"),
        (["--matrix", "hesian"], "hesian"),
        (["--blocks", "top=first"], "'top' is taken"),
        (["--blocks", "a=first", "scan 5=second"], "'scan 5' is taken"),
        (["--blocks", "a=first", "power whole=second"], "'power whole' is taken"),
        (["--blocks", "a=first", "a=second"], "two are called 'a'"),
        (["--blocks", "=first"], "neither one partition nor NAME=REGEX"),
        (["--blocks", "a=("], "'(' is no regular expression"),
        (["--scan", "50", "50"], "twice"),
        (["--method", "power", "--data-error"], "data_error"),
        (["--second-derivative", "central_differences", "--data-error"], "second_derivative"),
    ],
)
def test_wrong_requests_take_one_line(call, tmp_path, arguments, told):
    status, _, err = call(
        "hessian", "--objective", OWN, "--blocks", "none", *arguments, "--out", tmp_path / "h.h5"
    )
    assert status == 2
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "h.h5").exists()


REQUEST = ["--blocks", "tensors", "--top", "6", "--trace", "--density", "--data-error", "--quiet"]


def start(out):
    words = ["hessian", "--objective", OWN, *REQUEST, "--out", str(out), "--json"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "analysis_cli.py"), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def finish(process, told=""):
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, (errors.decode(), told)


def test_a_killed_command_ends_with_the_same_file(tmp_path):
    rng = random.Random(time.time_ns())
    finish(start(tmp_path / "whole.h5"))
    path, told = tmp_path / "killed.h5", []
    for _ in range(3):
        process, delay = start(path), rng.uniform(0, 1.5)
        told.append(delay)
        while process.poll() is None and not path.exists():
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
    finish(start(path), told)
    expected, found = results.read(tmp_path / "whole.h5"), results.read(path)
    assert found.complete
    for name, value in expected.data.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(
                found[name], value, rtol=1e-5, atol=1e-6, err_msg=f"{name}, killed after {told} s"
            )
