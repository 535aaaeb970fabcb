"""The pictures of ``hessian --pictures``: a file for each thing that was measured."""

from pathlib import Path
from typing import Any

from landscape.cli.hessian_outcome import MATRICES, read_density
from landscape.errors import RequestError


def draw(path: Path, folder: str) -> None:
    """Draw what a result file holds into ``folder``: blocks, convergence, spectrum, scan (.png).

    Raises
    ------
    RequestError
        If a picture cannot be written.
    """
    from landscape import results

    stored = results.read(path, "hessian")
    attributes, axes = stored.attributes, {}
    if attributes["method"] != "power":
        axes["convergence"] = _convergence(stored)
        if len(stored["targets"]) > 1:
            axes["blocks"] = _blocks(stored)
    if attributes["density"]:
        axes["spectrum"] = _spectrum(stored)
    if attributes["scan"]:
        axes["scan"] = _scan(stored)
    for name, drawn in axes.items():
        file = Path(folder) / f"{name}.png"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            drawn.figure.savefig(file, bbox_inches="tight", dpi=200)
        except OSError as error:
            raise RequestError(f"pictures: {file} cannot be written ({error})") from error


def _convergence(stored: Any) -> Any:
    import numpy as np

    from landscape.plots import Convergence, plot_convergence

    estimate, upper = stored["history_estimate"][0], stored["history_upper"][0]
    known = np.isfinite(estimate)
    estimate, upper = estimate[known], upper[known]
    run = Convergence(np.arange(1, len(estimate) + 1), estimate, estimate, upper)
    width = stored.attributes["width"]
    return plot_convergence({"λmax": run}, title="Bounds on λmax", width=width)


def _blocks(stored: Any) -> Any:
    from landscape.plots import Sharpness, plot_blocks

    parts = {name: stored[f"lambda_max_{name}"] for name in ("estimate", "lower", "upper")}
    found = Sharpness(
        [str(target) for target in stored["targets"]],
        **parts,
        converged=stored["lambda_max_converged"] == 1,
    )
    return plot_blocks({"λmax": found}, title=f"λmax over {stored.attributes['examples']} examples")


def _spectrum(stored: Any) -> Any:
    from landscape.plots import Spectrum, plot_spectrum

    smoothed = read_density(stored).smoothed()
    ends = [float(stored[f"lambda_{end}_estimate"][0]) for end in ("min", "max")]
    spectrum = Spectrum(
        smoothed.eigenvalues,
        smoothed.density,
        smoothed.lower,
        smoothed.upper,
        smoothed.width,
        ends=tuple(ends) if ends[0] == ends[0] else None,
        top=stored["top/value"] if stored.attributes["top"] else None,
    )
    return plot_spectrum(
        {"": spectrum}, title=f"Spectral density, {MATRICES[stored.attributes['matrix']]}"
    )


def _scan(stored: Any) -> Any:
    from landscape.plots import Scan, plot_scan

    order = stored["scan/examples"].argsort()
    names = ("examples", "estimate", "lower", "upper")
    found = Scan(
        *(stored[f"scan/{name}"][order] for name in names),
        held_out=stored["scan/held_out"][order],
        held_out_error=stored["scan/held_out_standard_error"][order],
    )
    return plot_scan({"λmax": found}, title="λmax against the number of examples")
