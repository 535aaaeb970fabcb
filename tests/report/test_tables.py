import io
import json

import h5py
import numpy as np
import pytest
import synthetic_runs as made
from rich.console import Console

from landscape import numbers, report
from landscape.parameters import blocks
from landscape.report import figures, measures, words
from landscape.report.tables import components


def test_table_1_has_a_column_per_run_and_the_numbers_of_its_files(runs):
    table = report.table1(runs)
    assert table.columns[1:] == tuple(run.label for run in runs)
    vit = {row[0].split("\n")[0]: row[2] for row in table.rows}
    assert vit == {
        "#Params": "800",
        "NTK κ at initialisation": "2105 ± 62",
        "Hessian λmax": "180.0\n[179.8, 180.8]",
        "λmax by power iteration": "162.0\nresidual 3.2",
        "Test accuracy (%)": "95.0\n[92.2, 96.9]",
        "Training loss at the checkpoint": "0.01230",
    }
    assert any("99.9 %" in note for note in table.notes)


def test_power_iteration_that_finds_the_smallest_eigenvalue_says_so(tmp_path):
    made.write_hessian(tmp_path, ["whole"], scale=-10.0)
    table = report.table1([report.collect(tmp_path)])
    row = "λmax by power iteration\npaper's method, uncertified"
    assert table.cell(row, tmp_path.name) == "−9.000 (λmin)\nresidual 3.2"


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


def test_what_its_check_refutes_is_not_called_too_wide(tmp_path):
    made.write_hessian(tmp_path, ["whole"], refuted=["whole"])
    run = report.collect(tmp_path)
    assert report.table1([run]).rows[2][1] == "100.0†\n[99.90, 100.5]"
    assert components(run).rows[0][6] == "no†"
    for table in (report.table1([run]), report.table3([run]), components(run)):
        assert [note[:15] for note in table.notes if note[0] in "*†"] == ["† not confirmed"]
    made.write_surface(tmp_path, np.ones((3, 3)))
    caption = figures._caption(report.collect(tmp_path))
    assert caption == "λmax 100.0 [99.90, 100.5] †"
    [told] = [line for line in words.warnings([run]) if "marked" in line]
    assert told.startswith(f"Eigenvalues marked † in {tmp_path.name} (1 of 1): not confirmed")


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
    names = ["whole", "head", "block1/unit1", "encoderblock_0", "attention", "mlp"]
    made.write_hessian(tmp_path, [*names, "encoderblock_0/attention", "encoderblock_0/mlp"])
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


LEAVES = ["embedding/kernel", "cls", "head/kernel", "pre_head_layer_norm/scale"]
LEAVES += [leaf for i in range(2) for name, leaf in (
    ("attention", f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/out/kernel"),
    ("mlp", f"Transformer/encoderblock_{i}/MlpBlock_0/Dense_0/kernel"),
)]  # fmt: skip


@pytest.mark.parametrize(
    ("partition", "head", "mlps"),
    [
        ("table3", True, True),
        ("paper", True, True),
        ("components", True, False),
        ("layers", False, False),
        ({"head": "^head/"}, False, False),
        ({"head": "^head/", "mlp": "Mlp", "rest": "^(?!head|.*Mlp)"}, False, True),
        ({"embedding": "^embedding", "head": "^(head|pre)"}, False, False),  # who knows the others?
    ],
)
def test_a_block_stands_in_table_3_if_it_has_the_parameters_that_the_table_means(
    tmp_path, partition, head, mlps
):
    found = blocks(dict.fromkeys(LEAVES, 0.0), partition)
    made.write_hessian(tmp_path, ["whole", *found], blocks=found)
    with h5py.File(tmp_path / "hessian.h5", "r+") as file:
        file["parameters"][0] = 100 * len(LEAVES)
    table = report.table3([report.collect(tmp_path)])
    for column, there in (("Head", head), (MLP, mlps)):
        assert (table.cell(tmp_path.name, column) != "not measured") == there
    assert table.cell(tmp_path.name, "Whole") == "100.0"


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


def test_the_training_loss_is_shown_without_the_l2_term(tmp_path):
    made.write_hessian(tmp_path, ["whole"], loss=0.25 + 0.1 / 2 * 9, norm=3.0, l2=0.1)
    table = report.table1([report.collect(tmp_path)])
    assert table.cell("Training loss at the checkpoint", tmp_path.name) == "0.2500"
    assert any("1,437 training images, without the L2 term." in note for note in table.notes)


def test_the_logged_loss_is_that_of_the_last_line_not_of_the_last_evaluation(tmp_path):
    made.write_config(tmp_path, "ViT")
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()[:295]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    run = report.collect(tmp_path)
    assert run.last["step"] == 270
    last = json.loads(lines[-1])["train_loss"]
    found = report.table1([run]).cell("Training loss at the checkpoint", "ViT")
    assert found == numbers.number(last)
    [told] = words.warnings([run])
    assert told == "ViT: its training is not finished, the log ends at step 295 of 300."


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
    assert listed.notes[0] == numbers.CHECKED
    assert listed.notes[-1] == f"incomplete (4 of {count})"


def test_models_with_unknown_blocks_have_a_whole_all_the_same(tmp_path):
    made.write_hessian(tmp_path, ["whole", "fc1", "fc2"])
    row = report.table3([report.collect(tmp_path)]).rows[0]
    assert row[8] == "100.0"
    assert row[4] == "not measured"


def test_the_detailed_table_lists_every_target_with_both_ends(runs):
    table = components(runs[1])
    assert len(table.rows) == len(made.VIT)
    assert table.rows[0] == (
        "whole", "800", "180.0", "[179.8, 180.8]", "180.2", "0.010", "yes",
        "−9.000", "[−9.474, −8.571]", "0.020", "24",
    )  # fmt: skip
    assert table.rows[1][6] == "no*"
    assert table.columns[4] == "Checked"
    assert [note[:14] for note in table.notes] == [numbers.CHECKED[:14], "* not converge"]


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
