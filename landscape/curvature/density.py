"""The spectral density by stochastic Lanczos quadrature, with its spread across probes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from landscape.curvature.estimate import Estimate
from landscape.curvature.lanczos import Tridiagonal
from landscape.errors import RequestError


@dataclass(frozen=True)
class Smoothed:
    """A density smoothed with Gaussians, on a grid.

    Attributes
    ----------
    eigenvalues
        (G,) The grid.
    density
        (G,) Mean over the probes; integrates to one over the real line.
    lower, upper
        (G,) One standard error below (not below zero) and above.
    width
        Standard deviation of the Gaussians, in units of the eigenvalues.
    """

    eigenvalues: np.ndarray
    density: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    width: float


@dataclass(frozen=True)
class Density:
    """Quadrature nodes and weights of the spectral density, probe by probe.

    A probe gives the nodes and weights that integrate polynomials of degree ``2 steps - 1`` exactly
    against its own spectral measure, whose mean over probes is the spectral density.

    Attributes
    ----------
    nodes, weights
        (probes, steps); weights of a probe sum to one; NaN nodes and zero weights fill up probes
        whose Krylov space was exhausted early.
    size
        Dimension of the matrix.
    """

    nodes: np.ndarray
    weights: np.ndarray
    size: int

    @classmethod
    def of(cls, runs: list[Tridiagonal], steps: int) -> "Density":
        """From Lanczos runs with random starts."""
        nodes = np.full((len(runs), steps), np.nan)
        weights = np.zeros((len(runs), steps))
        for row, run in enumerate(runs):
            values, vectors = scipy.linalg.eigh_tridiagonal(run.alpha, run.beta[:-1])
            nodes[row, : len(values)] = values
            weights[row, : len(values)] = vectors[0] ** 2
        return cls(nodes, weights, runs[0].size)

    def sum(self, function: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """``sum_i f(lambda_i)`` over all eigenvalues, that is ``tr f(H)``, with its error."""
        values = np.where(self.weights > 0, function(np.nan_to_num(self.nodes)), 0.0)
        return Estimate.of(self.size * (self.weights * values).sum(axis=1))

    def trace(self) -> Estimate:
        """Sum of the eigenvalues."""
        return self.sum(lambda x: x)

    def frobenius(self) -> Estimate:
        """Frobenius norm, the root of the sum of squares."""
        return self.sum(np.square).root()

    def effective_dimension(self, regularisation: float) -> Estimate:
        """``sum_i lambda_i / (lambda_i + regularisation)`` over the positive eigenvalues.

        The number of directions that the data determine more than a prior (an L2 term) of that
        curvature does.

        Raises
        ------
        RequestError
            If ``regularisation`` is not positive.

        References
        ----------
        MacKay, A practical Bayesian framework for backpropagation networks, Neural Computation 4
        (1992); Maddox, Benton, Wilson, arXiv:2003.02139.
        """
        if not regularisation > 0:
            raise RequestError(f"regularisation: {regularisation} is not positive; try 1.0")
        return self.sum(lambda x: np.maximum(x, 0) / (np.maximum(x, 0) + regularisation))

    def default_width(self) -> float:
        """What ``steps`` products can resolve: the span over twice their number."""
        span = np.nanmax(self.nodes) - np.nanmin(self.nodes)
        return float(span / (2 * self.nodes.shape[1]) or abs(np.nanmax(self.nodes)) / 100 or 1.0)

    def smoothed(self, eigenvalues: np.ndarray | None = None, width: float | None = None):
        """The density with Gaussians of standard deviation ``width`` in place of the nodes.

        Parameters
        ----------
        eigenvalues
            Where to evaluate; by default 1,024 places from end to end and five widths further,
            half of them around the nodes, since most of a network's spectrum is near zero.
        width
            Smoothing width, :meth:`default_width` if not given. Plots of different tools are
            comparable only at the same width.

        Returns
        -------
        Smoothed
        """
        width = self.default_width() if width is None else width
        grid = self._grid(width) if eigenvalues is None else np.asarray(eigenvalues, float)
        distance = (grid[None, :, None] - np.nan_to_num(self.nodes)[:, None, :]) / width
        bumps = np.exp(-0.5 * distance**2) / (width * np.sqrt(2 * np.pi))
        each = (bumps * self.weights[:, None, :]).sum(axis=2)
        mean, error = _mean_and_error(each)
        return Smoothed(grid, mean, np.maximum(mean - error, 0), mean + error, float(width))

    def cumulative(self, eigenvalues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fraction of the eigenvalues up to each place (G,), unsmoothed, and its standard error."""
        places = np.asarray(eigenvalues, float)[None, :, None]
        below = np.nan_to_num(self.nodes)[:, None, :] <= places
        return _mean_and_error((below * self.weights[:, None, :]).sum(axis=2))

    def _grid(self, width: float) -> np.ndarray:
        low, high = np.nanmin(self.nodes) - 5 * width, np.nanmax(self.nodes) + 5 * width
        known = self.nodes[np.isfinite(self.nodes)]
        around = np.quantile(known, np.linspace(0, 1, 512))
        return np.unique(np.concatenate([np.linspace(low, high, 512), around]))


def _mean_and_error(each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = len(each)
    if count == 1:
        return each[0], np.full(each.shape[1], np.inf)
    return each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(count)
