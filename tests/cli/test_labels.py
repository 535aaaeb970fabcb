"""Labels of folders are those of the checkpoint, or the request is refused."""

import json
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from landscape import results
from landscape.checkpoints import Checkpoint, load, write
from landscape.data.classes import imagenet_classes
from landscape.models import registry

IDENTIFIERS = [identifier for identifier, _ in imagenet_classes()]
PHOTOGRAPHS = Path(__file__).parents[3] / "shared/data/imagenet-samples.zip"


def checkpoint_of(path, classes, **config):
    model = registry.build("Mixer-Mini/2", classes=classes, shape={"depth": 1}, head_init="lecun")
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0)))
    write(Checkpoint(params, 3, {"model": model.request, **config}, model.name), path)
    return path


def folder_of(path, names, count=2, seed=0):
    """Class folders of small grey images; the images and their classes in the order of names."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (len(names) * count, 8, 8), dtype=np.uint8)
    for index, pixels in enumerate(images):
        file = path / names[index // count] / f"{index:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return images[..., None]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    return checkpoint_of(tmp_path_factory.mktemp("thousand") / "net.safetensors", 1000)


def test_folders_named_by_wordnet_have_the_labels_of_imagenet(call, thousand, tmp_path):
    labels = [7, 250, 999, 281, 0]
    images = folder_of(tmp_path / "folder", [IDENTIFIERS[label] for label in labels])
    np.savez(tmp_path / "explicit.npz", images=images, labels=np.repeat(labels, 2))
    order = np.argsort(labels)  # of the folder's split; the numbers do not depend on it
    assert order.tolist() != list(range(5))
    for command, key in (("evaluate", "loss"), ("surface", "centre")):
        found = {}
        for data in ("folder", "explicit.npz"):
            more = ("--grid", 3, "--out", tmp_path / f"{data}.h5") if command == "surface" else ()
            asked = (command, "--checkpoint", thousand, "--data", tmp_path / data, *more)
            status, found[data], err = call(*asked)
            assert (status, err) == (0, "")
        assert found["folder"][key] == pytest.approx(found["explicit.npz"][key], rel=1e-6)
    stored = results.read(tmp_path / "folder.h5").attributes
    assert stored["class_labels"] == {IDENTIFIERS[label]: label for label in sorted(labels)}
    assert "class_labels" not in results.read(tmp_path / "explicit.npz.h5").attributes


def test_positions_never_are_labels_of_a_network_with_more_classes(call, thousand, tmp_path):
    folder_of(tmp_path / "data", [f"class {i:03}" for i in range(5)], 1)
    out = tmp_path / "h.h5"
    asked = ("hessian", "--checkpoint", thousand, "--data", tmp_path / "data", "--out", out)
    status, _, err = call(*asked)
    assert status == 2
    assert "it has 5 classes (class 000, class 001, class 002, ...)" in err
    assert "has 1000 whose names are not known" in err
    assert not out.exists()


def test_the_names_are_those_that_the_run_has_stored(call, run, tmp_path):
    order = [3, 1, 9]
    images = folder_of(tmp_path / "data", [str(digit) for digit in order])
    np.savez(tmp_path / "a.npz", images=images, labels=np.repeat(order, 2))
    folder, explicit = (
        call("evaluate", "--checkpoint", run, "--data", tmp_path / name)[1]
        for name in ("data", "a.npz")
    )
    assert folder["loss"] == pytest.approx(explicit["loss"], rel=1e-6)
    for name, other in {"3": "three", "1": "one", "9": "nine"}.items():
        (tmp_path / "data" / name).rename(tmp_path / "data" / other)
    status, _, err = call("evaluate", "--checkpoint", run, "--data", tmp_path / "data")
    assert status == 2
    assert "'nine' is no class of Mixer-Mini/2" in err


@pytest.mark.parametrize("form", ["net.safetensors", "folder"])
def test_a_converted_checkpoint_keeps_its_class_names(call, run, tmp_path, form):
    status, _, err = call("convert", run, tmp_path / form)
    assert status == 0, err
    assert load(str(tmp_path / form)).class_names == list("0123456789")
    status, _, err = call("convert", run, tmp_path / f"other-{form}", "--classes", 7)
    assert status == 0, err
    assert load(str(tmp_path / f"other-{form}")).class_names is None


def test_unknown_names_in_the_order_of_as_many_classes_are_said(call, tmp_path):
    net = checkpoint_of(tmp_path / "net.safetensors", 2)
    images = folder_of(tmp_path / "data", ["cat", "dog"])
    status, found, err = call("evaluate", "--checkpoint", net, "--data", tmp_path / "data")
    assert status == 0
    assert err.count("\n") == 1
    assert "the class names of Mixer-Mini/2" in err
    assert "are not known" in err
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 0, 1, 1])
    explicit = call("evaluate", "--checkpoint", net, "--data", tmp_path / "a.npz")[1]
    assert found["loss"] == pytest.approx(explicit["loss"], rel=1e-6)


def test_a_configuration_whose_names_are_not_the_classes_is_refused(call, run, tmp_path):
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    config = json.loads((damaged / "config.json").read_text())
    config["data"]["class_names"] = ["0", "1"]
    (damaged / "config.json").write_text(json.dumps(config))
    status, _, err = call("evaluate", "--checkpoint", damaged)
    assert status == 2
    assert "class names that are not 10 different ones" in err


def test_neurons_need_no_labels(call, thousand, tmp_path):
    folder_of(tmp_path / "data", ["cat", "dog"])
    asked = ("--data", tmp_path / "data", "--out", tmp_path / "n.h5")
    assert call("neurons", "--checkpoint", thousand, *asked)[0] == 0


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the photographs lie beside the repository")
def test_every_second_class_of_imagenet_is_found_by_its_folder():
    from landscape.data.classes import imagenet_label

    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        files = [Path(name) for name in archive.namelist() if name.endswith(".JPEG")]
    assert len(files) == 500
    labels = [imagenet_label(file.parent.name) for file in files]
    assert labels == list(range(0, 1000, 2))
