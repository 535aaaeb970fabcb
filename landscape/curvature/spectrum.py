"""One call for the spectrum: certified ends, trace, Frobenius norm and density."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

from landscape.curvature.density import Density
from landscape.curvature.estimate import Estimate
from landscape.curvature.extremes import DEFAULT_LIMIT, check_request
from landscape.curvature.lanczos import Recurrence, Tridiagonal
from landscape.curvature.search import Eigenvalue, End, MeasuredEnd, enclosed, verify
from landscape.errors import RequestError
from landscape.journal import Journal
from landscape.objective import Objective
from landscape.parameters import Tree


@dataclass(frozen=True)
class Spectrum:
    """Everything that one set of Lanczos runs says about a matrix.

    Attributes
    ----------
    lambda_max, lambda_min
        Ends with certified bounds.
    trace, frobenius
        With standard errors across probes.
    density
        Nodes and weights; smoothed and cumulative densities, sums of functions of eigenvalues.
    runs
        The coefficients, a run a probe.
    """

    lambda_max: Eigenvalue
    lambda_min: Eigenvalue
    trace: Estimate
    frobenius: Estimate
    density: Density
    runs: tuple[Tridiagonal, ...]

    @classmethod
    def of(
        cls,
        runs: list[Tridiagonal],
        steps: int,
        width: float,
        confidence: float,
        verified: Mapping[End, MeasuredEnd],
    ):
        """From finished runs with independent starts, and the measured vectors of the ends.

        An eigenvalue escapes the largest of the runs' ceilings only if every start has a small
        component along its eigenvector, so each run is held against a failure rate that is the
        root of the one allowed; half of that is kept for the first run alone.
        """
        failure = (1 - confidence) / 4
        each = failure ** (1 / len(runs))
        ceiling = min(runs[0].ceiling(failure), max(run.ceiling(each) for run in runs))
        floor = max(runs[0].floor(failure), min(run.floor(each) for run in runs))
        ends = enclosed(runs, ceiling, floor, width, confidence, verified)
        density = Density.of(runs, steps)
        return cls(
            ends.lambda_max,
            ends.lambda_min,
            density.trace(),
            density.frobenius(),
            density,
            tuple(runs),
        )


def spectrum(
    objective: Objective,
    *,
    probes: int = 8,
    steps: int = 60,
    width: float = 0.01,
    confidence: float = 0.999,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
    journal: Journal | None = None,
) -> Spectrum:
    """Ends, trace, Frobenius norm and density of the spectrum from the same products.

    Memory as for :func:`landscape.extremes`. Without reorthogonalisation converged eigenvalues
    appear several times among the nodes, and share the weight that is theirs, so sums and densities
    stay right.

    Parameters
    ----------
    objective
        The objective, or anything with ``params`` and a symmetric ``product(vector)``.
    probes
        Random starts; they give the error bars.
    steps
        Products of each; they give the resolution.
    width, confidence, seed, progress, journal
        As for :func:`landscape.extremes`; here ``width`` decides only what counts as converged.

    Raises
    ------
    RequestError
        For probes, steps, width or confidence out of range, and for a product that is not finite.

    References
    ----------
    Lin, Saad, Yang, Approximating spectral densities of large matrices, SIAM Review 58 (2016);
    Ghorbani, Krishnan, Xiao, arXiv:1901.10159.
    """
    if steps < 1:
        raise RequestError(f"steps: {steps} is below 1; 60 resolve the outliers")
    check_request(width, confidence, steps)
    if probes < 1:
        raise RequestError(f"probes: {probes} is below 1; 8 give error bars")
    journal = journal or Journal()
    key = jax.random.key(seed)
    kept = (journal.load() or {"runs": []})["runs"]
    runs: list[Recurrence] = []
    for probe in range(probes):
        current = Recurrence(objective, jax.random.fold_in(key, probe))
        run = current.coefficients
        if probe < len(kept):
            place = functools.partial(_kept, journal, probe, objective.params)
            current.resume(kept[probe], place if probe == len(kept) - 1 else None)
        runs.append(current)
        while run.products < steps and not run.exhausted and probe >= len(kept) - 1:
            current.advance(objective.product(current.vector))
            states = [one.state(journal.room) for one in runs]
            # A name stands for one value, so it tells the probe.
            vectors = {f"{probe}-{name}": tree for name, tree in states[-1][1].items()}
            coefficients = [scalars for scalars, _ in states]
            journal.save({"runs": coefficients}, vectors.keys(), vectors.__getitem__)
            if progress is not None:
                progress()
        _forget_all_but_the_ends(runs)
    limit = max(steps, DEFAULT_LIMIT)  # the vectors of earlier probes are not in the journal
    verified: dict[End, MeasuredEnd] = {
        end: verify(objective, runs, end, limit, seed) for end in ("lambda_max", "lambda_min")
    }
    return Spectrum.of([r.coefficients for r in runs], steps, width, confidence, verified)


def _forget_all_but_the_ends(runs: list[Recurrence]) -> None:
    """Keep the vectors of the runs that have seen most of an end; the others are not needed."""
    ritz = [run.coefficients.ritz()[0] for run in runs]
    needed = {int(np.argmax([r[-1] for r in ritz])), int(np.argmin([r[0] for r in ritz]))}
    for place, run in enumerate(runs):
        if place not in needed:
            run.basis = None


def _kept(journal: Journal, probe: int, like: Tree, name: str) -> Tree:
    return journal.vector(f"{probe}-{name}", like)
