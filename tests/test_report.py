import importlib.util
import io
import json
import os
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic_runs as made
from rich.console import Console

from landscape import numbers, report
from landscape.errors import RequestError
from landscape.report import measures, words
from landscape.report.tables import components

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what the tests ask for."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Plain and SAM runs of three networks, everything measured; not to be changed."""
    base = tmp_path_factory.mktemp("runs")
    made.write_run(base / "resnet", "ResNet-Mini", made.RESNET, scale=40.0)
    made.write_run(base / "vit", "ViT-Mini/2", made.VIT, scale=180.0)
    made.write_run(base / "mixer", "Mixer-Mini/2", made.MIXER, scale=260.0)
    made.write_run(base / "vit-sam", "ViT-Mini/2", made.VIT, scale=9.0, rho=0.05)
    return [base / name for name in ("resnet", "vit", "vit-sam", "mixer")]


@pytest.fixture(scope="module")
def runs(folders):
    return [report.collect(folder) for folder in folders]


@pytest.fixture(scope="module")
def written(runs):
    """The report of all runs, beside them."""
    return report.write(runs, runs[0].path.parent / "report.html", title="Six networks")


@pytest.fixture(scope="module")
def full_page(written):
    return Page(written.read_text("utf-8"))


def page(runs, tmp_path, **options) -> Page:
    return Page(report.write(runs, tmp_path / "report.html", **options).read_text("utf-8"))


# --- reading -------------------------------------------------------------------------------------


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


# --- tables --------------------------------------------------------------------------------------


def test_table_1_has_a_column_per_run_and_the_numbers_of_its_files(runs):
    table = report.table1(runs)
    assert table.columns[1:] == tuple(run.label for run in runs)
    vit = {row[0].split("\n")[0]: row[2] for row in table.rows}
    assert vit == {
        "#Params": "21,000",
        "NTK κ at initialisation": "2105 ± 62",
        "Hessian λmax": "180.0\n[179.8, 180.8]",
        "λmax by power iteration": "162.0\nresidual 3.2",
        "Test accuracy (%)": "95.0\n[92.2, 96.9]",
        "Training loss at the checkpoint": "0.01230",
    }
    assert any("99.9 %" in note for note in table.notes)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "100\n[98.9, 100]"), (0.0, "0\n[0, 1.06]"), (0.5, "50.0\n[44.8, 55.2]")],
)
def test_the_interval_of_an_accuracy_is_wilsons_and_never_empty(tmp_path, value, shown):
    made.write_config(tmp_path, "ViT")
    line = {"step": 1, "epoch": 1.0, "test_accuracy": value}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line))
    table = report.table1([report.collect(tmp_path)])
    assert table.cell("Test accuracy (%)\n[95 % interval]", "ViT") == shown
    z = 1.959964
    ends = [(value * 360 + z**2 / 2 + s * z * np.sqrt(360 * value * (1 - value) + z**2 / 4))
            / (360 + z**2) for s in (-1, 1)]  # fmt: skip
    found = measures.accuracy(report.collect(tmp_path))
    np.testing.assert_allclose(found, [value, *ends], atol=1e-6)


def test_kappa_at_the_edge_of_singularity_is_no_mean_and_is_said_to_measure_the_batch(tmp_path):
    made.write_config(tmp_path, "ViT")
    made.write_ntk(tmp_path, [3e7, 4e9], rank=4)
    made.write_ntk(tmp_path, [1e20, 1e21], head="lecun", name="ntk-lecun.h5", rank=3)
    run = report.collect(tmp_path)
    table = report.table1([run])
    assert table.cell("NTK κ at initialisation", "ViT") == "≥ 3.0e+07\nedge of singularity"
    assert table.cell("NTK κ, non-zero head", "ViT") == "≥ 6.8e+10\nsingular"
    assert any("it says how large the batches are" in note for note in table.notes)
    [told] = [line for line in words.warnings([run]) if "singular" in line]
    assert "ViT (zeros head, rank 4, batches of 4) and ViT (lecun head, rank 3" in told


def test_a_non_zero_head_gets_its_own_row(runs, tmp_path):
    made.write_config(tmp_path, "other")
    made.write_ntk(tmp_path, [10.0, 14.0], head="lecun", name="ntk-lecun.h5")
    table = report.table1([report.collect(tmp_path), runs[0]])
    assert table.cell("NTK κ, non-zero head", "other") == "12.0 ± 2.0"
    assert table.cell("NTK κ, non-zero head", "ResNet-Mini") == "not measured"


def test_what_did_not_converge_is_marked(tmp_path):
    made.write_hessian(tmp_path, ["embedding", "whole"])  # the second target did not converge
    table = report.table1([report.collect(tmp_path)])
    assert table.rows[2][1] == "50.00*\n[49.95, 75.00]"
    assert any(note.startswith("* not converged") for note in table.notes)


