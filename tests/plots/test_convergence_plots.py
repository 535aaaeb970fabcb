import io

import numpy as np
import pytest

from landscape.plots import (
    Convergence,
    DataError,
    Scan,
    plot_convergence,
    plot_data_error,
    plot_scan,
)

NAN, INF = float("nan"), float("inf")


def convergence(final, *, upper=(INF, 1e6, 40.0, 1.5, 1.01), start=(0.001, 0.4, 0.9, 0.99, 1.0)):
    """A run whose estimates rise to ``final``, everything else in units of it."""
    estimate, upper = final * np.asarray(start), final * np.asarray(upper)
    return Convergence(np.arange(1, len(estimate) + 1), estimate, estimate - 1e-4 * final, upper)


def scan(final, *, others=(0.3, 0.4, 0.8, NAN), error=(0.3, 0.1, 0.1, NAN)):
    """λmax that is four times too large on the fewest examples."""
    estimate = final * np.array([4.0, 2.0, 1.1, 1.0])
    return Scan(np.array([64, 256, 1000, 3000]), estimate, 0.9 * estimate, 1.2 * estimate,
                final * np.asarray(others), final * np.asarray(error))  # fmt: skip


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def bars(container):
    """Lower and upper ends of the error bars."""
    return np.array(container[2][0].get_segments())[..., 1]


def band_at(ax, x, place=0):
    """Lower and upper edge of a band at an abscissa."""
    path = ax.collections[place].get_paths()[0]
    heights = np.linspace(*ax.get_ylim(), 2001)
    inside = heights[path.contains_points(np.c_[np.full(2001, x), heights])]
    return inside[0], inside[-1]


def test_the_estimate_is_a_line_and_its_end_is_marked():
    run = convergence(200.0)
    ax = plot_convergence({"a": run})
    line = ax.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), run.products)
    np.testing.assert_array_equal(line.get_ydata(), run.estimate)
    assert (line.get_label(), line.get_marker(), line.get_markevery()) == ("a", "o", [-1])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), run.upper)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Hessian-vector products", "λmax")


def test_infinite_and_huge_upper_bounds_do_not_ruin_the_ordinate():
    ax = plot_convergence({"a": convergence(200.0)})
    assert ax.get_ylim() == pytest.approx((0, 400))
    ax.figure.savefig(io.BytesIO(), format="png")


def test_the_band_spans_the_bounds_of_each_product_and_leaves_the_picture_where_they_are_far():
    ax = plot_convergence({"a": convergence(200.0)})
    assert band_at(ax, 1.2) == pytest.approx((0.2, 400), abs=0.5)
    assert band_at(ax, 3.2) == pytest.approx((180, 400), abs=0.5)
    assert band_at(ax, 3.6) == pytest.approx((198, 300), abs=0.5)  # steps, no slope from above
    assert band_at(ax, 4.4) == pytest.approx((198, 300), abs=0.5)
    assert band_at(ax, 4.9) == pytest.approx((200, 202), abs=0.5)


def test_runs_of_similar_sharpness_share_a_linear_ordinate():
    ax = plot_convergence({"a": convergence(200.0), "b": convergence(300.0)})
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim() == pytest.approx((0, 600))


def test_runs_far_apart_share_a_logarithmic_ordinate():
    ax = plot_convergence({"ViT": convergence(700.0), "ViT-SAM": convergence(20.0)})
    assert ax.get_yscale() == "log"
    assert ax.get_ylim() == pytest.approx((2, 7000))
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-", "--", "--"]
    assert len({line.get_color() for line in ax.lines}) == 1
    ax.figure.savefig(io.BytesIO(), format="svg")


def test_negative_estimates_are_in_the_picture():
    ax = plot_convergence({"a": convergence(10.0, start=(-0.5, 0.4, 0.9, 0.99, 1.0))})
    assert ax.get_ylim() == pytest.approx((-5.5, 20))
    definite = convergence(-1.0, start=(1.5, 1.2, 1.1, 1.01, 1.0), upper=(-9, -1, 0.5, 0.9, 0.99))
    assert plot_convergence({"a": definite}).get_ylim() == pytest.approx((-1.65, 0))


