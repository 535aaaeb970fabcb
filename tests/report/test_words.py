import pytest
import synthetic_runs as made
from report_page import page

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


FAILED = {"flags": ["--xla_f=1"], "verdict": "failed", "failed": ["jax issue 1"], "by": "doctor"}
LATER = {"since": "2026-02-03T00:00:00Z", "device": "8 x gpu", "backend": FAILED}


@pytest.mark.parametrize("said", [{"backend": FAILED}, {"resumed_with": [LATER]}])
def test_a_failed_check_of_the_compiler_is_pointed_out(tmp_path, said):
    made.write_hessian(tmp_path, ["whole"], **said)
    run = report.collect(tmp_path)
    told = " ".join(words.warnings([run]))
    assert "hessian was computed where the compiler fails its checks (jax issue 1)" in told
    assert "--xla_f=1; compiler check failed: jax issue 1" in page([run], tmp_path).text


def test_results_of_two_environments_are_pointed_out_and_both_are_listed(tmp_path):
    made.write_hessian(tmp_path, ["whole"], resumed_with=[LATER, {"since": "now", "device": "x"}])
    run = report.collect(tmp_path)
    told = " ".join(words.warnings([run]))
    assert "gone on with in another (device and backend)" in told
    text = page([run], tmp_path).text
    assert "E1 E2 since 2026-02-03T00:00:00Z E3 since now" in text
    assert "8 x gpu" in text


def test_a_compiler_that_passed_is_no_reason_to_be_careful(tmp_path):
    made.write_hessian(tmp_path, ["whole"], backend={**FAILED, "verdict": "passed", "failed": []})
    assert words.warnings([report.collect(tmp_path)]) == []
