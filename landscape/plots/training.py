"""Training curves of several runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.plots import style
from landscape.plots.heights import told_of

NAMES = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "train_accuracy": "training accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
}


def plot_curve(
    runs: Mapping[str, Sequence[Mapping]],
    quantity: str,
    *,
    ax: Axes | None = None,
    log: bool = False,
    title: str | None = None,
) -> Axes:
    """One quantity of the training logs against the epoch, a line per run.

    Parameters
    ----------
    runs
        ``{label: records}`` with the records of ``metrics.jsonl``; records without the quantity
        are passed over; values that are not finite, or with ``log`` not positive, are gaps and
        counted below. Labels that differ only by ``-SAM`` share a hue, SAM is dashed.
    quantity
        A key of the records: ``"train_loss"``, ``"test_accuracy"``, ...; accuracies are fractions
        and drawn in percent.
    ax
        Axes to draw on; new ones by default.
    log
        A logarithmic ordinate.
    title
        Text above.
    """
    ax = style.dressed(ax)
    looks, told = style.looks(runs), []
    for label, records in runs.items():
        points = [(r["epoch"], r[quantity]) for r in records
                  if r.get(quantity) is not None and r.get("epoch") is not None]  # fmt: skip
        if not points:
            told.append(f"{label}: not measured")
            continue
        epochs, values = np.asarray(points, np.float64).T
        lost = ~np.isfinite(values) | ((values <= 0) & log)
        if lost.any():
            reason = "finite and positive" if log else "finite"
            told.append(f"{label}: {told_of(f'not {reason}', int(lost.sum()), len(values))}")
            values = np.where(lost, np.nan, values)
        look = looks[label]
        percent = 100 if quantity.endswith("accuracy") else 1
        sparse = len(points) <= 30
        ax.plot(epochs, percent * values, color=look.hue, linestyle=look.dash, linewidth=1.1,
                marker=look.marker if sparse else None, markersize=2.5,
                label=style.listed(label))  # fmt: skip
    if not ax.lines:
        style.unavailable(ax, "not measured")
    else:
        style.note_below(ax, style.lines(*told), 26)
        if log:
            style.logarithmic(ax.yaxis)
    ax.set_xlabel("epoch", fontsize=style.SMALL)
    ax.set_ylabel(NAMES.get(quantity, quantity.replace("_", " ")), fontsize=style.SMALL)
    style.titled(ax, title)
    return style.verbatim(ax)


def compare_training(runs: Mapping[str, Sequence[Mapping]], *, width=style.PAGE) -> Figure:
    """Training loss (logarithmic) and test accuracy of several runs side by side."""
    fig = style.figure(width, 2.6)
    left, right = fig.subplots(1, 2)
    plot_curve(runs, "train_loss", ax=left, log=True)
    plot_curve(runs, "test_accuracy", ax=right)
    notes = ["\n".join(text.get_text() for text in ax.texts) for ax in (left, right)]
    style.grow(fig, max(note.count("\n") for note in notes))
    style.legend_below(fig, (left, right))
    return fig
