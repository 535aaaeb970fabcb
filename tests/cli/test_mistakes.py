"""What goes wrong for a new user: one clear line, the right status, nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from landscape import checkpoints, results
from landscape.cli import main


def complaint(capsys, *arguments):
    """The single line a wrong request gives."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    return err


def test_unknown_commands_and_options(capsys):
    assert "did you mean hessian?" in complaint(capsys, "hesian")
    assert "did you mean --width?" in complaint(capsys, "hessian", "--wdth", 3)
    assert "'abc'" in complaint(capsys, "hessian", "--width", "abc")
    assert "is out of range" in complaint(capsys, "train", "--epochs", -3, "--out", "x")


def test_an_unknown_model_names_near_ones(capsys, tmp_path):
    line = complaint(capsys, "train", "--model", "ViT-Mini/3", "--out", tmp_path / "x")
    assert "ViT-Mini/3" in line
    assert "ViT-Mini/2" in line


def test_a_missing_checkpoint(capsys, tmp_path, run):
    assert "there is no" in complaint(capsys, "hessian", "--checkpoint", tmp_path / "nothing")
    assert "none given" in complaint(capsys, "hessian")
    assert "999" in complaint(capsys, "hessian", "--checkpoint", f"{run}@999")
    (tmp_path / "empty").mkdir()
    complaint(capsys, "hessian", "--checkpoint", tmp_path / "empty")


def test_a_truncated_checkpoint(capsys, tmp_path, run):
    folder = tmp_path / "truncated"
    shutil.copytree(run, folder)
    files = [p for p in (folder / "checkpoints" / "11" / "params").rglob("*") if p.is_file()]
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line = complaint(capsys, "hessian", "--checkpoint", folder)
    assert "11" in line
    checkpoints.save_npz(checkpoints.load(str(run)).params, tmp_path / "w.npz")
    content = (tmp_path / "w.npz").read_bytes()
    (tmp_path / "w.npz").write_bytes(content[: len(content) // 2])
    complaint(capsys, "inspect", tmp_path / "w.npz")


def test_a_folder_without_images(capsys, tmp_path, run):
    (tmp_path / "folder" / "class").mkdir(parents=True)
    line = complaint(capsys, "evaluate", "--checkpoint", run, "--data", tmp_path / "folder")
    assert "folder" in line


def test_images_of_another_size(capsys, tmp_path, run):
    np.savez(tmp_path / "small.npz", images=np.zeros((2, 6, 6, 1), "u1"), labels=np.arange(2))
    line = complaint(capsys, "evaluate", "--checkpoint", run, "--data", tmp_path / "small.npz")
    assert "(6, 6, 1)" in line
    assert "(8, 8, 1)" in line


def test_labels_out_of_range(capsys, tmp_path, run):
    images = np.zeros((4, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "many.npz", images=images, labels=np.array([0, 1, 2, 12]))
    line = complaint(capsys, "evaluate", "--checkpoint", run, "--data", tmp_path / "many.npz")
    assert "12" in line
    assert "10 classes" in line
    np.savez(tmp_path / "negative.npz", images=images, labels=np.array([0, 1, 2, -1]))
    line = complaint(capsys, "evaluate", "--checkpoint", run, "--data", tmp_path / "negative.npz")
    assert "-1" in line


def test_weights_that_are_not_numbers(capsys, tmp_path, run):
    params = checkpoints.load(str(run)).params
    params["stem"]["bias"][:3] = np.nan
    checkpoints.save_npz(params, tmp_path / "nan.npz")
    arguments = ["--model", "Mixer-Mini/2", "--data", "digits"]
    line = complaint(capsys, "hessian", "--checkpoint", tmp_path / "nan.npz", *arguments)
    assert "3 non-finite values in 'stem/bias'" in line


def test_a_model_that_does_not_fit_names_what_differs(capsys, run):
    line = complaint(capsys, "hessian", "--checkpoint", run, "--model", "ViT-Mini/2")
    assert "MixerBlock_0" in line or "cls" in line
    params = checkpoints.load(str(run)).params
    assert params["stem"]["kernel"].ndim == 4


def test_too_large_a_batch(capsys, tmp_path, run, monkeypatch):
    line = complaint(capsys, "train", "--batch-size", 5000, "--out", tmp_path / "x")
    assert "5000" in line
    monkeypatch.setattr("landscape.devices.available_memory", lambda: 10_000)
    line = complaint(
        capsys, "hessian", "--checkpoint", run, "--batch-size", 1437, "--out", tmp_path / "h.h5"
    )
    assert "use --batch-size" in line


def test_other_requests_do_not_overwrite_a_result(capsys, tmp_path, run, call):
    arguments = ["surface", "--checkpoint", run, "--images", 64, "--out", tmp_path / "s.h5"]
    call(*arguments, "--grid", "3")
    before = (tmp_path / "s.h5").read_bytes()
    line = complaint(capsys, *arguments, "--grid", "3", "--seed", 5, "--quiet")
    assert "was made with" in line
    assert (tmp_path / "s.h5").read_bytes() == before
    assert "is a folder" in complaint(capsys, *arguments[:-1], tmp_path)


def test_ranges_of_options(capsys, run):
    checkpoint = ["--checkpoint", run]
    assert "grid" in complaint(capsys, "surface", *checkpoint, "--grid", "5x")
    assert "images" in complaint(capsys, "hessian", *checkpoint, "--images", 10_000)
    assert "width" in complaint(capsys, "hessian", *checkpoint, "--width", 3, "--quiet")
    assert "batches" in complaint(capsys, "ntk", *checkpoint, "--batches", 1000)
    line = complaint(capsys, "ntk", *checkpoint, "--batch-size", 2000)
    assert "batch-size: 2000, the split has 1438 images; use --batch-size 48" in line
    assert "devices" in complaint(capsys, "hessian", *checkpoint, "--devices", 99)


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(tmp_path, run):
    out = tmp_path / "s.h5"
    arguments = [sys.executable, "-m", "landscape.cli", "surface", "--checkpoint", str(run)]
    arguments += ["--grid", "200", "--out", str(out), "--quiet"]
    code = "import sys; from landscape.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments[3:]]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if out.exists() and results.read(out)["done"].sum() > 5:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()  # where interrupts are ignored, as in the background of a shell
    assert process.returncode == 130
    assert "To go on: analysis_cli.py surface" in err
    assert "Traceback" not in err
    assert 5 < results.read(out)["done"].sum() < 40_000


def test_defects_are_told_apart_from_mistakes(capsys, monkeypatch, run):
    monkeypatch.setattr("landscape.cli.formats.execute", lambda options: 1 / 0)
    assert main(["formats"]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main(["formats", "--debug"])


def test_nothing_of_this_wrote_into_the_run_folder(run):
    assert {p.name for p in run.iterdir()} == {"config.json", "metrics.jsonl", "checkpoints"}
    json.loads((run / "config.json").read_text())
