import h5py
import pytest
import synthetic_runs as made
from report_page import page

from landscape import report
from landscape.errors import RequestError


def test_a_run_is_named_after_its_model_and_training(runs):
    assert [run.label for run in runs] == [
        "ResNet-Mini", "ViT-Mini/2", "ViT-Mini/2-SAM", "Mixer-Mini/2"
    ]  # fmt: skip
    assert runs[2].rho == 0.05
    assert runs[0].last["step"] == 300


def test_a_missing_folder_and_one_without_a_run_are_refused(tmp_path):
    with pytest.raises(RequestError, match="run: no folder"):
        report.collect(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"holds no config\.json"):
        report.collect(tmp_path)


def test_damaged_files_are_told_and_left_out(tmp_path):
    folder = made.write_run(tmp_path / "run", "ViT", made.VIT)
    (folder / "hessian.h5").write_bytes(b"no HDF5")
    (folder / "config.json").write_text("{")
    run = report.collect(folder)
    assert "hessian" not in run.results
    assert run.label == "run"
    assert len(run.problems) == 2
    assert "hessian.h5 is not a readable HDF5 file" in page([run], tmp_path).text


def test_files_of_another_version_are_told_and_their_numbers_not_shown(tmp_path):
    folder = made.write_run(tmp_path / "run", "ViT", made.VIT)
    names = ("hessian", "surface", "ntk", "neurons")
    for name in names:
        with h5py.File(folder / f"{name}.h5", "r+") as file:
            file.attrs["schema"] = 1
    run = report.collect(folder)
    assert not run.results
    text = page([run], tmp_path).text
    for name in names:
        assert run.status(name) == "made by another version"
        told = f"{name}.h5 was made by an earlier version of landscape (file schema 1, now 2)"
        assert f"{told}; measure again" in text
    assert (
        report.table1([run]).cell("NTK κ at initialisation", run.label) == "made by another version"
    )


def test_the_half_written_last_line_of_a_killed_run_is_no_problem(tmp_path):
    made.write_config(tmp_path / "run", "ViT")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 301, "ep')
    run = report.collect(tmp_path / "run")
    assert (len(run.metrics), run.problems) == (300, ())


def test_runs_of_one_model_are_told_apart_by_their_folders(tmp_path):
    for name in ("a", "b"):
        made.write_config(tmp_path / name, "ViT")
    table = report.table1([report.collect(tmp_path / name) for name in ("a", "b")])
    assert table.columns == ("", "ViT (a)", "ViT (b)")


def test_a_kernel_belongs_to_the_head_it_was_computed_with(tmp_path):
    made.write_ntk(tmp_path, [5.0, 7.0], head="lecun", name="ntk.h5")
    assert list(report.collect(tmp_path).results) == ["ntk-lecun"]
