"""Pictures of results: pure functions from numbers to matplotlib axes and figures.

``plot_*`` draws on one pair of axes and returns them; ``compare*`` puts several runs side by side
on shared scales and returns a figure. Nothing here computes an analysis, reads or writes a file,
or touches matplotlib's global state.
"""

from landscape.plots.blocks import Sharpness, compare_blocks, plot_blocks
from landscape.plots.compare import compare
from landscape.plots.convergence import (
    Convergence,
    DataError,
    Scan,
    plot_convergence,
    plot_data_error,
    plot_scan,
)
from landscape.plots.line import plot_line
from landscape.plots.neurons import Activity, compare_neurons, plot_neurons
from landscape.plots.progress_view import watch_figure
from landscape.plots.spectrum import Spectrum, plot_spectrum
from landscape.plots.surface import plot_contour, plot_surface
from landscape.plots.training import compare_training, plot_curve
from landscape.plots.trajectory import plot_trajectory

__all__ = [
    "Activity",
    "Convergence",
    "DataError",
    "Scan",
    "Sharpness",
    "Spectrum",
    "compare",
    "compare_blocks",
    "compare_neurons",
    "compare_training",
    "plot_blocks",
    "plot_contour",
    "plot_convergence",
    "plot_curve",
    "plot_data_error",
    "plot_line",
    "plot_neurons",
    "plot_scan",
    "plot_spectrum",
    "plot_surface",
    "plot_trajectory",
    "watch_figure",
]