def test_the_stripe_is_as_wide_as_was_asked_for_around_the_last_estimate():
    ax = plot_convergence({"a": convergence(200.0)}, width=0.01)
    (stripe,) = ax.patches
    assert stripe.get_y() == pytest.approx(198)
    assert stripe.get_height() == pytest.approx(4)
    assert words(ax) == ["stripe: ±1 % of the last estimate"]
    plain = plot_convergence({"a": convergence(200.0)})
    assert not plain.patches
    assert not words(plain)


def test_products_that_were_not_made_yet_are_left_out():
    run = convergence(200.0, start=(0.4, 0.9, 1.0, NAN, NAN))
    line = plot_convergence({"a": run}).lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])


@pytest.mark.parametrize("final", [0.0, 5.0])
def test_one_product_is_enough_for_a_picture(final):
    run = Convergence(np.array([1]), *np.array([[final], [final], [final]]))
    ax = plot_convergence({"a": run})
    ax.figure.savefig(io.BytesIO(), format="png")
    low, high = ax.get_ylim()
    assert low <= final < high
    assert ax.get_xlim() == (0.5, 1.5)
    assert [at for at in ax.get_xticks() if 0.5 <= at <= 1.5] == [1]


def test_no_convergence_measured_is_said():
    run = convergence(200.0, start=[NAN] * 5)
    assert words(plot_convergence({"a": run}, width=0.01)) == ["not measured"]


def test_the_interval_is_an_error_bar_over_the_number_of_examples():
    run = scan(10.0)
    ax = plot_scan({"a": run}, title="MLP")
    measured, others = ax.containers
    np.testing.assert_allclose(measured[0].get_xydata(), np.c_[run.examples, run.estimate])
    np.testing.assert_allclose(bars(measured), np.c_[run.lower, run.upper])
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_title()) == ("log", "linear", "MLP")
    assert measured.get_label() == "a"
    assert others.get_label() != "a"  # once in the legend


def test_quotients_on_other_examples_are_open_markers_where_they_were_measured():
    measured, others = plot_scan({"a": scan(10.0)}).containers
    np.testing.assert_allclose(others[0].get_xydata(), [[64, 3], [256, 4], [1000, 8]])
    np.testing.assert_allclose(bars(others), [[0, 6], [3, 5], [7, 9]], atol=1e-12)
    assert others[0].get_markerfacecolor() == "white" != measured[0].get_markerfacecolor()
    assert others[0].get_color() == measured[0].get_color()


def test_a_scan_without_other_examples_says_nothing_of_them():
    ax = plot_scan({"a": scan(10.0, others=[NAN] * 4)})
    assert len(ax.containers) == 1
    assert not words(ax)


def test_an_infinite_bound_leads_out_of_the_picture_without_stretching_it():
    run = scan(10.0)
    run.upper[0] = INF
    ax = plot_scan({"a": run})
    assert ax.get_ylim()[1] == pytest.approx(1.1 * 80)
    assert bars(ax.containers[0])[0, 1] > 80 * 1.1
    ax.figure.savefig(io.BytesIO(), format="png")


def test_negative_quotients_are_in_a_linear_picture():
    ax = plot_scan({"a": scan(10.0, others=(-0.5, 0.4, 0.8, NAN))})
    assert ax.get_ylim()[0] == pytest.approx(1.1 * -8)
    assert ax.containers[1][0].get_ydata()[0] == pytest.approx(-5)


def test_scans_far_apart_are_logarithmic_and_count_what_has_no_place_there():
    sam = scan(20.0, others=(-0.5, 0.4, 0.8, NAN))
    ax = plot_scan({"ViT": scan(700.0), "ViT-SAM": sam})
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert (low, high) == pytest.approx((8 / 1.5, 1.2 * 2800 * 1.5))
    assert [len(container[0].get_xdata()) for container in ax.containers] == [4, 3, 4, 2]
    assert words(ax)[0].endswith("(1 not positive, hence not shown)")
    ax.figure.savefig(io.BytesIO(), format="svg")


def test_runs_stand_beside_each_other_about_their_number_of_examples():
    ax = plot_scan({"ViT": scan(10.0), "ViT-SAM": scan(9.0)})
    first, second = (ax.containers[i][0].get_xdata() for i in (0, 2))
    np.testing.assert_allclose(first * second, scan(1.0).examples ** 2.0)
    np.testing.assert_allclose(second / first, 1.05)


