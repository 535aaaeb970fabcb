"""``convert`` from format to format, and fine-tuning of what it made."""

import itertools

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from landscape.checkpoints import Checkpoint, load, write
from landscape.models.registry import build
from landscape.parameters import named_leaves


@pytest.fixture(scope="module")
def weights(run, tmp_path_factory):
    """The parameters of the trained Mixer, as safetensors."""
    from landscape.cli import main

    path = tmp_path_factory.mktemp("converted") / "mixer.safetensors"
    assert main(["convert", str(run), str(path), "--json"]) == 0
    return path


def test_a_network_goes_round_all_formats_unchanged(run, weights, call, tmp_path):
    chain = [weights, tmp_path / "a.npz", tmp_path / "again"]
    for source, target in itertools.pairwise(chain):
        status, told, _ = call("convert", source, target)
        assert (status, told["model"]) == (0, "Mixer-Mini/2")
    expected = named_leaves(load(str(run)).params)
    for path in chain:
        for name, leaf in named_leaves(load(str(path)).params).items():
            np.testing.assert_array_equal(leaf, expected[name], err_msg=name)


def test_the_copy_is_analysed_like_the_run(run, weights, call, tmp_path):
    # The .npz's preprocessing has the same values, and digits are not resized.
    call("convert", weights, tmp_path / "a.npz")
    arguments = ["--images", 64, "--data", "digits"]
    _, by_file, _ = call("evaluate", "--checkpoint", tmp_path / "a.npz", *arguments)
    _, by_run, _ = call("evaluate", "--checkpoint", run, *arguments)
    assert by_file["loss"] == pytest.approx(by_run["loss"], rel=1e-6)


def test_it_says_what_the_reader_has_to_know(run, call, tmp_path):
    _, told, _ = call("convert", run, tmp_path / "a.safetensors")
    assert "act_layer='gelu_tanh'" in told["notes"][0]
    assert load(str(tmp_path / "a.safetensors")).request["activation"] == "gelu_tanh"
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "timm.safetensors")
    _, told, _ = call("convert", tmp_path / "timm.safetensors", tmp_path / "a.npz")
    assert told["notes"] == [
        "the file does not tell its activation, gelu_erf, and is read as gelu_tanh; "
        "say --activation gelu_erf",
        "the file does not tell its preprocessing, timm_mixer, and is read as big_vision; "
        "say --preprocessing timm_mixer",
    ]
    # What the notes say gives the same network.
    losses = [
        call("evaluate", "--checkpoint", tmp_path / path, "--data", "digits", *more)[1]["loss"]
        for path, more in (
            ("timm.safetensors", ()),
            ("a.npz", ("--activation", "gelu_erf", "--preprocessing", "timm_mixer")),
        )
    ]
    assert losses[0] == losses[1]


def test_a_network_that_shares_its_parameters_with_another_is_noted(call, tmp_path):
    model = build("CIFAR-ResNet-20-noshort", shape={"width": 4, "units": (1, 1)})
    params, state = model.init(jax.random.key(0)), model.init_state()
    found = Checkpoint(params, None, {"model": model.request}, "made here", state=state)
    write(found, tmp_path / "a.safetensors")
    status, told, _ = call("convert", tmp_path / "a.safetensors", tmp_path / "a.npz")
    assert status == 0
    assert "say --model CIFAR-ResNet-20-noshort" in told["notes"][0]
    more = ("--model", "CIFAR-ResNet-20-noshort")
    status, told, err = call("convert", tmp_path / "a.npz", tmp_path / "run", *more)
    assert (status, told["model"]) == (0, "CIFAR-ResNet-20-noshort"), err
    assert load(str(tmp_path / "run")).request["name"] == "CIFAR-ResNet-20-noshort"


def test_the_run_folder_of_a_network_without_preprocessing_is_analysed(call, tmp_path):
    model = build("CIFAR-ResNet-20", shape={"width": 4, "units": (1, 1)})
    params, state = model.init(jax.random.key(0)), model.init_state()
    write(Checkpoint(params, 0, {"model": model.request}, "", state=state), tmp_path / "run")
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(4))
    asked = ["--checkpoint", tmp_path / "run", "--data", tmp_path / "images.npz"]
    assert call("evaluate", *asked)[0] == 0


