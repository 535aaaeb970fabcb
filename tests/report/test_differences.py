"""Results side by side that cannot be compared are pointed out, whatever they differ in."""

import numpy as np
import pytest
import synthetic_runs as made

from landscape import report
from landscape.report import words

TEST = {**made.DATA, "split": "test"}
NETWORK = {"name": "ViT", "activation": "gelu_tanh"}
DIRECTIONS = {"x": "random", "y": "random", "normalization": "filter", "ignore": None}


def warned(tmp_path, name, usual, other):
    """The warnings of two runs with results of these requests."""
    write = {
        "hessian": lambda folder, request: made.write_hessian(folder, ["whole"], request=request),
        "surface": lambda folder, request: made.write_surface(
            folder, np.ones((3, 3)), request=request
        ),
        "neurons": lambda folder, request: made.write_neurons(folder, ["fc"], request=request),
        "ntk": lambda folder, request: made.write_ntk(folder, [5.0, 6.0], request=request),
    }[name]
    for folder, request in (("a", usual), ("b", other)):
        write(tmp_path / folder, request)
    return words.warnings([report.collect(tmp_path / folder) for folder in ("a", "b")])


@pytest.mark.parametrize(
    ("name", "usual", "other", "told"),
    [
        ("hessian", {"loss_name": "softmax"}, {"loss_name": "sigmoid"},
         "Hessians of different runs differ in loss_name (sigmoid, softmax)"),
        ("hessian", {"dtype": "the parameters'"}, {"dtype": "bfloat16"}, "differ in dtype"),
        ("hessian", {"matrix": "hessian", "curvature": "hessian"},
         {"matrix": "fisher", "curvature": "fisher"}, "differ in matrix (fisher, hessian)"),
        ("hessian", {"l2": 0.0}, {"l2": 1.0}, "differ in l2 (0.0, 1.0)"),
        ("hessian", {"preprocessing": "a"}, {"preprocessing": "b"}, "differ in preprocessing"),
        ("hessian", {"second_derivative": "exact"}, {"second_derivative": "central_differences"},
         "differ in second_derivative (central_differences, exact)"),
        ("hessian", {"network": NETWORK}, {"network": {**NETWORK, "activation": "relu"}},
         "differ in network activation (gelu_tanh, relu)"),
        ("hessian", {"what comes with the next version": 1},
         {"what comes with the next version": 2}, "differ in what comes with the next version"),
        ("surface", {"batchnorm": "frozen"}, {"batchnorm": "re-estimated"},
         "Surfaces of different runs differ in batchnorm (frozen, re-estimated)"),
        *(("surface", {"directions": DIRECTIONS}, {"directions": {**DIRECTIONS, key: value}},
           f"differ in directions {key} ({', '.join(sorted((str(DIRECTIONS[key]), value)))})")
          for key, value in (("ignore", "head"), ("normalization", "layer"), ("x", "sam"))),
        ("neurons", {"data": made.DATA}, {"data": TEST},
         "Active neurons of different runs differ in data split (test, train)"),
        ("ntk", {"data": made.DATA}, {"data": TEST},
         "Kernels of different runs differ in data split (test, train)"),
        ("ntk", {"network": NETWORK, "activation": "relu"},
         {"network": {**NETWORK, "activation": "x"}, "activation": "gelu"},
         "differ in activation (gelu, relu)"),
    ],
)  # fmt: skip
def test_results_of_different_settings_are_pointed_out(tmp_path, name, usual, other, told):
    [warning] = warned(tmp_path, name, usual, other)
    assert told in warning


def test_results_in_another_precision_are_pointed_out(tmp_path):
    for folder, x64 in (("a", False), ("b", True)):
        made.write_hessian(tmp_path / folder, ["whole"], x64=x64)
    [told] = words.warnings([report.collect(tmp_path / folder) for folder in ("a", "b")])
    assert "differ in x64 (False, True)" in told


@pytest.mark.parametrize(
    ("name", "usual", "other"),
    [
        ("hessian", {"network": NETWORK, "model": "ViT"},
         {"network": {"name": "ResNet", "activation": "relu"}, "model": "ResNet"}),
        ("hessian", {"parameters_hash": "p", "checkpoint_step": 1, "seed": 0, "limit": 84},
         {"parameters_hash": "q", "checkpoint_step": 2, "seed": 1, "limit": 85}),
        ("surface", {"directions": {**DIRECTIONS, "x": "to:a"}, "x": [0, 1]},
         {"directions": {**DIRECTIONS, "x": "to:b"}, "x": [0, 2]}),
        ("surface", {"directions": ["hash"]}, {"directions": ["other"]}),
        ("surface", {"normalisation_statistics": "none"}, {"normalisation_statistics": "stored"}),
    ],
)  # fmt: skip
def test_what_is_compared_and_the_effort_may_differ(tmp_path, name, usual, other):
    assert warned(tmp_path, name, usual, other) == []


def test_results_of_other_settings_than_the_training_are_pointed_out(tmp_path):
    made.write_config(tmp_path, "ViT")  # its images have shape (8, 8, 1)
    network = {"name": "ViT", "image_shape": [8, 8, 1], "classes": 9}
    made.write_hessian(tmp_path, ["whole"], request={"network": network})
    [told] = words.warnings([report.collect(tmp_path)])
    assert told == (
        "ViT: hessian was computed with network classes 9, the network was trained with 10."
    )
