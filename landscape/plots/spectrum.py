"""Spectral density of the Hessian, a huge bulk at zero with few outliers far away."""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from landscape.plots import style

FLOOR, DEEPEST = 1e-6, 1e-10  # of the peak: where the density is cut, the lowest bump that counts
SPAN = 20.0  # bulks that a linear abscissa may reach out
DECADES = 4  # from the bulk to the end of the abscissa at most
ROW = 0.055  # of the height of the axes, for the marks of one run


@dataclass(frozen=True)
class Spectrum:
    """The smoothed spectral density of one Hessian, arrays of shape (grid,).

    Attributes
    ----------
    eigenvalues
        The grid, ascending.
    density
        Mean over probes, one over the unit of the eigenvalues; it integrates to 1.
    lower, upper
        Band across probes; NaN where unknown.
    width
        Standard deviation of the Gaussians that smooth it, in the unit of the eigenvalues.
    ends
        The smallest and the largest eigenvalue; NaN for one that is not certified.
    top
        Largest eigenvalues computed one by one, shape (k,); NaN where there is none.
    top_converged
        Whether these are known to be accurate and none is missing among them.
    """

    eigenvalues: np.ndarray
    density: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    width: float
    ends: tuple[float, float] = (np.nan, np.nan)
    top: np.ndarray | None = None
    top_converged: bool = True


