"""Checkpoints that others wrote, straight into the commands, and those that are refused there."""

import dataclasses
import json
import os
import pickle
import struct
import zipfile

import jax
import numpy as np
import pytest
from checkpoints import published, torch_files
from PIL import Image
from safetensors.numpy import load_file, save_file

from landscape.checkpoints import Checkpoint, write
from landscape.cli import subject
from landscape.data.resizing import Geometry, resized
from landscape.models.registry import build


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    """The state dict of a small ResNet as akamaster/pytorch_resnet_cifar10 names it."""
    model = build("CIFAR-ResNet-20", shape={"width": 4, "units": (1, 1, 1)}, head_init="lecun")
    params, state = jax.tree.map(np.asarray, (model.init(jax.random.key(0)), model.init_state()))
    path = tmp_path_factory.mktemp("converted") / "a.safetensors"
    write(Checkpoint(params, None, {"model": model.request}, model.name, state=state), path)
    return load_file(path)


@pytest.fixture(scope="module")
def weights(tensors, tmp_path_factory):
    """The same in PyTorch's old format below what a training script adds."""
    path = tmp_path_factory.mktemp("weights") / "model.th"
    content = {"best_prec1": 92.6, "state_dict": torch_files.state_dict(tensors)}
    return torch_files.write(path, content, "legacy")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("images") / "images.npz"
    pixels = rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    np.savez(path, images=pixels, labels=np.arange(16) % 10)
    return path


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("evaluate", ()),
        ("hessian", ("--blocks", "none", "--width", 0.3)),
        ("surface", ("--grid", "3")),
        ("neurons", ()),
    ],
)
def test_a_file_goes_straight_into_the_command(call, weights, images, tmp_path, command, more):
    out = () if command == "evaluate" else ("--out", tmp_path / "out.h5")
    asked = [command, "--checkpoint", weights, "--data", images, *more, *out]
    status, found, err = call(*asked)
    assert status == 0, err
    assert found.get("model", "CIFAR-ResNet-20") == "CIFAR-ResNet-20"


def test_another_function_of_the_same_parameters_is_another_result(call, weights, images, tmp_path):
    asked = ["neurons", "--checkpoint", weights, "--data", images, "--out", tmp_path / "n.h5"]
    assert call(*asked)[0] == 0
    for more in (
        ("--activation", "gelu_erf"),
        ("--preprocessing", "zero_to_one"),
        ("--dtype", "bfloat16"),
    ):
        status, _, err = call(*asked, *more)
        assert status == 2
        assert more[1] in err
    losses = [
        call("evaluate", *asked[1:-2], *more)[1]["loss"]
        for more in ((), ("--activation", "relu"), ("--activation", "gelu_erf"))
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.fixture(scope="module")
def vit():
    """A state dict of timm's."""
    return published.timm_vit(build("ViT-Mini/2")).arrays


@pytest.mark.parametrize(
    "extra",
    [
        {"blocks.0.ls1.gamma": np.full(48, 1e-3, "f")},  # DeiT III, DINOv2
        {"fc_norm.weight": np.ones(48, "f"), "norm.weight": None, "norm.bias": None},
    ],
)
def test_a_network_that_is_none_of_ours_is_not_taken_for_one(call, vit, tmp_path, extra):
    arrays = {name: array for name, array in {**vit, **extra}.items() if array is not None}
    path, added = tmp_path / "a.safetensors", next(iter(extra))
    save_file(arrays, path)
    _, found, _ = call("inspect", path)
    assert (found["model"], found["fits"]) == ("ViT-Mini/2", False)
    assert added in found["extra"]
    for asked in (
        ("evaluate", "--checkpoint", path, "--data", "digits", "--model", "ViT-Mini/2"),
        ("convert", path, tmp_path / "b.npz"),
        ("train", "--start-from", path, "--out", tmp_path / "tuned"),
    ):
        status, _, err = call(*asked)
        assert status == 2
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "tuned").exists()
        assert added in err


def test_what_names_do_not_tell_is_noted(call, vit, tmp_path):
    save_file(vit, tmp_path / "a.safetensors")
    _, found, _ = call("inspect", tmp_path / "a.safetensors", "--out", tmp_path / "a.json")
    assert found["notes"][0] == "3 heads, by convention for this width"
    assert "by the publisher's convention" in found["notes"][1]
    assert "DeiT" in found["notes"][2]
    assert json.loads((tmp_path / "a.json").read_text()) == found


