"""Captions tell what a file says that it was computed of, not what is usual."""

import h5py
import numpy as np
import pytest
import synthetic_runs as made
from report_page import page

from landscape import captions, report
from landscape.models import registry
from landscape.parameters import blocks
from landscape.report import figures, measures, tables, words

TEST = {**made.DATA, "split": "test", "examples": 360}
GRID = np.linspace(-1, 1, 9)


def run(folder, model="ViT-Mini/2", *, hessian=(), surface=(), interpolated=0):
    made.write_config(folder, model)
    made.write_hessian(folder, made.VIT, request=dict(hessian))
    heights = made.bowl(GRID, GRID, 5.0)
    made.write_surface(folder, heights, interpolated=interpolated, request=dict(surface))
    return report.collect(folder)


def test_what_is_usual_needs_no_words(tmp_path):
    usual = run(tmp_path / "run", hessian={"checkpoint_step": 300})
    assert captions.departures(usual.results["hessian"], 300) == []
    assert captions.departures(usual.results["surface"], 300) == []
    assert "over 1,437 training images" in tables.table1([usual]).notes[0]
    assert not any("Not the usual Hessian" in note for note in tables.table3([usual]).notes)
    assert not any("step" in line for line in words.warnings([usual]))


@pytest.mark.parametrize(
    ("said", "words_of_it"),
    [
        ({"matrix": "gauss_newton"}, "Gauss-Newton matrix"),
        ({"data": TEST, "examples": 360}, "360 test images"),
        ({"l2": 0.1}, "L2 0.1"),
        ({"loss_name": "sigmoid_cross_entropy"}, "loss sigmoid_cross_entropy"),
        ({"dtype": "bfloat16"}, "dtype bfloat16"),
        ({"second_derivative": "central_differences"}, "second derivative central_differences"),
        ({"checkpoint_step": 30}, "step 30"),
    ],
)
def test_another_matrix_split_loss_or_step_is_told_wherever_its_eigenvalues_stand(
    tmp_path, said, words_of_it
):
    one = run(tmp_path / "run", hessian=said)
    assert captions.departures(one.results["hessian"], 300) == [words_of_it]
    assert words_of_it in figures._caption(one)
    for table in (tables.table1([one]), tables.table3([one])):
        assert any(words_of_it in note for note in table.notes)


def test_the_matrix_is_named_in_titles_rows_and_sentences(tmp_path):
    one = run(tmp_path / "run", hessian={"matrix": "gauss_newton"})
    assert "Gauss-Newton matrix" in tables.table3([one]).title
    assert "Gauss-Newton matrix" in tables.components(one).title
    assert any("Gauss-Newton matrix" in row[0] for row in tables.table1([one]).rows)
    assert "Gauss-Newton matrix" in words.summary([one])
    assert "Gauss-Newton matrix" in figures.pictures([one])["blocks"].caption


def test_a_surface_tells_its_directions_and_what_was_interpolated(tmp_path):
    said = {"directions": {"x": "eigenvector:1", "y": "gradient"}, "data": TEST, "examples": 360}
    one = run(tmp_path / "run", surface=said, interpolated=80)
    caption = figures.pictures([one])["surfaces"].caption
    assert "eigenvector:1 and gradient" in caption
    assert "360 test images" in caption
    assert "random" not in caption
    assert "interpolated" in caption
    assert "80 points interpolated" in figures._caption(one)
    assert captions.height(one.results["surface"]) == "training loss"
    assert "eigenvector:1 and gradient" in tables.planes([one]).rows[0]


def test_of_two_splits_heights_and_captions_are_of_the_one_that_was_asked_for(tmp_path):
    said = {"data": TEST, "examples": 360, "together_with": {"train": {"data": made.DATA}}}
    heights = made.bowl(GRID, GRID, 5.0)
    made.write_surface(tmp_path, heights, losses=("test_loss", "train_loss"), request=said)
    one = report.collect(tmp_path)
    np.testing.assert_array_equal(measures.surface(one)[2], heights)
    assert captions.height(one.results["surface"]) == "test loss"
    assert "360 test images" in figures.pictures([one])["surfaces"].caption


def test_active_neurons_are_of_the_images_in_their_file(tmp_path):
    made.write_neurons(tmp_path, ["fc1", "fc2"], request={"data": TEST})
    assert "over 360 test images" in figures.pictures([report.collect(tmp_path)])["neurons"].caption


def test_results_of_another_step_than_the_log_are_pointed_out(tmp_path):
    one = run(tmp_path / "run", hessian={"checkpoint_step": 30})
    (told,) = (line for line in words.warnings([one]) if "step" in line)
    assert "hessian computed at step 30; test accuracy is of step 300" in told


def test_files_without_these_attributes_are_shown_all_the_same(tmp_path):
    """Those of earlier versions, and those made by hand."""
    assert "mean loss over images" in captions.loss(
        report.collect(_bare(tmp_path / "run")).results["neurons"]
    )


def _bare(folder):
    made.write_config(folder, "ViT")
    made.write_neurons(folder, ["fc"])
    return folder


def test_a_component_that_begins_like_another_stays_in_the_picture():
    model = registry.build("ViT22B-Ti/16", image_shape=(32, 32, 3), classes=10)
    names = ["whole", *blocks(model.abstract(), "paper")]
    left_out = {name for name in names if measures._contains_others(name, names)}
    assert not left_out & set(blocks(model.abstract()))


def test_cells_of_files_of_another_version_do_not_say_not_measured(tmp_path):
    folder = tmp_path / "run"
    run(folder)
    with h5py.File(folder / "hessian.h5", "r+") as file:
        file.attrs["schema"] = 1
    one = report.collect(folder)
    cells = tables.table3([one]).rows[0]
    assert cells[1:10] == ("made by another version",) * 9
    page([one], tmp_path)
