import io

import numpy as np
import pytest

from landscape.plots import (
    Activity,
    Sharpness,
    compare_blocks,
    compare_neurons,
    compare_training,
    plot_blocks,
    plot_curve,
    plot_neurons,
)
from landscape.plots.neurons import kind
from landscape.plots.style import looks

NAN = float("nan")


def records(rate):
    lines = [{"step": s, "epoch": s / 10, "train_loss": np.exp(-rate * s)} for s in range(1, 41)]
    for line in lines[9::10]:
        line["test_accuracy"] = 0.9
    return lines


def activity(layers, fraction, error=0.01):
    fraction = np.asarray(fraction, float)
    return Activity(layers, fraction, np.full(len(fraction), error))


def sharpness(names, estimate, *, converged=True):
    estimate = np.asarray(estimate, float)
    flags = np.broadcast_to(converged, estimate.shape)
    return Sharpness(names, estimate, 0.9 * estimate, 1.5 * estimate, flags)


def test_plain_and_sam_share_a_hue_and_differ_in_dash_and_fill():
    found = looks(["ViT", "ViT-SAM", "Mixer-SAM", "ViT-SAM (other)"])
    assert found["ViT"].hue == found["ViT-SAM"].hue != found["Mixer-SAM"].hue
    assert (found["ViT"].dash, found["ViT-SAM"].dash) == ("-", "--")
    assert found["ViT"].fill == found["ViT"].hue != found["ViT-SAM"].fill


def test_no_two_families_look_the_same():
    found = looks([f"net {number}" for number in range(40)]).values()
    assert len({(look.hue, look.marker) for look in found}) == 40


def test_training_curves_hold_the_logged_values():
    ax = plot_curve({"a": records(0.1)}, "train_loss", log=True)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 41) / 10)
    np.testing.assert_allclose(line.get_ydata(), np.exp(-0.1 * np.arange(1, 41)))
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "training loss")


def test_values_that_a_logarithm_hides_are_counted_and_so_are_runs_without_any():
    lines = [{"epoch": e, "train_loss": v} for e, v in enumerate([1.0, 0.5, 0.0, NAN])]
    ax = plot_curve({"a": lines, "b": []}, "train_loss", log=True)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1.0, 0.5, NAN, NAN])
    assert words(ax) == ["a: 2 of 4 points not finite and positive\nb: not measured"]
    assert words(plot_curve({"a": lines}, "train_loss")) == ["a: 1 of 4 points not finite"]


def test_accuracy_is_drawn_in_percent_from_the_evaluated_lines_alone():
    (line,) = plot_curve({"a": records(0.1)}, "test_accuracy").lines
    np.testing.assert_allclose(line.get_ydata(), [90] * 4)


def test_a_log_without_the_quantity_says_so():
    ax = plot_curve({"a": [{"step": 1, "epoch": 0.1}], "b": []}, "train_loss", log=True)
    assert [text.get_text() for text in ax.texts] == ["not measured"]


def test_training_of_several_runs_has_one_legend():
    figure = compare_training({"ViT": records(0.1), "ViT-SAM": records(0.05)})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ViT", "ViT-SAM"]
    figure.savefig(io.BytesIO(), format="svg")


def test_active_neurons_have_error_bars_in_percent():
    ax = plot_neurons({"a": activity(["x/MlpBlock_0", "y/MlpBlock_0"], [0.5, 0.25], 0.02)})
    (container,) = ax.containers
    line, _, (bars,) = container
    np.testing.assert_allclose(line.get_xdata(), [1, 2])
    np.testing.assert_allclose(line.get_ydata(), [50, 25])
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [48, 52])


def test_no_curve_is_cut_off_by_the_ordinate():
    figure = compare_neurons({
        "ViT": activity(["encoderblock_0/MlpBlock_0"], [0.1]),
        "ResNet": activity(["block1/unit1", "block1/unit2"], [0.9, 0.97], 0.05),
        "Mixer": activity(["MixerBlock_0/token_mixing"], [0.01], 0.02),
    })  # fmt: skip
    for ax in figure.axes:
        low, high = ax.get_ylim()
        assert low < -1
        assert high > 102


def test_layers_that_were_not_measured_are_gaps_and_counted():
    layers = [f"block1/unit{i}" for i in range(3)]
    ax = plot_neurons({"a": activity(layers, [0.5, NAN, 0.4]), "b": activity(layers, [NAN] * 3)})
    assert words(ax) == ["a: 1 of 3 not measured\nb: 3 of 3 not measured"]


def test_an_unknown_error_is_not_drawn_as_none():
    run = Activity(["block1/unit0"], np.array([0.5]), np.array([NAN]))
    (bars,) = plot_neurons({"a": run}).containers[0][2]
    assert not any(len(bar) for bar in bars.get_segments())


