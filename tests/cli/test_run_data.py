"""The data that a run folder names: read again as they were, or refused; never run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from landscape import results
from landscape.data import load
from landscape.data.resizing import Geometry

PROGRAM = """
from pathlib import Path
import numpy as np

def made():
    Path({mark!r}).touch()
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8), np.arange(40) % 10
"""


@pytest.fixture
def with_reference(run, tmp_path):
    """A copy of the run whose configuration says that it was trained on something else."""

    def made(reference, **more):
        folder = tmp_path / "copy"
        shutil.copytree(run, folder, dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text())
        config["data"] = {"reference": reference, **more}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return made


@pytest.mark.parametrize("kind", ["file", "module"])
def test_a_function_is_called_only_if_the_command_line_names_it(
    call, with_reference, tmp_path, monkeypatch, kind
):
    mark = tmp_path / "executed"
    (tmp_path / "their_data.py").write_text(PROGRAM.format(mark=str(mark)))
    monkeypatch.chdir(tmp_path)
    name = f"{tmp_path / 'their_data.py'}:made" if kind == "file" else "their_data:made"
    folder = with_reference(name)
    commands = (
        ("evaluate",),
        ("hessian", "--blocks", "none"),
        ("surface", "--grid", 3),
        ("neurons",),
        ("ntk", "--batch-size", 4),
    )
    for command in commands:
        status, _, err = call(*command, "--checkpoint", folder)
        assert status == 2
        assert "names the function" in err
        assert f"--data {name}" in err
        assert not mark.exists()
    status, found, _ = call("evaluate", "--checkpoint", folder, "--data", name)
    assert status == 0
    assert found["examples"] == 40
    assert mark.exists()


@pytest.fixture
def trained(call, tmp_path, with_reference):
    """A run that says it was trained on an .npz, and that file."""
    rng = np.random.default_rng(0)
    arrays = {
        f"{part}images": rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
        for part in ("", "test_")
    }
    arrays |= {f"{part}labels": np.arange(20) % 10 for part in ("", "test_")}
    data = tmp_path / "data.npz"
    np.savez(data, **arrays)
    found = load(str(data))
    facts = {f"{n}_hash": split.hash for n, split in (("train", found.train), ("test", found.test))}
    folder = with_reference(str(data), train_examples=20, test_examples=20, **facts)
    return folder, data, arrays


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": np.arange(20)[::-1] % 10}, "train split: hash"),
        ({"test_labels": np.zeros(20, int)}, "test split: hash"),
        ({"images": np.zeros((21, 8, 8, 1), np.uint8), "labels": np.arange(21) % 10},
         "train split: examples 20, now 21"),
        ({"test_images": None, "test_labels": None}, "test split: examples 20, now None"),
    ],
)  # fmt: skip
def test_data_that_changed_since_the_training_are_refused(call, trained, tmp_path, change, told):
    folder, data, arrays = trained
    out = tmp_path / "n.h5"
    assert call("evaluate", "--checkpoint", folder)[0] == 0
    np.savez(data, **{k: v for k, v in (arrays | change).items() if v is not None})
    for asked in (("evaluate",), ("neurons", "--out", out), ("evaluate", "--data", data)):
        status, _, err = call(*asked, "--checkpoint", folder)
        assert status == 2
        assert f"has changed since the training ({told}" in err
        assert "--accept-changed-data" in err
    status, _, err = call("neurons", "--checkpoint", folder, "--out", out, "--accept-changed-data")
    assert status == 0
    assert err.startswith("note: data: ")
    assert err.count("\n") == 1
    assert results.read(out).attributes["data"]["changed_since_training"] is True


def test_other_data_are_not_compared_with_those_of_the_training(call, trained, tmp_path):
    folder, _, arrays = trained
    np.savez(tmp_path / "other.npz", images=arrays["test_images"], labels=arrays["labels"])
    assert call("evaluate", "--checkpoint", folder, "--data", tmp_path / "other.npz")[0] == 0


def test_another_spelling_of_the_same_data_is_the_same_data(call, trained, monkeypatch):
    folder, data, arrays = trained
    np.savez(data, **arrays | {"labels": np.arange(20)[::-1] % 10})
    monkeypatch.chdir(data.parent)
    status, _, err = call("evaluate", "--checkpoint", folder, "--data", f"./{data.name}")
    assert status == 2
    assert "has changed since the training" in err


def pictures(folder):
    """An upright picture in each of ten class folders."""
    rng = np.random.default_rng(0)
    for name in "0123456789":
        (folder / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (20, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / "a.png")
    return str(folder)


def test_images_are_cut_as_they_were_in_the_training(call, with_reference, tmp_path):
    """Also where the program would choose otherwise for this size by now."""
    reference, squash = pictures(tmp_path / "images"), Geometry("squash", 0.5, "bilinear")
    split = load(reference, image_size=8, geometry=squash).train
    folder = with_reference(reference, image_size=8, train_hash=split.hash)
    assert call("evaluate", "--checkpoint", folder)[0] == 2
    config = json.loads((folder / "config.json").read_text())
    for geometry, expected in (
        ({"resize": "squash", "crop": 0.5, "interpolation": "bilinear"}, 0),
        ({"resize": "squash"}, 2),
        ([1], 2),
    ):
        (folder / "config.json").write_text(json.dumps({**config, "geometry": geometry}))
        status, _, err = call("evaluate", "--checkpoint", folder)
        assert status == expected, err
        assert err.count("\n") == (status != 0)


def test_resized_images_are_compared_only_as_they_were_resized(call, with_reference, tmp_path):
    reference = pictures(tmp_path / "images")
    split = load(reference, image_size=8).train
    facts = {"image_size": 8, "train_examples": 10, "train_hash": split.hash}
    started = with_reference(reference, **facts | {"image_size": None})  # from another checkpoint
    assert call("evaluate", "--checkpoint", started)[0] == 0
    folder = with_reference(reference, **facts)
    assert call("evaluate", "--checkpoint", folder)[0] == 0
    other = ("--preprocessing", "big_vision")
    assert call("evaluate", "--checkpoint", folder, *other)[0] == 0
    shutil.rmtree(tmp_path / "images" / "9")
    status, _, err = call("evaluate", "--checkpoint", folder, *other)
    assert status == 2
    assert "examples 10, now 9" in err
