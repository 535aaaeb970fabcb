"""Pictures of results: pure functions from numbers to matplotlib axes.

Nothing here computes an analysis, reads or writes a file, or touches matplotlib's global state.
"""

from landscape.plots.compare import compare
from landscape.plots.surface import plot_contour, plot_surface

__all__ = ["compare", "plot_contour", "plot_surface"]
