"""``surface``: losses on a plane or a line through a checkpoint, and pictures of them."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from landscape.cli import common, subject, surface_pictures, surface_run
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    x: str = "random"
    """random, eigenvector:1, gradient, sam, to:CHECKPOINT, pca:1 (of saved steps), file:FILE.h5."""
    y: str = "random"
    """Second direction; none for a line."""
    orthogonalize: bool = False
    """Take the first direction off the second."""
    normalize: Literal["filter", "layer", "weight", "none"] = "filter"
    """What every filter, layer or weight of a random direction is scaled to: its weights' norm."""
    ignore: str | None = None
    """Regular expression of what random directions spare (default: biases and normalisation)."""
    embeddings: Literal["move", "keep"] = "move"
    """Whether random directions move position embeddings and class tokens, as Li et al.'s do."""
    rho: float = 0.05
    """Radius of the sam direction."""
    grid: str = "51"
    """Points per axis, 51 or 51x41 (50 are the paper's 2,500, without one at the checkpoint)."""
    range: str | None = None
    """1 (from -1 to 1), =-0.5:1.5, =-1:1,0:2 (default: 1, or what checkpoints and steps need)."""
    adaptive: float | None = None
    """Interpolate where half the grid was right to this fraction of the loss above its minimum."""
    both_splits: bool = False
    """Evaluate the other split too, in the same file."""
    gradient_norm: bool = False
    """Also the norm of the gradient at every point."""
    lambda_max: float | None = None
    """Also certify the largest Hessian eigenvalue at every point, to this relative width."""
    batchnorm: Literal["frozen", "re-estimated"] = "frozen"
    """BatchNorm's statistics: the checkpoint's, or each point's own (best between checkpoints)."""
    spread: Literal["points", "images"] = "points"
    """What `--devices` divides."""
    along_training: bool = False
    """A surface for every saved step of the run, along the last one's directions."""
    li_directions: str | None = None
    """Also write the directions for Li et al.'s code, in the checkpoint's own order and layout."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject, surface_pictures.Pictures, _Request):
    pass


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Evaluate the grid; points that the result file already holds are not repeated."""
    surface_pictures.check(options)
    if options.watch is not None:
        picture = surface_pictures.watch(options)
        return summary([options.watch], {picture: 0})
    if options.draw:
        paths = [Path(name) for name in options.draw]
    else:
        make_bar = common.bars(options, make_bar)
        compute = surface_run.along_training if options.along_training else surface_run.compute
        paths = compute(options, make_bar)
    written = surface_pictures.write(options, paths)
    return summary(paths, written)


def summary(
    paths: Sequence[os.PathLike | str], written: Mapping[str, int] | None = None
) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown.

    The numbers are those of the last file; the status is that of all of them.
    """
    import numpy as np

    from landscape import accuracy

    path, written = paths[-1], written or {}
    each = {os.fspath(one): surface_pictures.read(one) for one in paths}
    found = each[os.fspath(path)]
    uncertain = [name for name, one in each.items() if any(_sharpness(one).values())]
    loss = found.loss
    finite, centre = loss[np.isfinite(loss)], found.attributes.get("centre", {})
    largest = {}
    for of in ("population", "split"):
        error = found.metrics.get(f"{found.loss_name}_{of}_error", np.array([]))
        error = error[np.isfinite(error)]
        largest[of] = float(error.max()) if len(error) else None
    on_grid = all(np.any(axis == 0) for axis in (found.x, found.y) if axis is not None)
    sharpness = _sharpness(found)
    data = {
        "file": os.fspath(path),
        "files": list(each),
        "files_not_converged": uncertain,
        "points": int(found.done.sum()),
        "interpolated": int(found.interpolated.sum()),
        "grid": list(reversed(loss.shape)),
        "metrics": list(found.metrics),
        "examples": found.attributes.get("examples"),
        "centre": centre.get(found.loss_name),
        "checkpoint": centre,
        "minimum": float(finite.min()) if len(finite) else None,
        "maximum": float(finite.max()) if len(finite) else None,
        "checkpoint_on_grid": bool(on_grid),
        "largest_population_error": largest["population"],
        "largest_split_error": largest["split"],
        "not_finite": int((found.done & ~np.isfinite(loss)).sum()),
        **sharpness,
        "confidence": found.attributes.get("confidence") if sharpness else None,
        "batchnorm": found.attributes.get("batchnorm"),
        "cosine": None if found.is_line else found.cosine,
        "lengths": list(found.lengths),
        "explained": found.attributes.get("explained"),
        **accuracy.stored(found.attributes),
        "written": list(written),
        "cells_left_out": {name: count for name, count in written.items() if count},
    }

    def show(console: Any) -> None:
        points = f"{' x '.join(map(str, data['grid']))}, {data['points']} done"
        if data["interpolated"]:
            points += f", {data['interpolated']} of them interpolated"
        condition = _OF_TRAINING * found.loss_name.startswith("train")
        rows = [
            ["points", points],
            *([name.replace("_", " ") + " of the checkpoint", _number(value)]
              for name, value in centre.items() if not name.endswith(("_error", "_converged"))),
            *([["accuracy of the checkpoint", accuracy.told(data)]] if "accuracy" in data else []),
            ["smallest, largest loss", f"{_number(data['minimum'])}, {_number(data['maximum'])}"],
            ["largest standard error, for the population" + condition,
             _number(largest["population"])],
            ["largest standard error, for the whole split", _number(largest["split"])],
            ["points with a loss that is not finite", str(data["not_finite"])],
            *([text, str(sharpness[name])] for name, text in _SHARPNESS.items()
              if name in sharpness),
            *([["confidence of the bounds of each λmax", f"{100 * data['confidence']:g} %"]]
              if data["confidence"] else []),
            ["lengths of the directions / ‖w‖", ", ".join(f"{v:.4f}" for v in found.lengths)],
        ]  # fmt: skip
        if not on_grid:
            rows.append(["the checkpoint", "between the points of this grid"])
        if not found.is_line:
            rows.append(["cosine of the two directions", f"{found.cosine:.4f}"])
        if data["explained"]:
            rows.append(["variance along them", ", ".join(f"{v:.1%}" for v in data["explained"])])
        console.print(common.grid("Loss surface", ("quantity", "value"), rows))
        if "remark" in data:
            console.print(data["remark"], markup=False)
        if len(each) > 1:
            console.print(f"{len(each)} surfaces; the numbers are those of the last")
        if uncertain:
            console.print(f"with points whose λmax is not certified: {', '.join(uncertain)}")
        for name, count in data["cells_left_out"].items():
            console.print(f"{name} lacks cells with a corner without a height: {count}")
        console.print(f"in {path}" + (f", written: {', '.join(written)}" if written else ""))

    return common.Outcome(data, show, converged=not uncertain)


_OF_TRAINING = "\n(if the network did not depend on these images)"
_SHARPNESS = {
    "lambda_max_not_finite": "points whose λmax is not finite, though the loss is",
    "lambda_max_not_converged": "points whose λmax did not converge",
}


def _sharpness(found: Any) -> dict[str, int]:
    """At how many points λmax, where it was asked for, is not certified."""
    import numpy as np

    if "max_eig_converged" not in found.metrics:
        return {}
    evaluated = found.done & ~found.interpolated & np.isfinite(found.loss)
    known = np.isfinite(found.metrics["max_eig"])
    wide = known & (found.metrics["max_eig_converged"] != 1)
    counts = ((evaluated & ~known).sum(), (evaluated & wide).sum())
    return dict(zip(_SHARPNESS, map(int, counts), strict=True))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