def test_classes_are_changed_on_the_way(weights, call, tmp_path):
    status, _, _ = call("convert", weights, tmp_path / "run", "--classes", 4)
    assert status == 0
    found = load(str(tmp_path / "run"))
    assert found.params["head"]["kernel"].shape == (48, 4)
    assert not np.any(found.params["head"]["kernel"])
    assert found.request["classes"] == 4


@pytest.mark.parametrize(
    ("target", "more", "line"),
    [
        ("a.npz", ("--out", "b.npz"), "out: convert writes OUT"),
        ("a.npz", ("--image-size", -4), "image_size: found -4"),
        ("a.pth", (), "of no format that is written"),
        ("a.npz", ("--image-size", 16), "error: checkpoint"),
        ("a.npz", ("--image-size", 16), "of other shape"),
        ("a.npz", ("--model", "ViT-Mini/2"), "does not fit the model"),
    ],
)
def test_what_cannot_be_written_is_refused(weights, call, tmp_path, target, more, line):
    status, _, err = call("convert", weights, tmp_path / target, *more)
    assert status == 2
    assert line in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten(weights, call):
    status, _, err = call("convert", weights, weights)
    assert status == 2
    assert "exists; name another" in err


def test_training_starts_from_a_checkpoint(weights, call, tmp_path):
    arguments = ["--start-from", weights, "--epochs", 0.1, "--learning-rate", 1e-9]
    status, _, _ = call("train", *arguments, "--out", tmp_path / "tuned")
    assert status == 0
    found = load(str(tmp_path / "tuned"))
    assert found.config["model"]["name"] == "Mixer-Mini/2"
    assert found.config["model"]["activation"] == "gelu_tanh"
    assert found.config["preprocessing"] == "minus_one_to_one"
    assert len(found.config["started_from"]["parameters_hash"]) == 16
    before = load(str(weights)).params["stem"]["kernel"]
    np.testing.assert_allclose(found.params["stem"]["kernel"], before, atol=1e-6)
    status, _, err = call("train", *arguments, "--model", "ViT-Mini/2", "--out", tmp_path / "other")
    assert status == 2
    assert "is a Mixer-Mini/2, not a ViT-Mini/2" in err


@pytest.mark.parametrize("form", ["a.npz", "a.safetensors", "a"])
def test_double_precision_is_kept_and_said_to_be(weights, call, tmp_path, form):
    expected = {n: np.float64(a) * (1 + 1e-12) for n, a in load_file(weights).items()}
    save_file(expected, tmp_path / "double.safetensors")
    asked = ("--model", "Mixer-Mini/2")
    status, told, _ = call("convert", tmp_path / "double.safetensors", tmp_path / form, *asked)
    assert status == 0
    assert "float64 is kept; commands compute with float32" in told["notes"][0]
    before = named_leaves(load(str(tmp_path / "double.safetensors"), double=True).params)
    after = named_leaves(load(str(tmp_path / form), double=True).params)
    assert before.keys() == after.keys()
    for name, leaf in after.items():
        assert leaf.dtype == np.float64
        np.testing.assert_array_equal(leaf, before[name])
    assert {leaf.dtype for leaf in named_leaves(load(str(tmp_path / form)).params).values()} == {
        np.dtype(np.float32)
    }
    _, told, _ = call("inspect", tmp_path / form)
    assert told["dtypes"] == ["float64"]
    assert "commands compute with float32, rounded" in told["notes"][0]


def test_values_beyond_single_precision_are_refused_in_one_line(weights, call, tmp_path):
    arrays = {n: np.float64(a) for n, a in load_file(weights).items()}
    arrays["head.bias"][0] = 1e300
    save_file(arrays, tmp_path / "large.safetensors")
    asked = ("evaluate", "--checkpoint", tmp_path / "large.safetensors", "--data", "digits")
    status, _, err = call(*asked, "--model", "Mixer-Mini/2")
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "head/bias" in err


def test_half_precision_is_said_to_be_written_in_single(weights, call, tmp_path):
    arrays = {n: a.astype(np.float16) for n, a in load_file(weights).items()}
    save_file(arrays, tmp_path / "half.safetensors")
    _, told, _ = call("convert", tmp_path / "half.safetensors", tmp_path / "a.npz")
    assert told["notes"][0] == "float16 is written as float32, exactly"
