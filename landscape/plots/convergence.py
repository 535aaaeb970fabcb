"""How far λmax can be trusted: its bounds against products, its value against the data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from landscape.plots import style
from landscape.plots.heights import told_of

APART = 5.0  # values this many times apart need a logarithmic ordinate
SIDESTEP = 1.05  # from run to run along the examples, so that error bars do not hide each other

Run = TypeVar("Run", "Convergence", "Scan")


@dataclass(frozen=True)
class Convergence:
    """λmax of one network after each of k Hessian-vector products, all of shape (k,).

    ``products`` counts them, ``estimate`` lies between the bounds ``lower`` and ``upper``, which
    may be infinite; NaN where nothing was measured.
    """

    products: np.ndarray
    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Scan:
    """λmax of one network measured on more and more examples, all arrays of shape (k,).

    Attributes
    ----------
    examples
        How many it was measured on, ascending.
    estimate, lower, upper
        λmax of the Hessian on those examples and its bounds.
    other_examples, other_examples_error
        Rayleigh quotient of the same eigenvector on the other examples of the same data and its
        standard error; NaN where not measured. They are no held-out examples.
    """

    examples: np.ndarray
    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    other_examples: np.ndarray
    other_examples_error: np.ndarray


@dataclass(frozen=True)
class DataError:
    """λmax of one network on the data it was analysed on and on held-out data, shape (3,).

    In this order: λmax of the Hessian on the analysed data; the Rayleigh quotient of its
    eigenvector on the held-out data; λmax on the held-out data. ``lower`` and ``upper`` are bounds
    of the first and the third, and a standard error below and above the second; NaN where nothing
    was measured.
    """

    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def plot_convergence(
    runs: Mapping[str, Convergence],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    width: float | None = None,
) -> Axes:
    """λmax against Hessian-vector products, a line in the band between its bounds per run.

    The last estimate has a marker. The first bounds are far away or infinite: the ordinate ends at
    twice the largest last estimate, and bands go out of the picture there. Where last estimates
    lie five-fold apart or more it is logarithmic and ends a power of ten outside of them. The text
    below counts estimates that have no place there, and those before the last that are not finite.

    With ``width``, the relative width that was asked for, a stripe spans the last estimate times
    1 ± ``width``: an interval that narrow around the estimate does not stand out of it.
    """
    ax = style.dressed(ax)
    looks = style.looks(runs)
    known = _measured(runs)
    if not known:
        style.unavailable(ax, "not measured")
    else:
        low, high = _ends(known)
        log = _far_apart(run.estimate[-1] for run in known.values())
        if log:
            _logarithmic(ax, "y", low, high)
        for label, run in known.items():
            look = looks[label]
            # a bound holds for its product alone: no slope may lead down from one far away
            ax.fill_between(run.products, np.maximum(run.lower, low), np.minimum(run.upper, high),
                            step="mid", color=look.hue, alpha=0.2, linewidth=0)  # fmt: skip
            steps = {"drawstyle": "steps-mid", "color": look.hue, "linestyle": look.dash}
            ax.plot(run.products, run.estimate, **steps, linewidth=1.1, marker=look.marker,
                    markevery=[-1], markersize=3.2, markeredgewidth=0.8,
                    markerfacecolor="white" if look.sam else look.hue,
                    label=style.listed(label))  # fmt: skip
            ax.plot(run.products, run.upper, **steps, linewidth=0.6)
            if width is not None:
                last = run.estimate[-1]
                ax.axhspan(last * (1 - width), last * (1 + width), color=look.hue, alpha=0.3,
                           linewidth=0)  # fmt: skip
        ax.set_xlim(0.5, max(run.products[-1] for run in known.values()) + 0.5)
        ax.set_ylim(low, high)
        stripe = "" if width is None else f"stripe: ±{100 * width:g} % of the last estimate"
        style.note_below(ax, style.lines(stripe, _left_out(runs, log=log)), 26)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    ax.set_xlabel("Hessian-vector products", fontsize=style.SMALL)
    ax.set_ylabel("λmax", fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def plot_scan(
    runs: Mapping[str, Scan], *, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """λmax against the number of examples it was measured on, with its interval as error bar.

    λmax of few examples is on average too large for all of them, since its eigenvector is fitted to
    the few. Open markers are the Rayleigh quotients of the same eigenvectors on the other examples
    of the same data, too small on average, with their standard errors. Runs stand a little beside
    each other. The ordinate is logarithmic where values on the most examples lie five-fold apart or
    more; the text below counts what has no place there, and what is not finite.
    """
    ax = style.dressed(ax)
    looks = style.looks(runs)
    known = _measured(runs)
    if not known:
        style.unavailable(ax, "not measured")
    else:
        log = _far_apart(run.estimate[-1] for run in known.values())
        low, high = _scan_ends(known, log=log)
        for place, (label, run) in enumerate(known.items()):
            look = looks[label]
            x = run.examples * SIDESTEP ** (place - (len(known) - 1) / 2)
            shared = {"color": look.hue, "linestyle": look.dash, "marker": look.marker,
                      "markersize": 3.2, "markeredgewidth": 0.8, "elinewidth": 0.7,
                      "capsize": 1.5}  # fmt: skip
            reach = np.nan_to_num([run.estimate - run.lower, run.upper - run.estimate])
            ax.errorbar(x, run.estimate, np.clip(reach, 0, 10 * (high - low)), **shared,
                        linewidth=1.1, markerfacecolor=look.fill,
                        label=style.listed(label))  # fmt: skip
            there = run.other_examples > 0 if log else np.isfinite(run.other_examples)
            if there.any():
                error = np.nan_to_num(run.other_examples_error[there])
                ax.errorbar(x[there], run.other_examples[there],
                            np.minimum(error, 10 * (high - low)), **shared, linewidth=0.6,
                            markerfacecolor="white")  # fmt: skip
        if log:
            _logarithmic(ax, "y", low, high)
        ax.set_ylim(low, high)
        counts = np.concatenate([run.examples for run in known.values()])
        _logarithmic(ax, "x", counts.min(), counts.max())
        remarks = _left_out(runs, log=log), _others_remark(known, log=log)
        style.note_below(ax, style.lines(*remarks), 26)
    ax.set_xlabel("examples", fontsize=style.SMALL)
    ax.set_ylabel("λmax", fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def plot_data_error(
    runs: Mapping[str, DataError],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    splits: tuple[str, str] = ("training", "test"),
) -> Axes:
    """λmax over the analysed data, the same vector's quotient over held-out data, λmax over these.

    Error bars are bounds on λmax, and a standard error of the quotient, which is an open marker. A
    dotted line leads from the upper bound over the analysed data to the right: a network whose
    quotient lies above it is sharper on the held-out data. Runs stand beside each other. The
    ordinate is logarithmic where values lie five-fold apart or more. ``splits`` names the analysed
    data and the held-out ones.
    """
    ax = style.dressed(ax, grid="y")
    looks = style.looks(runs)
    known = {label: run for label, run in runs.items() if np.isfinite(run.estimate).any()}
    if not known:
        style.unavailable(ax, "not measured")
    else:
        values = np.array([run.estimate for run in known.values()])
        log = _far_apart(values[np.isfinite(values)])
        # As for a scan: what lies further away than its value's own size leads out of the picture.
        ends = np.array([(run.lower, run.upper) for run in known.values()])
        size = np.abs(values)[:, None]
        near = np.clip(ends, values[:, None] - size, values[:, None] + size)
        low, high = _around(np.concatenate([values.ravel(), near.ravel()]), log=log)
        for place, (label, run) in enumerate(known.items()):
            look = looks[label]
            x = np.arange(3) + 0.15 * (place - (len(known) - 1) / 2)
            reach = np.nan_to_num([run.estimate - run.lower, run.upper - run.estimate])
            reach = np.clip(reach, 0, 10 * (high - low))
            for at, fill in ((0, look.fill), (1, "white"), (2, look.fill)):
                ax.errorbar(x[at], run.estimate[at], reach[:, [at]], color=look.hue,
                            marker=look.marker, markersize=4, markeredgewidth=0.8,
                            markerfacecolor=fill, elinewidth=0.9, capsize=2, linestyle="",
                            label=None if at else style.listed(label))  # fmt: skip
            ax.plot([x[0], 2.5], [run.upper[0]] * 2, color=look.hue, linestyle=":", linewidth=0.8)
        if log:
            _logarithmic(ax, "y", low, high)
        ax.set_ylim(low, high)
        style.note_below(ax, "dotted: upper bound on the left; open marker: ± standard error", 26)
    analysed, held_out = splits
    names = (f"λmax,\n{analysed} data", f"same vector,\n{held_out} data", f"λmax,\n{held_out} data")
    ax.set_xticks(range(3), names, fontsize=style.SMALL)
    ax.set_xlim(-0.5, 2.5)
    ax.set_ylabel("curvature of the mean loss", fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def _measured(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs without points that have no estimate; none without any."""
    found = {}
    for label, run in runs.items():
        there = np.isfinite(run.estimate)
        if there.any():
            columns = {name: np.asarray(column)[there] for name, column in vars(run).items()}
            found[label] = type(run)(**columns)
    return found


