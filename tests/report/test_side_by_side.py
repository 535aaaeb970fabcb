"""Nothing of other data, another step or other settings stands beside the rest without a word."""

import json

import numpy as np
import pytest
import synthetic_runs as made
from report_page import page, without_drawing

from landscape import report

TEST = {"reference": "digits", "split": "test", "examples": 20, "hash": "t"}
TWENTY = {"data": TEST, "examples": 20, "l2": 5.0}
GRID = np.linspace(-1, 1, 5)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The page of one run with these requests of its results."""
    without_drawing(monkeypatch)

    def write(*, hessian=None, surface=None, neurons=None, **config):
        folder = tmp_path / "run"
        made.write_config(folder, "ViT")
        if config:
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | config))
        if hessian is not None:
            made.write_hessian(folder, ["whole", "head"], request=hessian)
        if surface is not None:
            made.write_surface(folder, made.bowl(GRID, GRID, 5.0), request=surface)
        if neurons is not None:
            made.write_neurons(folder, ["fc1", "fc2"], request=neurons)
        return report.collect(folder)

    return lambda **requests: page([write(**requests)], tmp_path)


def test_twenty_test_images_with_an_l2_term_are_not_called_training_images(shown):
    found = shown(hessian={**TWENTY, "loss": 2425.0, "norm": 31.0}, surface=TWENTY)
    assert "20 training images" not in found.text
    assert "2425" not in found.text
    assert "the mean loss plus 5/2 ‖w‖² over 20 test images" in found.text
    [caption] = [text for text in found.texts("figcaption") if "plane of two" in text]
    assert caption.startswith("The mean loss plus 5/2 ‖w‖² over 20 test images around")
    [title] = [text for text in found.texts("caption") if "block by block" in text]
    assert "over 20 test images" in title


def test_an_accuracy_of_another_step_than_the_eigenvalues_says_its_step(shown):
    found = shown(hessian={"checkpoint_step": 3}, surface={"checkpoint_step": 3})
    assert "95.0 [92.2, 96.9] after step 300" in found.text
    assert "hessian and surface computed at step 3; test accuracy is of step 300" in found.text


def test_the_panel_of_a_surface_says_the_step_of_the_accuracy(tmp_path):
    made.write_config(tmp_path, "ViT")
    for write in (
        lambda **said: made.write_hessian(tmp_path, ["whole"], **said),
        lambda **said: made.write_surface(tmp_path, made.bowl(GRID, GRID, 5.0), **said),
    ):
        write(request={"checkpoint_step": 3})  # fmt: skip
    figure = report.surface_figure([report.collect(tmp_path)])
    told = " ".join(text.get_text() for text in figure.texts)
    assert "test accuracy 95.0 [92.2, 96.9] %\n(after step 300)" in told
    assert "step 3" in told


def test_gradient_and_sam_directions_are_not_called_random(shown):
    found = shown(surface={"directions": {"x": "gradient", "y": "sam"}})
    captions = " ".join(found.texts("figcaption"))
    assert "gradient and sam" in captions
    assert "random" not in captions.lower()


def test_a_panel_tells_the_images_of_an_eigenvalue_of_other_ones_than_the_surface(tmp_path):
    made.write_hessian(tmp_path, ["whole"], request={"examples": 360})
    made.write_surface(tmp_path, made.bowl(GRID, GRID, 5.0), request={"examples": 1437})
    figure = report.surface_figure([report.collect(tmp_path)])
    assert any("(360 training images)" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize(
    ("requests", "told"),
    [
        ({"hessian": {"loss_name": "a"}, "surface": {"loss_name": "b"}},
         "its results differ in loss_name (hessian a, surface b)"),
        ({"hessian": {"data": made.DATA}, "neurons": {"data": TEST}},
         "its results differ in data split (hessian train, neurons test)"),
        ({"hessian": {"l2": 1.0}, "surface": {"l2": 0.0}}, "its results differ in l2"),
        ({"hessian": {"data": {**made.DATA, "labels": "by position"}},
          "surface": {"data": {**made.DATA, "labels": "by name"}}},
         "its results differ in data labels (hessian by position, surface by name)"),
        ({"hessian": {"data": {**made.DATA, "reference": "other"}}},
         "hessian was computed with the train data other, the training had digits"),
        ({"hessian": {"data": {**made.DATA, "hash": "new"}},
          "data": {"reference": "digits", "train_examples": 1437, "train_hash": "old"}},
         "hessian was computed with the train data new, the training had old"),
    ],
)  # fmt: skip
def test_other_settings_within_a_run_or_than_its_training_are_pointed_out(shown, requests, told):
    assert told in " ".join(shown(**requests).texts("li"))


def test_which_images_the_columns_of_table_3_are_over_is_told(shown):
    found = shown(hessian={"examples": 360}, neurons={"data": TEST})
    assert "λmax over 360 training images; ‖a‖₂ over 20 test images." in found.texts("li")


def test_a_name_for_the_data_of_a_users_own_objective_is_told(shown):
    found = shown(hessian={"data": "noise", "examples": 8, "loss_name": "mine"})
    assert "the mean loss over 8 images (noise)" in found.text
    assert "training images" not in found.text
    assert "Training loss of the last logged step" in found.text


def test_a_user_may_say_nothing_of_the_data(tmp_path, monkeypatch):
    without_drawing(monkeypatch)
    made.write_hessian(tmp_path, ["whole"], data="", loss_name="")
    assert "the mean loss over 1,437 images" in page([report.collect(tmp_path)], tmp_path).text


def test_an_accuracy_no_better_than_guessing_is_pointed_out(shown):
    said = {"accuracy": 0.078, "accuracy_lower": 0.05, "accuracy_upper": 0.1,
            "most_frequent_label": 0.1, "at_chance": True}  # fmt: skip
    found = shown(hessian=said, surface=said)
    told = " ".join(found.texts("li"))
    assert "hessian, over 1,437 training images: accuracy 7.8 % is no better than" in told
    assert "Accuracy over the same 1,437 training images: 7.80 % [5.00, 10.0]" in told
    assert "95.0" in found.text  # Table 1 keeps that of the log
    assert found.text.count("7.80 % [5.00, 10.0]") == 2


def test_eigenvalues_of_other_losses_are_not_called_times_smaller(tmp_path, monkeypatch):
    without_drawing(monkeypatch)
    for name, rho, said in (("a", 0.0, {}), ("b", 0.05, TWENTY)):
        made.write_config(tmp_path / name, "ViT", rho)
        made.write_hessian(tmp_path / name, ["whole"], 100 - 1900 * rho, request=said)
    text = page([report.collect(tmp_path / name) for name in "ab"], tmp_path).text
    assert "times smaller" not in text
    assert (
        "not comparable for ViT (Hessian of the mean loss over 1,437 training images, and" in text
    )


def test_captions_name_nothing_that_is_not_drawn(tmp_path, monkeypatch):
    without_drawing(monkeypatch)
    grid = np.linspace(1, 2, 5)
    made.write_surface(tmp_path, made.bowl(grid, grid, 5.0), grid, grid,
                       directions={"x": "random", "y": "random"})  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "train_loss": 0.5}\n')
    captions = " ".join(page([report.collect(tmp_path)], tmp_path).texts("figcaption"))
    assert "cross" not in captions
    assert "λmax below each panel" not in captions
    assert "est accuracy" not in captions