def test_token_and_channel_mlps_are_separate_curves():
    layers = [f"MixerBlock_{i}/{k}" for i in range(2) for k in ("token_mixing", "channel_mixing")]
    curves = activity(layers, [0.1, 0.2, 0.3, 0.4]).kinds()
    assert list(curves) == ["token MLP", "channel MLP"]
    np.testing.assert_allclose(curves["channel MLP"].fraction, [0.2, 0.4])


@pytest.mark.parametrize(
    ("layer", "name"),
    [("encoderblock_3/MlpBlock_0", "MLP"), ("block1/unit12", "residual units"), ("fc1", "fc"),
     ("3", "3")],
)  # fmt: skip
def test_layers_are_told_apart_by_kind(layer, name):
    assert kind(layer) == name


def test_every_model_gets_its_panel_and_all_share_the_ordinate():
    figure = compare_neurons({
        "ViT": activity(["encoderblock_0/MlpBlock_0"], [0.5]),
        "ViT-SAM": activity(["encoderblock_0/MlpBlock_0"], [0.2]),
        "ResNet": activity(["block1/unit1", "block1/unit2"], [0.9, NAN]),
    })  # fmt: skip
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles == ["ViT\nMLP", "ResNet\nresidual units"]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert len(figure.axes[0].containers) == 2


def points(ax):
    """The points of each run, and the ends of the lines through them."""
    dots = [line for line in ax.lines if not line.get_label().startswith("_")]
    spans = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2
             and line.get_label().startswith("_")]  # fmt: skip
    return [dot.get_xdata() for dot in dots], spans


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_points_stand_at_the_estimate_and_lines_end_at_the_bounds():
    ax = plot_blocks({"a": sharpness(["whole", "head"], [100.0, 2.0])})
    (values,), spans = points(ax)
    np.testing.assert_allclose(values, [100, 2])
    np.testing.assert_allclose(spans, [[90, 150], [1.8, 3.0]])
    assert ax.get_xscale() == "log"
    assert not ax.patches  # a length on a logarithmic axis means nothing
    assert [label.get_text() for label in ax.get_yticklabels()] == ["whole", "head"]
    assert ax.yaxis_inverted()


def test_points_of_what_did_not_converge_carry_an_asterisk():
    ax = plot_blocks({"a": sharpness(["whole", "head"], [100.0, 2.0], converged=[True, False])})
    assert words(ax) == ["*"]


@pytest.mark.parametrize("small", [1e-3, 1e-12])
def test_no_value_is_too_small_to_be_shown(small):
    ax = plot_blocks({"a": sharpness(["whole", "head"], [100.0, small])})
    left, right = ax.get_xlim()
    (values,), spans = points(ax)
    for part in (values, *spans):
        assert left < min(part) < max(part) < right


def test_values_without_a_logarithm_are_written_out_with_their_bounds():
    run = Sharpness(["whole", "head", "x"], np.array([100.0, -2.0, NAN]),
                    np.array([90.0, -3.0, NAN]), np.array([110.0, 1.0, NAN]),
                    np.array([True, False, False]))  # fmt: skip
    ax = plot_blocks({"a": run})
    assert len(points(ax)[0][0]) == 1
    assert words(ax) == ["−2.0 [−3.0, 1.0]*", "not measured"]
    ax = plot_blocks({"a": sharpness(["head"], [0.0])})
    assert words(ax) == ["0 [0, 0]"]
    ax.figure.savefig(io.BytesIO(), format="png")


def test_bounds_that_have_no_place_on_the_axis_are_triangles_at_its_ends():
    run = Sharpness(["whole", "head"], np.array([2.0, 3.0]), np.array([-1.0, NAN]),
                    np.array([np.inf, NAN]), np.array([False, True]))  # fmt: skip
    ax = plot_blocks({"a": run})
    ends = {
        line.get_marker(): line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1
    }
    assert (ends["<"], ends[">"]) == ax.get_xlim()
    np.testing.assert_allclose(points(ax)[1], [ax.get_xlim(), (3, 3)])
    ax.figure.savefig(io.BytesIO(), format="png")


def test_models_with_different_components_share_the_axis():
    figure = compare_blocks({
        "ViT": sharpness(["whole", "embedding"], [500.0, 5.0]),
        "ViT-SAM": sharpness(["whole", "embedding"], [5.0, 0.5]),
        "ResNet": sharpness(["whole", "block1/unit1", "head"], [50.0, 0.02, 1.0]),
    })  # fmt: skip
    low, high = figure.axes[0].get_xlim()
    assert low < 0.018
    assert high > 750
    assert figure.axes[1].get_xlim() == (low, high)
    figure.savefig(io.BytesIO(), format="svg")


def test_nothing_measured_is_said():
    assert words(plot_blocks({"a": sharpness(["whole"], [NAN])})) == ["not measured"]