def _far_apart(values: Iterable[float]) -> bool:
    """Whether values differ too much for a linear axis and can stand on a logarithmic one."""
    values = list(values)
    return min(values) > 0 and max(values) >= APART * min(values)


def _logarithmic(ax: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic axis with labels 1, 10, 100, or some in between where it spans little."""
    axis = {"x": ax.xaxis, "y": ax.yaxis}[which]
    style.logarithmic(axis, (low, high))
    if 10 * low <= high < 100 * low:  # narrow panels have no room for more
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))


def _ends(runs: Mapping[str, Convergence]) -> tuple[float, float]:
    """The ends of the ordinate, as :func:`plot_convergence` says."""
    last = [run.estimate[-1] for run in runs.values()]
    if _far_apart(last):
        return min(last) / 10, max(last) * 10
    reach = max(map(abs, last)) or 1.0
    lowest = min(run.estimate.min() for run in runs.values())
    return max(min(0.0, 1.1 * lowest), min(0.0, *last) - reach), max(last) + reach


def _scan_ends(runs: Mapping[str, Scan], *, log: bool) -> tuple[float, float]:
    """Room for everything but bounds further from the estimate than its own size."""
    values = []
    for run in runs.values():
        size = np.abs(run.estimate)
        values += [run.estimate, np.maximum(run.lower, run.estimate - size),
                   np.minimum(run.upper, run.estimate + size), run.other_examples,
                   run.other_examples + run.other_examples_error]  # fmt: skip
        if not log:
            values.append(run.other_examples - run.other_examples_error)
    return _around(np.concatenate(values), log=log)


def _around(values: np.ndarray, *, log: bool) -> tuple[float, float]:
    """The ends of an ordinate with room for all values that are finite, from zero if linear."""
    values = values[np.isfinite(values)]
    if log:
        values = values[values > 0]
        return values.min() / 1.5, values.max() * 1.5
    return min(0.0, 1.1 * values.min()), max(0.0, 1.1 * values.max()) or 1.0


def _left_out(runs: Mapping[str, Run], *, log: bool) -> str:
    """How many estimates of each run are not drawn, and why."""
    told = []
    for label, run in runs.items():
        estimate = np.asarray(run.estimate)
        finite = np.isfinite(estimate)
        if isinstance(run, Convergence) and finite.any():  # what follows was not computed yet
            estimate = estimate[: np.flatnonzero(finite)[-1] + 1]
            finite = finite[: len(estimate)]
        for what, which in (("not finite", ~finite), ("not positive", finite & (estimate <= 0))):
            if which.any() and (log or what == "not finite"):
                told.append(f"{label}: {told_of(what, int(which.sum()), len(estimate))}")
    return "\n".join(told)


def _others_remark(runs: Mapping[str, Scan], *, log: bool) -> str:
    """What the open markers are, and which are missing."""
    values = np.concatenate([run.other_examples for run in runs.values()])
    if not np.isfinite(values).any():
        return ""
    text = "open markers: same vector on the other examples\nof the same data, with standard error"
    hidden = np.sum(values <= 0) if log else 0
    return f"{text}\n({hidden} not positive, hence not shown)" if hidden else text