MSA, MLP = "All MSA / token MLPs", "All MLPs / channel MLPs"


def test_table_3_has_a_row_per_run_with_the_joint_blocks_of_all_layers(runs):
    table = report.table3(runs)
    # target i has λmax = scale / (i + 1); all attention is 2, all MLPs 3, the blocks 6, 9, 12
    assert table.cell("ViT-Mini/2", "Embedding") == "90.00*"
    assert table.cell("ViT-Mini/2", MSA) == "60.00"
    assert table.cell("ViT-Mini/2", MLP) == "45.00"
    assert table.cell("ViT-Mini/2", "First block") == "25.71"
    assert table.cell("ViT-Mini/2", "Middle block") == "18.00"
    assert table.cell("ViT-Mini/2", "Last block") == "13.85"
    assert table.cell("ViT-Mini/2", "Whole") == "180.0"
    assert table.cell("ViT-Mini/2", "‖w‖₂") == "35.38"
    assert table.cell("Mixer-Mini/2", MSA) == "86.67"
    assert "the joint block of all layers" in table.notes[0]
    order = "λmax of one layer is at most that of the joint block, and this at most that of the"
    assert f"{order} whole." in table.notes[0]
    assert "over all post-activations (tokens times neurons)" in table.notes[1]


def test_the_largest_of_single_layers_does_not_stand_for_their_joint_block(tmp_path):
    made.write_hessian(tmp_path, ["whole", "head", "encoderblock_0/mlp", "encoderblock_1/mlp"])
    row = report.table3([report.collect(tmp_path)])
    assert row.cell(tmp_path.name, MLP) == "not measured"


def test_a_hybrid_has_the_blocks_behind_its_residual_units(tmp_path):
    made.write_hessian(tmp_path, ["whole", "head", "block1/unit1", "encoderblock_0", "attention"])
    made.write_neurons(tmp_path, ["block1/unit1", "encoderblock_0/MlpBlock_0"])
    table = report.table3([report.collect(tmp_path)])
    assert table.cell(tmp_path.name, "First block") == "25.00"
    assert table.cell(tmp_path.name, MSA) == "20.00"
    assert table.cell(tmp_path.name, "‖a‖₂ first") == "11.00"


def test_the_picture_leaves_joint_blocks_out_where_their_layers_are_known(runs, tmp_path):
    parts = measures.sharpness(runs[1]).components
    assert {"whole", "embedding", "encoderblock_0/mlp"} <= set(parts)
    assert not {"mlp", "attention", "encoderblock_0"} & set(parts)
    made.write_hessian(tmp_path, ["whole", "embedding", "attention", "mlp", "encoderblock_0"])
    assert measures.sharpness(report.collect(tmp_path)).components == [
        "whole", "embedding", "attention", "mlp", "encoderblock_0"
    ]  # fmt: skip


def test_a_residual_network_has_no_attention(runs):
    table = report.table3(runs)
    assert table.cell("ResNet-Mini", MSA) == "–"
    assert table.cell("ResNet-Mini", MLP) == "–"
    assert table.cell("ResNet-Mini", "First block") == "13.33"
    assert table.cell("ResNet-Mini", "Middle block") == "8.000"


def test_activation_norms_are_those_of_the_last_layer_of_a_block(runs):
    table = report.table3(runs)
    # layer number i has norm 10 + i; a Mixer's channel MLPs are 1, 3, 5
    assert [table.cell("Mixer-Mini/2", f"‖a‖₂ {w}") for w in ("first", "middle", "last")] == [
        "11.00", "13.00", "15.00"
    ]  # fmt: skip
    assert table.cell("ViT-Mini/2", "‖a‖₂ middle") == "11.00"


def test_absent_files_are_said_to_be_not_measured(tmp_path):
    made.write_config(tmp_path, "ViT")
    run = report.collect(tmp_path)
    table = report.table1([run])
    assert [row[1] for row in table.rows[:3]] == ["not measured"] * 3
    assert not any("power iteration" in row[0] for row in table.rows)  # nobody asked for it
    assert set(report.table3([run]).rows[0][1:]) == {"not measured"}
    assert any("last logged step" in note for note in table.notes)


