import h5py
import numpy as np
import synthetic_runs as made

from landscape import report
from landscape.report import words


def test_the_summary_is_told_from_the_data(runs):
    told = words.summary(runs)
    assert told.startswith(
        "4 runs of 3 networks (ResNet-Mini, ViT-Mini/2, Mixer-Mini/2) trained on digits, "
        "1 of them with SAM (ρ = 0.05)."
    )
    assert "between 9.000 (ViT-Mini/2-SAM) and 260.0 (Mixer-Mini/2)" in told
    assert "20 times smaller for ViT-Mini/2 (180 to 9.00)" in told


def test_overlapping_bounds_are_not_called_a_difference(tmp_path):
    for name, rho, scale in (("a", 0.0, 100.0), ("b", 0.1, 100.1)):
        made.write_config(tmp_path / name, "ViT", rho)
        made.write_hessian(tmp_path / name, ["whole"], scale)
    told = words.summary([report.collect(tmp_path / name) for name in ("a", "b")])
    assert "not distinguishable for ViT" in told


def test_a_summary_of_nothing_measured_is_a_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    made.write_ntk(tmp_path, [1.0, 2.0])
    assert words.summary([report.collect(tmp_path)]).startswith("1 run of 1 network (")


def test_analyses_of_different_parameters_are_pointed_out(tmp_path):
    made.write_hessian(tmp_path, ["whole"], parameters_hash="other")
    made.write_neurons(tmp_path, ["fc"])
    (warning,) = words.warnings([report.collect(tmp_path)])
    assert "hessian and neurons were computed from different parameters" in warning


def test_surfaces_with_different_normalisation_are_pointed_out(runs, tmp_path):
    made.write_surface(tmp_path, np.ones((3, 3)))
    with h5py.File(tmp_path / "surface.h5", "r+") as file:
        file.attrs["normalization"] = "layer"
    told = words.warnings([runs[0], report.collect(tmp_path)])
    assert any("differ in normalization (filter, layer)" in line for line in told)
