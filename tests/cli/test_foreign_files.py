"""Checkpoints that others wrote, straight into the commands, and those that are refused there."""

import json
import os
import pickle
import struct
import zipfile

import jax
import numpy as np
import pytest
from checkpoints import published, torch_files
from safetensors.numpy import load_file, save_file

from landscape.checkpoints import Checkpoint, write
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
    assert "DeiT" in found["notes"][1]
    assert json.loads((tmp_path / "a.json").read_text()) == found


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