def test_unfinished_files_are_said_to_be_incomplete(tmp_path):
    made.write_hessian(tmp_path, made.VIT, done=4)
    made.write_ntk(tmp_path, [1.0, 2.0, 3.0], done=1)
    made.write_neurons(tmp_path, made.layers(made.VIT), done=1)
    run = report.collect(tmp_path)
    count = len(made.VIT)
    assert report.table1([run]).rows[1][1] == "incomplete (1 of 3)"
    table = report.table3([run])
    assert table.rows[0][1] == "50.00*"
    assert table.rows[0][2:4] == ("33.33", "25.00")
    assert table.rows[0][4] == f"incomplete (4 of {count})"
    assert table.rows[0][7] == f"incomplete (4 of {count})"
    assert table.rows[0][10:] == ("10.00", "incomplete (1 of 3)", "incomplete (1 of 3)")
    listed = components(run)
    assert len(listed.rows) == count
    assert listed.rows[-1][2] == "not measured"
    assert listed.notes == (numbers.CHECKED, f"incomplete (4 of {count})")


def test_models_with_unknown_blocks_have_a_whole_all_the_same(tmp_path):
    made.write_hessian(tmp_path, ["whole", "fc1", "fc2"])
    row = report.table3([report.collect(tmp_path)]).rows[0]
    assert row[8] == "100.0"
    assert row[4] == "not measured"


def test_the_detailed_table_lists_every_target_with_both_ends(runs):
    table = components(runs[1])
    assert len(table.rows) == len(made.VIT)
    assert table.rows[0] == (
        "whole", "21,000", "180.0", "[179.8, 180.8]", "180.2", "0.010", "yes",
        "−9.000", "[−9.474, −8.571]", "0.020", "24",
    )  # fmt: skip
    assert table.rows[1][6] == "no"
    assert table.columns[4] == "Checked"
    assert table.notes == (numbers.CHECKED,)


def test_of_a_smallest_eigenvalue_that_did_not_converge_only_the_bounds_are_shown(tmp_path):
    made.write_hessian(tmp_path, ["whole", "head"])
    with h5py.File(tmp_path / "hessian.h5", "r+") as file:
        file["lambda_min_converged"][0] = 0
        file["lambda_min_lower"][1] = np.nan
    rows = components(report.collect(tmp_path)).rows
    assert rows[0][7:10] == ("–", "[−5.264, −4.761]", "–")
    assert rows[1][7:10] == ("–", "–", "–")


def test_the_terminal_shows_the_same_cells(runs):
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(report.to_rich(report.table1(runs)))
    shown = console.file.getvalue()
    for cell in ("[179.8, 180.8]", "ViT-Mini/2-SAM", "2105 ± 62", "Table 1."):
        assert cell in shown


def test_markup_in_names_is_not_interpreted_by_the_terminal():
    table = report.Table("t", ("", "[red]x[/red]"), (("[b]", "[0.1, 0.2]"),))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(report.to_rich(table))
    assert "[red]x[/red]" in console.file.getvalue()
    assert "[b]" in console.file.getvalue()


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="2 cells, not 1"):
        report.Table("t", ("a",), (("b", "c"),))


# --- words ---------------------------------------------------------------------------------------


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


# --- the page ------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_needs_nothing_else(written, full_page):
    found = full_page
    assert not found.all("script")
    assert not found.all("link")
    assert found.all("html") == [{"lang": "en"}]
    images = found.all("img")
    assert len(images) == 5
    for image in images:
        assert image["src"].startswith("data:image/")
        assert len(image["alt"]) > 20
    for _, attributes in found.tags:
        assert not {"href", "srcset", "onload", "onclick"} & attributes.keys()
    assert "url(" not in written.read_text("utf-8")
    assert "@import" not in written.read_text("utf-8")


def test_tables_have_scoped_headers_and_captions(full_page):
    assert all(header["scope"] in ("col", "row") for header in full_page.all("th"))
    assert len(full_page.all("caption")) == len(full_page.all("table"))


def test_names_are_escaped_everywhere(tmp_path):
    name = "<b>bold</b> & \"quoted\" 'ViT'<script>alert(1)</script>"
    folder = made.write_run(tmp_path / "run", name, made.VIT)
    found = page([report.collect(folder)], tmp_path, title="<i>title</i>")
    assert not found.all("b")
    assert not found.all("i")
    assert not found.all("script")
    assert name in found.text
    assert "<i>title</i>" in found.text
    assert any(name in image["alt"] for image in found.all("img"))


def test_every_number_has_its_source(written, full_page):
    text = full_page.text
    for file in ("config.json", "metrics.jsonl", "hessian.h5", "surface.h5", "ntk.h5"):
        assert os.path.join("vit-sam", file) in text
    assert "analysis_cli.py all RUN" in text
    assert "1 x cpu (cpu)" in text
    assert "d1g1t5" in text
    assert "2026-01-02T03:04:05Z" in text
    assert str(written.parent) not in text