@pytest.fixture(scope="module")
def vit_384(tmp_path_factory):
    """A small ViT for images of 384 pixels, with timm's names and nothing else."""
    sizes = {"depth": 1, "width": 48, "heads": 3, "mlp": 48}
    model = build("ViT-B/32", shape=sizes, image_shape=(384, 384, 3), classes=2)
    params = jax.tree.map(np.asarray, model.init(jax.random.key(0)))
    path = tmp_path_factory.mktemp("vit") / "384.safetensors"
    write(Checkpoint(params, None, {"model": model.request}, model.name), path)
    save_file(load_file(path), path)
    return path


def test_inspect_tells_what_is_assumed_of_the_preprocessing(call, vit_384):
    _, found, _ = call("inspect", vit_384)
    assert found["preprocessing"] == {
        "name": "timm_vit",
        "image_size": 384,
        "values": "[-1, 1]",
        "resize": "shorter_side",
        "crop": 1.0,
        "interpolation": "bicubic",
    }
    told = "preprocessing timm_vit for images of 384 pixels, by the publisher's convention: the "
    assert any(note.startswith(told + "file does not tell it") for note in found["notes"])


def test_a_network_for_384_pixels_sees_whole_images_and_the_result_says_so(vit_384, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "1.png")
    asked = {"checkpoint": str(vit_384), "data": str(tmp_path)}
    loaded = subject.load(subject.Subject(**asked))
    whole = Geometry("shorter_side", 1.0, "bicubic")
    np.testing.assert_array_equal(loaded.split.images[0], resized(image, whole, 384))
    assert loaded.record["geometry"] == dataclasses.asdict(whole)
    squashed = subject.load(subject.Subject(**asked, preprocessing="vision_transformer"))
    assert squashed.record["preprocessing"] == "vision_transformer"
    assert "geometry" not in squashed.record  # the only one of this name


class _Runs:
    """What a pickle can carry: a call made as it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _truncated(path, good):
    path.write_bytes(good.read_bytes()[:-100])


def _flipped(path, good):
    content = bytearray(good.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def _wrong_dtype(path, good):
    np.savez(path, **{"head/kernel": np.ones((3, 4), "S3")})


def _wrong_rank(path, good):
    np.savez(path, **{"blocks.0.attn.qkv.weight": np.ones(3, "f")})


def _not_finite(path, good):
    np.savez(path, **{"head/kernel": np.full((3, 4), np.nan, "f")})


def _code(path, good):
    path.write_bytes(pickle.dumps(_Runs(path.with_name("executed"))))


def _code_in_zip(path, good):
    body = pickle.dumps(_Runs(path.with_name("executed")), protocol=2)
    torch_files.write(path, {}, "zip", body=body)


def _bomb(path, good):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
        told = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**26},), }}"
        with archive.open("head/kernel.npy", "w") as file:
            file.write(header + told.ljust(117).encode() + b"\n")
            for _ in range(256):
                file.write(bytes(2**20))


def _many(path, good):
    names = {f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10**6)}
    header = json.dumps(names).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def _upwards(path, good):
    np.savez(path, **{"../../head/kernel": np.ones((3, 4), "f")})


HOSTILE = {each.__name__.strip("_"): each for each in (
    _truncated, _flipped, _wrong_dtype, _wrong_rank, _not_finite, _code, _code_in_zip, _bomb,
    _many, _upwards,
)}  # fmt: skip


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_files_are_told_in_one_line(call, weights, images, tmp_path, how):
    path = tmp_path / "model.npz"  # the name is no promise
    HOSTILE[how](path, weights)
    status, found, err = call("hessian", "--checkpoint", path, "--data", images)
    assert (status, found) == (2, None)
    assert len(err.strip().splitlines()) == 1
    assert str(path) in err
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_weights_of_keras_are_named_with_what_to_do(call, images, tmp_path):
    import h5py

    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file["dense/kernel:0"] = np.ones((2, 2), "f")
    status, _, err = call("inspect", tmp_path / "model.h5")
    assert status == 2
    assert "Keras" in err