@pytest.mark.parametrize(
    ("examples", "labels"),
    [((100, 200, 400, 800), ["100", "200", "500"]),
     ((64, 256, 1000, 3000), ["100", "300", "1000", "3000"]),
     ((64, 1000, 10000, 60000), ["100", "1000", "10000"])],
)  # fmt: skip
def test_labels_are_round_numbers_of_examples(examples, labels):
    run = scan(10.0)
    ax = plot_scan({"a": Scan(np.array(examples), *list(vars(run).values())[1:])})
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    ticks = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    assert [label.get_text() for at, label in ticks if low <= at <= high] == labels


def test_no_scan_measured_is_said():
    run = scan(NAN)
    assert words(plot_scan({"a": run})) == ["not measured"]
    assert words(plot_scan({})) == ["not measured"]


def test_one_other_example_has_no_standard_error_and_stretches_nothing():
    ax = plot_scan({"a": scan(10.0, error=(0.3, 0.1, INF, NAN))})
    assert ax.get_ylim()[1] == pytest.approx(1.1 * 48)
    ax.figure.savefig(io.BytesIO(), format="png")


def test_scans_say_that_their_other_examples_are_of_the_same_data():
    (told,) = words(plot_scan({"a": scan(10.0)}))
    assert told.startswith("open markers: same vector on the other examples\nof the same data")
    assert "held" not in told


FOUND = DataError(
    np.array([166.4, 218.8, 225.9]), np.array([166.4, 192.8, 225.9]), np.array([166.6, 244.8, 228])
)


def test_a_quotient_above_the_upper_bound_stands_above_a_line_from_it():
    ax = plot_data_error({"a": FOUND}, title="ViT")
    points = [container[0].get_xydata()[0] for container in ax.containers]
    np.testing.assert_allclose(points, np.c_[[0, 1, 2], FOUND.estimate])
    ends = [bars(container)[0] for container in ax.containers]
    np.testing.assert_allclose(ends, np.c_[FOUND.lower, FOUND.upper])
    fills = [container[0].get_markerfacecolor() for container in ax.containers]
    assert fills[1] == "white" != fills[0] == fills[2]
    (line,) = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert set(line.get_ydata()) == {166.6}
    names = [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()]
    assert names == ["λmax, training data", "same vector, test data", "λmax, test data"]
    assert ax.get_legend_handles_labels()[1] == ["a"]
    assert ax.get_ylim() == pytest.approx((0, 1.1 * 244.8))


def test_data_errors_far_apart_are_logarithmic_and_unknown_ends_stretch_nothing():
    wide = DataError(np.array([0.476, 1.48, 6.29]), np.array([0.4, -INF, 6]), np.array([INF] * 3))
    ax = plot_data_error({"ViT": FOUND, "ViT-SAM": wide}, splits=("test", "training"))
    assert ax.get_yscale() == "log"
    assert ax.get_ylim() == pytest.approx((0.4 / 1.5, 1.5 * 244.8))
    assert ax.get_xticklabels()[0].get_text() == "λmax,\ntest data"
    ax.figure.savefig(io.BytesIO(), format="png")


def test_a_negative_quotient_is_in_a_linear_picture():
    run = DataError(np.array([0.5, -1.0, 6.0]), np.array([0.5, -3.0, 6.0]), np.array([0.5, 1, 6]))
    ax = plot_data_error({"a": run})
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim() == pytest.approx((-2.2, 6.6))


def test_no_data_error_measured_is_said():
    missing = np.full(3, NAN)
    assert words(plot_data_error({"a": DataError(missing, missing, missing)})) == ["not measured"]
    assert words(plot_data_error({})) == ["not measured"]


def test_a_scan_counts_its_estimates_that_are_not_drawn():
    run = scan(1.0)
    run.estimate[:2] = -1.0, NAN
    told = words(plot_scan({"A": run, "B": scan(60.0)}))[0]
    assert told.startswith("A: 1 of 4 points not finite\nA: 1 of 4 points not positive\nopen")
    assert "B:" not in told


def test_a_convergence_counts_its_estimates_that_are_not_drawn_but_not_those_to_come():
    run = convergence(5.0, start=(-0.6, NAN, 0.9, 1.0, NAN))
    (told,) = words(plot_convergence({"A": run, "B": convergence(60.0)}))
    assert told == "A: 1 of 4 points not finite\nA: 1 of 4 points not positive"
    assert not words(plot_convergence({"A": convergence(5.0, start=(-0.6, 0.4, 0.9, 1.0, NAN))}))
