"""The figures of a report: from runs to matplotlib figures, and from those to data addresses."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from landscape import captions
from landscape.errors import RequestError
from landscape.numbers import interval, number, percent
from landscape.plots import (
    Activity,
    compare,
    compare_blocks,
    compare_neurons,
    compare_training,
    style,
)
from landscape.report import measures
from landscape.report.measures import WHOLE
from landscape.report.run import Run, distinct

_LOGGED = {"train_loss": "training loss of the mini-batches (logarithmic)",
           "test_accuracy": "test accuracy"}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A figure on the page: its address (``data:...``), width, alternative text and caption."""

    address: str
    inches: float
    alternative: str
    caption: str


def surface_figure(
    runs: Sequence[Run],
    *,
    kind: str = "surface",
    log: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure:
    """The loss surfaces of several runs on one range, each above its λmax and test accuracy.

    Runs without a surface are left out. Where every network was trained plainly and with SAM, the
    plain ones stand in the first row and their partners below them.

    Raises
    ------
    RequestError
        If no run has a surface.
    """
    runs = [run for run in distinct(runs) if measures.surface(run) is not None]
    if not runs:
        raise RequestError("runs: none of them has a surface.h5 with a finite point; run "
                           "`surface` on them first")  # fmt: skip
    runs, columns = _in_rows(runs)
    return compare(
        {run.label: measures.surface(run) for run in runs},
        kind=kind,
        log=log,
        vmin=vmin,
        vmax=vmax,
        captions={run.label: _caption(run) for run in runs},
        label=captions.each(captions.height(run.results["surface"]) for run in runs),
        columns=columns,
    )


def pictures(runs: Sequence[Run]) -> dict[str, Picture]:
    """Every figure for which there are numbers, by name."""
    found = {}
    sam = any(run.rho > 0 for run in runs)
    surfaces = {run.label: s for run in runs if (s := measures.surface(run)) is not None}
    if surfaces:
        lowest, highest = _ends([z for _, _, z in surfaces.values()])
        told = (f"of {', '.join(surfaces)}; the loss goes from {number(lowest, 3)} to "
                f"{number(highest, 3)}.")  # fmt: skip
        found["surfaces"] = Picture(
            *_svg(surface_figure(runs)),
            f"Loss surfaces side by side {told}",
            _told_of_surfaces([run for run in runs if run.label in surfaces]),
        )
        log = lowest > 0
        found["contours"] = Picture(
            *_svg(surface_figure(runs, kind="contour", log=log)),
            f"Contours of the loss surfaces {told}",
            "The same surfaces from above" + (", colours on a logarithmic scale" if log else "")
            + ". " + ("The cross marks the checkpoint, grey " if _any_origin(surfaces) else "Grey ")
            + "is where no finite loss is known.",
        )  # fmt: skip
    activities = {run.label: a for run in runs if (a := measures.activity(run)) is not None}
    if activities:
        found["neurons"] = Picture(
            *_svg(compare_neurons(activities)),
            f"Percentage of active neurons against depth for {', '.join(activities)}.",
            "Share of post-activation values above zero, layer by layer (ResNet: its units' "
            f"outputs), over {_images(runs, activities)}, with standard errors over these."
            + (" Dashed with open markers: trained with SAM." if sam else ""),
        )
    sharpness = {run.label: s for run in runs if (s := measures.sharpness(run)) is not None}
    if sharpness:
        found["blocks"] = Picture(
            *_svg(compare_blocks(sharpness)),
            f"λmax of every component of {', '.join(sharpness)} on a logarithmic axis.",
            f"λmax of the {measures.matrices(r for r in runs if r.label in sharpness)} and of "
            "diagonal blocks of it; the lines through the points span the lower to the upper "
            "bound, where it is wider than the point; a triangle at the edge is a bound that is "
            "not positive or infinite; an asterisk marks what did not converge or was not "
            "confirmed." + (" Open points: trained with SAM." if sam else ""),
        )
    curves = {run.label: run.metrics for run in runs if run.metrics}
    logged = [
        name
        for quantity, name in _LOGGED.items()
        if any({quantity, "epoch"} <= line.keys() for lines in curves.values() for line in lines)
    ]
    if logged:
        told = " and ".join(logged)
        told = told[0].upper() + told[1:]
        thinned = [f"every {run.every}th line of {run.label}" for run in runs if run.every > 1]
        found["training"] = Picture(
            *_svg(compare_training(curves)),
            f"{told} against epochs for {', '.join(curves)}.",
            f"{told}."
            + (f" Of long logs {', '.join(thinned)} is shown." if thinned else "")
            + (" Dashed: trained with SAM." if sam else ""),
        )  # fmt: skip
    return found


def _any_origin(surfaces: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> bool:
    """Whether a checkpoint lies within the plane drawn around it."""
    return any(c[0] <= 0 <= c[-1] and r[0] <= 0 <= r[-1] for c, r, _ in surfaces.values())


def _images(runs: Sequence[Run], drawn: Mapping[str, Activity]) -> str:
    of = (run.results["neurons"] for run in runs if run.label in drawn)
    return captions.each(map(captions.images, of))


def _told_of_surfaces(runs: Sequence[Run]) -> str:
    stored = [run.results["surface"] for run in runs]
    of = captions.each(map(captions.loss, stored))
    told = [
        f"{of[0].upper()}{of[1:]} around each checkpoint on a plane of two directions "
        f"({captions.each(map(captions.directions, stored))}). Height, colour and extent are the "
        "same in every panel; white lines are contours."
    ]
    random = any(captions.directions(one) == "random and random" for one in stored)
    if random and any(map(_has_sharpness, runs)):
        told.append(
            "A random plane almost never holds the sharpest directions, so judge sharpness by the "
            "λmax below each panel and not by the picture."
        )
    if any(map(captions.interpolated, stored)):
        told.append("Some points are interpolated: how many, the panels say.")
    return " ".join(told)


def _in_rows(runs: list[Run]) -> tuple[list[Run], int | None]:
    plain = [run for run in runs if style.SAM not in run.label]
    partners = {style.base(run.label): run for run in runs if style.SAM in run.label}
    paired = sorted(partners) == sorted(run.label for run in plain)
    if paired and len(plain) > 1 and 2 * len(plain) == len(runs):
        return plain + [partners[run.label] for run in plain], len(plain)
    return runs, None


def _has_sharpness(run: Run) -> bool:
    """Whether λmax belongs to the surface: one file may be of a later checkpoint than the other."""
    found = measures.extreme(run, WHOLE)
    return found is not None and measures.same_parameters(run, "hessian", "surface")


def _caption(run: Run) -> str:
    """λmax, the accuracy and what is unusual; of other images or another step only with these."""
    lines, surface, last = [], run.results["surface"], run.last.get("step")
    if _has_sharpness(run):
        sharp, hessian = measures.extreme(run, WHOLE), run.results["hessian"]
        lines.append(f"λmax {number(sharp.estimate)} {interval(sharp.lower, sharp.upper)}"
                     + (f" {sharp.mark}" if sharp.mark else ""))  # fmt: skip
        told = captions.departures(hessian, last)
        if captions.images(hessian) != captions.images(surface):
            told = list(dict.fromkeys([*told, captions.images(hessian)]))
        if told:
            lines.append(f"({', '.join(told)})")
    if accuracy := measures.accuracy(run):
        lines.append(" ".join(filter(None, ("test accuracy", *percent(*accuracy)))) + " %")
        if last is not None and captions.step(surface) not in (None, last):
            lines.append(f"(after step {last:,})")
    if told := captions.departures(surface, last):
        lines.append("surface: " + "\n".join(told))
    lines.append(run.status("surface"))
    return "\n".join(filter(None, lines))


def _ends(heights: Sequence[np.ndarray]) -> tuple[float, float]:
    return min(float(np.nanmin(z)) for z in heights), max(float(np.nanmax(z)) for z in heights)


def _svg(figure: Figure) -> tuple[str, float]:
    """The figure as the address of an SVG image, the same bytes every time, and its width."""
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "landscape", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", dpi=220, metadata={"Date": None})
    encoded = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/svg+xml;base64,{encoded}", figure.get_figwidth()
