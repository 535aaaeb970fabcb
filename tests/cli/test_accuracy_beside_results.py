"""The accuracy beside every eigenvalue and surface, and what is said of it at chance."""

import io

import numpy as np
import pytest
from rich.console import Console

from landscape import data, results
from landscape.cli import hessian, surface

# The cheapest there is.
ONE_PRODUCT = ["--blocks", "none", "--method", "power", "--iterations", 1,
               "--second-derivative", "central_differences"]  # fmt: skip
MEASURES = {
    "evaluate": [],
    "hessian": ONE_PRODUCT,
    "surface": ["--y", "none", "--grid", 3],
}
KEYS = ("accuracy", "accuracy_lower", "accuracy_upper", "most_frequent_label", "at_chance")


def shown(outcome) -> str:
    console = Console(file=io.StringIO(), width=200)
    outcome.show(console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def other_labels(tmp_path_factory):
    """The test images of the digits with labels of something else."""
    split = data.load("digits").test
    path = tmp_path_factory.mktemp("data") / "other.npz"
    labels = np.random.default_rng(0).permutation(split.labels)
    np.savez(path, images=split.images, labels=labels)
    return path


@pytest.fixture
def measured(run, call, tmp_path):
    """The JSON of a command on the same images."""

    def ask(command, *more, at=("--split", "test", "--images", 200)):
        out = ["--out", tmp_path / f"{command}.out"]
        arguments = [command, "--checkpoint", run, *at, *MEASURES[command], *more, *out]
        status, found, err = call(*arguments)
        assert status in (0, 1), err
        return found

    return ask


def test_all_commands_tell_the_same_accuracy_of_the_same_images(measured, tmp_path):
    expected = measured("evaluate")
    assert expected["accuracy_lower"] < expected["accuracy"] < expected["accuracy_upper"]
    assert not expected["at_chance"]
    assert "remark" not in expected
    for command, show in (("hessian", hessian.summary), ("surface", surface.summary)):
        found = measured(command)
        path = tmp_path / f"{command}.out"
        stored = results.read(path).attributes
        for one in (found, stored):
            assert {key: one[key] for key in KEYS} == {key: expected[key] for key in KEYS}
        told = shown(show(path) if command == "hessian" else show([path]))
        assert f"{100 * expected['accuracy']:.1f} % [" in told
        assert "are the labels those of the network?" not in told


@pytest.mark.parametrize("command", MEASURES)
def test_an_accuracy_at_chance_is_said_in_one_sentence(
    measured, call, run, other_labels, capsys, tmp_path, command
):
    found = measured(command, "--data", other_labels, at=("--images", 200))
    assert found["at_chance"] is True
    assert found["remark"].startswith(f"accuracy {100 * found['accuracy']:.3g} % is no")
    assert found["remark"].endswith("are the labels those of the network?")
    if command != "evaluate":
        path = tmp_path / f"{command}.out"
        show = hessian.summary(path) if command == "hessian" else surface.summary([path])
        assert shown(show).count(found["remark"]) == 1


def test_a_file_that_is_gone_on_with_keeps_its_accuracy(measured, tmp_path):
    first = measured("surface")
    assert measured("surface") == first
    assert results.read(tmp_path / "surface.out").attributes["accuracy"] == first["accuracy"]


@pytest.mark.parametrize("command", ["neurons", "ntk"])
@pytest.mark.parametrize(
    "unused",
    [["--loss", "sigmoid_cross_entropy"], ["--l2", 0.1], ["--devices", 2], ["--remat"]],
)  # fmt: skip
def test_options_without_use_are_refused(run, call, tmp_path, command, unused):
    status, _, err = call(command, "--checkpoint", run, *unused, "--out", tmp_path / "x.h5")
    assert status == 2
    assert f"`{command}` has no use for it; leave {unused[0]} out" in err
    assert not (tmp_path / "x.h5").exists()
