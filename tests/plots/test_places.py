import numpy as np

from landscape.plots import plot_contour, plot_trajectory

X, Y = np.linspace(-1, 1, 9), np.linspace(-0.5, 0.5, 5)
BOWL = X**2 + 4 * Y[:, None] ** 2 + 0.1
PATH = np.array([[0.9, 0.4], [0.5, 0.3], [0.2, 0.1], [0.0, 0.0]])


def told(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_the_path_is_drawn_in_order_from_hollow_to_filled():
    ax = plot_trajectory(X, Y, BOWL, PATH, explained=(0.62, 0.3))
    path, start, end = (line for line in ax.get_lines() if line.get_marker() == "o")
    np.testing.assert_array_equal(path.get_xydata(), PATH)
    np.testing.assert_array_equal(start.get_xydata(), PATH[:1])
    np.testing.assert_array_equal(end.get_xydata(), PATH[-1:])
    assert start.get_markerfacecolor() == "white"
    assert ax.get_xlabel() == "component 1 (62 % of variance)"
    assert ax.get_ylabel() == "component 2 (30 % of variance)"


def test_the_axes_of_a_path_are_named_after_the_components_they_are():
    ax = plot_trajectory(X, Y, BOWL, PATH, explained=(0.12, 0.03), axes_names=("two", "three"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "two (12 % of variance)",
        "three (3 % of variance)",
    )


def test_steps_outside_the_picture_are_counted():
    ax = plot_trajectory(X, Y, BOWL, [*PATH, [2.0, 0.0]])
    assert "1 of 5 steps outside" in told(ax)


def test_checkpoints_in_the_plane_have_names_and_none_is_lost():
    ax = plot_contour(X, Y, BOWL, markers={"plain": (0, 0), "SAM": (0.8, 0.1), "far": (3, 0)})
    assert "plain" in told(ax)
    assert "SAM" in told(ax)
    assert "outside: far" in told(ax)


def test_axes_are_called_what_they_are():
    ax = plot_contour(X, Y, BOWL, axes_names=("eigenvector 1", "along the gradient"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eigenvector 1", "along the gradient")
