"""The pictures of ``hessian --pictures``: a file for each thing that was measured."""

from pathlib import Path
from typing import Any

from landscape.cli.hessian_outcome import HELD_OUT, read_density
from landscape.cli.outputs import save_picture
from landscape.numbers import MATRICES


def draw(path: Path, folder: str) -> None:
    """Draw what a result file holds into ``folder``, a .png for each kind of measurement.

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
    if attributes["data_error"] and attributes["held_out"]:
        axes["data_error"] = _data_error(stored)
    if attributes["scan"]:
        axes["scan"] = _scan(stored)
    for name, drawn in axes.items():
        file = Path(folder) / f"{name}.png"
        save_picture(drawn.figure, file, "pictures")


def _convergence(stored: Any) -> Any:
    import numpy as np

    from landscape.plots import Convergence, plot_convergence

    estimate, upper = stored["history_estimate"][0], stored["history_upper"][0]
    known = np.isfinite(estimate)
    products = np.append(1 + np.flatnonzero(known), stored["products"][0])
    estimate, upper = estimate[known], upper[known]
    # The last word has what the history of the first start has not: the error of the products, and
    # further starts.
    last = {part: stored[f"lambda_max_{part}"][0] for part in ("estimate", "lower", "upper")}
    run = Convergence(
        products,
        np.append(estimate, last["estimate"]),
        np.append(estimate, last["lower"]),
        np.append(upper, last["upper"]),
    )
    converged = stored["lambda_max_converged"][0] == 1
    title = "Bounds on λmax" + ("" if converged else ", not converged")
    return plot_convergence({"λmax": run}, title=title, width=stored.attributes["width"])


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

    smoothed, attributes = read_density(stored).smoothed(), stored.attributes
    ends = [
        float(stored[f"lambda_{end}_estimate"][0])
        if stored[f"lambda_{end}_converged"][0] == 1
        else float("nan")
        for end in ("min", "max")
    ]
    spectrum = Spectrum(
        smoothed.eigenvalues,
        smoothed.density,
        smoothed.lower,
        smoothed.upper,
        smoothed.width,
        ends=tuple(ends),
        top=stored["top/value"] if attributes["top"] else None,
        top_converged=bool(attributes["top"] and stored["top/converged"] == 1),
    )
    title = f"Spectral density, {MATRICES[attributes['matrix']]}"
    return plot_spectrum({"": spectrum}, title=title)


def _data_error(stored: Any) -> Any:
    import numpy as np

    from landscape.plots import DataError, plot_data_error

    attributes, error = stored.attributes, float(stored["data_error/held_out_standard_error"])
    held_out = float(stored["data_error/held_out"])
    between = {"estimate": held_out, "lower": held_out - error, "upper": held_out + error}
    found = {
        part: np.array([
            stored[f"lambda_max_{part}"][0], value, float(stored[f"data_error/{HELD_OUT}_{part}"])
        ])
        for part, value in between.items()
    }  # fmt: skip
    splits = ("training", "test")
    splits = splits if attributes["held_out"]["split"] == "test" else splits[::-1]
    counts = f"{attributes['examples']:,} and {stored['data_error/held_out_examples']:,.0f} images"
    return plot_data_error({"λmax": DataError(**found)}, title=f"λmax, {counts}", splits=splits)


def _scan(stored: Any) -> Any:
    from landscape.plots import Scan, plot_scan

    order = stored["scan/examples"].argsort()
    names = ("examples", "estimate", "lower", "upper")
    found = Scan(
        *(stored[f"scan/{name}"][order] for name in names),
        other_examples=stored["scan/other_examples"][order],
        other_examples_error=stored["scan/other_examples_standard_error"][order],
    )
    return plot_scan({"λmax": found}, title="λmax against the number of examples")