def plot_spectrum(
    spectra: Mapping[str, Spectrum], *, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Spectral density over the eigenvalue, a line with its band across probes per run.

    Below the curves, a row per run in the order of the labels, short vertical ticks are certified
    ends and markers top eigenvalues; the text says how wide the smoothing is and what is marked. An
    end that is not certified has no tick. Labels that differ only by ``-SAM`` share a hue; SAM is
    dashed with open markers.

    The density is logarithmic and cut at 1e-6 of its peak, or at a tenth of its lowest separate
    bump where that is lower: one outlier among n eigenvalues is a bump of about 1/n.

    The abscissa is linear, unless it reaches out further than 20 times the bulk (the distance from
    zero that holds 90 % of the density, of the run where it is smallest). Then it is logarithmic
    to both sides, beyond a power of ten no larger than the bulk, and says so.
    """
    ax = style.dressed(ax)
    looks = style.looks(spectra)
    known = {label: run for label, run in spectra.items() if np.any(run.density > 0)}
    if not known:
        style.unavailable(ax, "not measured")
        name = "eigenvalue"
    else:
        floor = min(map(_floor, known.values()))
        name = _scale_abscissa(ax, known, floor)
        rows = {label: run for label, run in known.items() if _marks(run).size}
        for label, run in known.items():
            look = looks[label]
            ax.plot(run.eigenvalues, _cut(run.density, run.density, floor), color=look.hue,
                    linestyle=look.dash, linewidth=1.1, label=style.listed(label))  # fmt: skip
            ax.fill_between(run.eigenvalues, _cut(run.lower, run.upper, floor),
                            np.maximum(run.upper, floor), color=look.hue, alpha=0.2,
                            linewidth=0)  # fmt: skip
        for place, (label, run) in enumerate(rows.items()):
            _mark(ax, run, looks[label], ROW * (len(rows) - place - 0.5))
        top, part = 3 * max(np.nanmax(run.density) for run in known.values()), ROW * len(rows)
        ax.set_yscale("log")
        ax.set_ylim(floor * (floor / top) ** (part / (1 - part)), top)
        ax.margins(x=0.03)
        style.note_below(ax, _remark(known), 26)
    ax.set_xlabel(name, fontsize=style.SMALL)
    ax.set_ylabel("spectral density", fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def _floor(run: Spectrum) -> float:
    """Where the density is cut: tails of Gaussians go down without end, bumps are eigenvalues."""
    density, peak = run.density, np.nanmax(run.density)
    inner = density[1:-1]
    bumps = inner[(inner > density[:-2]) & (inner >= density[2:]) & (inner > DEEPEST * peak)]
    return float(min([FLOOR * peak, *0.1 * bumps]))


def _cut(values: np.ndarray, known: np.ndarray, floor: float) -> np.ndarray:
    """Values no lower than the floor, NaN where ``known`` lies below it on both sides as well."""
    above = np.pad(known >= floor, 1)
    return np.where(above[:-2] | above[1:-1] | above[2:], np.maximum(values, floor), np.nan)


def _marks(run: Spectrum) -> np.ndarray:
    """Everything that is marked below the curve."""
    marks = np.array([*run.ends, *(() if run.top is None else run.top)], float)
    return marks[np.isfinite(marks)]


def _scale_abscissa(ax: Axes, spectra: Mapping[str, Spectrum], floor: float) -> str:
    """Linear or logarithmic, as :func:`plot_spectrum` says; returns the name of the axis."""
    reach = max(
        np.abs([*run.eigenvalues[run.density >= floor], *_marks(run)]).max()
        for run in spectra.values()
    )
    bulk = max(min(map(_bulk, spectra.values())), reach / 10**DECADES)
    if reach <= SPAN * bulk:
        return "eigenvalue"
    linear = float(10.0 ** np.floor(np.log10(bulk)))
    # This size of the linear part joins the logarithmic ones without a kink in the curves.
    ax.set_xscale("symlog", linthresh=linear, linscale=0.9 / np.log(10))
    count = int(np.log10(reach / linear))
    powers = linear * 10.0 ** np.arange(count, 0, -1 if count <= 3 else -2)[::-1]
    # Few powers of ten are too few labels.
    ticks = np.outer(powers, (1, 2, 5) if count <= 1 else (1,)).ravel()
    ticks = ticks[ticks <= reach]
    ax.xaxis.set_major_locator(FixedLocator([*-ticks[::-1], 0.0, *ticks]))
    ax.xaxis.set_major_formatter(lambda value, _: style.plain(value).replace("-", "−"))
    return f"eigenvalue, logarithmic beyond ±{linear:g}"


def _bulk(run: Spectrum) -> float:
    """Distance from zero that holds 90 % of the density."""
    order = np.argsort(np.abs(run.eigenvalues))
    mass = np.cumsum(np.nan_to_num(run.density * np.gradient(run.eigenvalues))[order])
    return float(np.abs(run.eigenvalues[order])[np.searchsorted(mass, 0.9 * mass[-1])])


def _mark(ax: Axes, run: Spectrum, look: style.Look, height: float) -> None:
    """Certified ends and top eigenvalues of one run in a row across the axes."""
    row = {"transform": ax.get_xaxis_transform(), "linestyle": "", "color": look.hue}
    if certified := [end for end in run.ends if np.isfinite(end)]:
        ax.plot(certified, [height] * len(certified), marker="|", markersize=6.5,
                markeredgewidth=0.9, **row)  # fmt: skip
    if run.top is not None:
        ax.plot(run.top, [height] * len(run.top), marker=look.marker, markersize=2.6,
                markeredgewidth=0.6, markerfacecolor="white" if look.sam else look.hue,
                **row)  # fmt: skip


def _remark(spectra: Mapping[str, Spectrum]) -> str:
    """How wide the smoothing is and what is marked, in short lines."""
    widths = {label: f"{run.width:.2g}" for label, run in spectra.items()}
    if len(set(widths.values())) == 1:
        text = next(iter(widths.values()))
    else:  # the spaces between a width and its label do not break
        parts = (f"{width} ({label})".replace(" ", "\N{NO-BREAK SPACE}")
                 for label, width in widths.items())  # fmt: skip
        text = ", ".join(parts)
    smallest, largest = np.isfinite([run.ends for run in spectra.values()]).any(axis=0)
    marks = []
    if smallest or largest:
        which = "ends" if smallest and largest else "λmax" if largest else "λmin"
        marks.append(f"ticks: certified {which}")
    tops = [run.top_converged for run in spectra.values() if run.top is not None]
    if tops:
        marks.append("markers: top eigenvalues" + ("" if all(tops) else " (NOT CONVERGED)"))
    text = fill(f"smoothing width {text}", 42, break_on_hyphens=False)
    return "\n".join([text, *([", ".join(marks)] if marks else [])])