def test_a_run_with_nothing_but_a_configuration_still_gives_a_page(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model": {"name": "ViT"}}))
    found = page([report.collect(folder)], tmp_path)
    assert not found.all("img")
    assert found.text.count("not measured") > 10


def test_incomplete_analyses_give_a_page_that_says_so(tmp_path):
    folder = tmp_path / "run"
    made.write_config(folder, "ViT")
    made.write_hessian(folder, made.VIT, done=3)
    made.write_surface(folder, np.ones((5, 5)) * np.arange(1, 6), done=12)
    made.write_ntk(folder, [1.0, 2.0], done=0)
    made.write_neurons(folder, made.layers(made.VIT), done=1)
    text = page([report.collect(folder)], tmp_path).text
    for status in ("incomplete (12 of 25)", "incomplete (0 of 2)", "incomplete (1 of 3)"):
        assert status in text


def test_results_that_were_only_begun_give_no_figure(tmp_path):
    made.write_hessian(tmp_path, made.VIT, done=0)
    made.write_surface(tmp_path, np.ones((5, 5)), done=0)
    made.write_neurons(tmp_path, made.layers(made.VIT), done=0)
    found = page([report.collect(tmp_path)], tmp_path)
    assert not found.all("img")


def test_diverged_and_negative_surfaces_are_drawn(tmp_path):
    z = np.linspace(-1, 3, 25).reshape(5, 5)
    z[0, 0] = np.inf
    made.write_surface(tmp_path, z)
    assert len(page([report.collect(tmp_path)], tmp_path).all("img")) == 2


def test_the_same_results_give_the_same_bytes(written, runs):
    before = written.read_bytes()
    assert report.write(runs, written, title="Six networks").read_bytes() == before
    assert not list(written.parent.glob(".*"))


def test_six_large_surfaces_stay_below_three_megabytes(tmp_path):
    grid = np.linspace(-1, 1, 25)
    for place in range(6):
        made.write_surface(tmp_path / f"{place}", made.bowl(grid, grid, 5.0 + place, place))
    runs = [report.collect(tmp_path / f"{place}") for place in range(6)]
    assert report.write(runs, tmp_path / "report.html").stat().st_size < 3_000_000


def test_no_runs_and_an_impossible_file_are_refused(runs, tmp_path):
    with pytest.raises(RequestError, match="runs"):
        report.write([], tmp_path / "report.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"out: .* cannot be written"):
        report.write(runs[:1], tmp_path / "file" / "report.html")


# --- the figure script ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def figure1():
    path = Path(__file__).parents[1] / "figures" / "figure1.py"
    spec = importlib.util.spec_from_file_location("figure1", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_panels_carry_sharpness_and_accuracy(runs):
    figure = report.surface_figure(runs)
    told = [text.get_text() for text in figure.texts]
    place = told.index("ViT-Mini/2-SAM")
    assert told[place + 1] == "λmax 9.000 [8.990, 9.036]\ntest accuracy 95.0 [92.2, 96.9] %"


def test_partners_stand_below_each_other(tmp_path):
    grid = np.linspace(-1, 1, 5)
    names = []
    for model in ("A", "B"):
        for rho in (0.0, 0.1):
            names.append(tmp_path / f"{model}{rho}")
            made.write_config(names[-1], model, rho)
            made.write_surface(names[-1], made.bowl(grid, grid, 3.0))
    figure = report.surface_figure([report.collect(name) for name in names])
    titles = [text.get_text() for text in figure.texts][::2]
    assert titles == ["A", "B", "A-SAM", "B-SAM"]
    tops = [round(ax.get_position().y1, 3) for ax in figure.axes[:-1]]
    assert tops[0] == tops[1] > tops[2] == tops[3]


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_figure_1_is_drawn_from_run_folders(figure1, folders, tmp_path, form, capsys):
    out = tmp_path / f"figure.{form}"
    (tmp_path / "report.html").write_text("")  # as runs/* would also name
    words_given = [*map(str, folders), str(tmp_path / "report.html"), "--out", str(out)]
    assert figure1.main(words_given) == 0
    assert out.stat().st_size > 10_000
    assert capsys.readouterr().out.strip() == str(out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["nowhere"], "run: no folder nowhere"), (["--out", "x.gif"], "--out: x.gif is none of"),
     (["--vmax", "-1"], "vmin")],
)  # fmt: skip
def test_figure_1_answers_wrong_requests_in_one_line(
    figure1, folders, arguments, complaint, capsys
):
    given = arguments if arguments == ["nowhere"] else [str(folders[0]), *arguments]
    assert figure1.main(given) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_figure_1_without_a_surface_says_what_to_do(figure1, tmp_path, capsys):
    made.write_config(tmp_path / "run", "ViT")
    assert figure1.main([str(tmp_path / "run")]) == 2
    assert "run `surface` on them first" in capsys.readouterr().err
