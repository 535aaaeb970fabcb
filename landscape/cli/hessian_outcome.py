"""What ``hessian`` prints, for programs and for people, from its result file."""

from pathlib import Path
from typing import Any

from landscape.cli import common

# Datasets of an end of a spectrum.
END = ("estimate", "lower", "upper", "residual", "converged")

# Single numbers of the further measurements, by the option that asks for them.
EXTRA = {
    "top": ("products", "converged"),
    "trace": ("frobenius", "frobenius_standard_error"),
    "density": ("size", "smoothing_width"),
    "data_error": (
        "quotient",
        "standard_error",
        "shard_standard_error",
        "held_out",
        "held_out_standard_error",
        "held_out_examples",
    ),
}


def outcome(path: Path, pictures: str | None) -> common.Outcome:
    """The outcome as stored."""
    from landscape import results

    stored = results.read(path, "hessian")
    data, converged = _data(stored)

    def show(console: Any) -> None:
        for table in _tables(stored, data):
            console.print(table)
        console.print(f"written to {path}" + (f", drawn in {pictures}" if pictures else ""))

    return common.Outcome(data, show, converged)


def _data(stored: Any) -> tuple[dict[str, Any], bool]:
    attributes = stored.attributes
    targets = [str(target) for target in stored["targets"]]
    certified, power = attributes["method"] != "power", attributes["method"] != "lanczos"
    data: dict[str, Any] = {
        "examples": attributes["examples"],
        "loss": attributes["loss"],
        "norm": attributes["norm"],
        "matrix": attributes["matrix"],
        "file": str(stored.path),
    }
    converged = True
    for i, target in enumerate(targets):
        entry: dict[str, Any] = {}
        if certified:
            for end in ("lambda_max", "lambda_min"):
                entry[end] = _end(stored, end, i, attributes["confidence"])
            converged &= entry["lambda_max"]["converged"]
            if i == 0 and attributes["ends"] == "both":
                converged &= entry["lambda_min"]["converged"]
        if power:
            entry["power"] = {**_power(stored, i), "products": attributes["iterations"]}
        if attributes["trace"]:
            entry["trace"] = {
                "estimate": float(stored["trace_estimate"][i]),
                "standard_error": float(stored["trace_standard_error"][i]),
                "probes": attributes["probes"],
            }
        if i == 0:
            data |= entry
        else:
            entry["parameters"] = int(stored["parameters"][i])
            data.setdefault("blocks", {})[target] = entry
    if attributes["top"]:
        data["top"] = _records(stored, "top", ("value", "residual", "upper"))
        converged &= bool(stored["top/converged"] == 1)
    if attributes["trace"]:
        data["frobenius"] = {
            "estimate": float(stored["trace/frobenius"]),
            "standard_error": float(stored["trace/frobenius_standard_error"]),
            "probes": attributes["probes"],
        }
    if attributes["density"]:
        data["density"] = _density(stored)
    if attributes["data_error"]:
        data["data_error"] = {
            name: float(stored[f"data_error/{name}"]) for name in EXTRA["data_error"]
        }
        data["data_error"]["shards"] = stored["data_error/shards"].tolist()
    if attributes["scan"]:
        data["scan"] = [
            {
                "examples": int(examples),
                "lambda_max": _end(stored, "scan", i, attributes["confidence"]),
                "held_out": float(stored["scan/held_out"][i]),
                "held_out_standard_error": float(stored["scan/held_out_standard_error"][i]),
            }
            for i, examples in enumerate(stored["scan/examples"])
        ]
        converged &= all(entry["lambda_max"]["converged"] for entry in data["scan"])
    return data, converged


def _end(stored: Any, end: str, index: int, confidence: float) -> dict[str, Any]:
    prefix, products = ("scan/", "scan/products") if end == "scan" else (f"{end}_", "products")
    values = {part: float(stored[prefix + part][index]) for part in END}
    return {
        **values,
        "confidence": confidence,
        "products": int(stored[products][index]),
        "converged": values["converged"] == 1,
    }


def _power(stored: Any, index: int) -> dict[str, Any]:
    estimate = float(stored["power_estimate"][index])
    return {
        "estimate": estimate,
        "residual": float(stored["power_residual"][index]),
        "is_largest": estimate >= 0,
        "certified": False,
    }


def _records(stored: Any, group: str, names: tuple[str, ...]) -> list[dict[str, float]]:
    columns = [stored[f"{group}/{name}"] for name in names]
    return [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]


def read_density(stored: Any) -> Any:
    """The stored nodes and weights as a :class:`landscape.curvature.Density`."""
    from landscape.curvature import Density

    return Density(stored["density/node"], stored["density/weight"], int(stored["density/size"]))


def _density(stored: Any) -> dict[str, Any]:
    density = read_density(stored)
    dimension = density.effective_dimension(1.0)
    return {
        "starts": density.nodes.shape[0],
        "steps": density.nodes.shape[1],
        "smoothing_width": float(stored["density/smoothing_width"]),
        "effective_dimension": {
            "regularisation": 1.0,
            "estimate": dimension.estimate,
            "standard_error": dimension.standard_error,
        },
    }


# --- tables ---------------------------------------------------------------------------------------

MATRICES = {
    "hessian": "Hessian",
    "gauss_newton": "Gauss-Newton matrix",
    "fisher": "Fisher matrix (drawn labels)",
    "empirical_fisher": "empirical Fisher matrix",
}


def _tables(stored: Any, data: dict[str, Any]) -> list[Any]:
    attributes = stored.attributes
    tables = [_targets(stored, data)]
    if attributes["top"]:
        rows = [
            [str(i + 1), *(f"{row[name]:.4g}" for name in ("value", "upper", "residual"))]
            for i, row in enumerate(data["top"])
        ]
        complete = "none missed" if stored["top/converged"] == 1 else "NOT CONVERGED"
        title = f"Largest eigenvalues ({complete}; {stored['top/products']:.0f} products)"
        tables.append(common.grid(title, ("", "eigenvalue", "at most", "residual"), rows))
    rows = _quantities(data)
    if rows:
        tables.append(common.grid("Whole matrix", ("quantity", "value", "± std. error"), rows))
    if attributes["scan"]:
        rows = [
            [f"{entry['examples']:,}"]
            + [f"{entry['lambda_max'][part]:.4g}" for part in ("estimate", "lower", "upper")]
            + [_pm(entry["held_out"], entry["held_out_standard_error"])]
            for entry in data["scan"]
        ]
        columns = ("images", "λmax", "between", "and", "same vector, other images")
        tables.append(common.grid("λmax against the number of images", columns, rows))
    return tables


def _targets(stored: Any, data: dict[str, Any]) -> Any:
    attributes, entries = stored.attributes, {"whole": data, **data.get("blocks", {})}
    title = (
        f"{MATRICES[attributes['matrix']]} of the mean loss over {attributes['examples']} "
        f"examples, loss {attributes['loss']:.4g}, ‖w‖ {attributes['norm']:.4g}"
    )
    columns, rows = (
        ["block", "parameters"],
        [
            [target, f"{int(count):,}"]
            for target, count in zip(entries, stored["parameters"], strict=True)
        ],
    )
    if "lambda_max" in data:
        title += f"; all bounds hold with probability {attributes['confidence']}"
        columns += ["λmax", "between", "and", "λmin", "products", "converged"]
        for row, entry in zip(rows, entries.values(), strict=True):
            top = entry["lambda_max"]
            row += [f"{top[part]:.4g}" for part in ("estimate", "lower", "upper")]
            row += [f"{entry['lambda_min']['estimate']:.4g}", str(top["products"])]
            row += ["yes" if top["converged"] else "NO"]
    if "power" in data:
        columns += ["power iteration", "residual"]
        for row, entry in zip(rows, entries.values(), strict=True):
            power = entry["power"]
            row += [f"{power['estimate']:.4g}" + ("" if power["is_largest"] else " (λmin)")]
            row += [f"{power['residual']:.2g}"]
        title += "; power iteration is uncertified"
    if "trace" in data:
        columns += ["trace"]
        for row, entry in zip(rows, entries.values(), strict=True):
            row += [_pm(entry["trace"]["estimate"], entry["trace"]["standard_error"])]
    return common.grid(title, columns, rows)


def _quantities(data: dict[str, Any]) -> list[list[str]]:
    rows = []

    def row(label: str, value: float, error: float) -> None:
        rows.append([label, f"{value:.4g}", f"{error:.2g}"])

    if "frobenius" in data:
        found = data["frobenius"]
        row("Frobenius norm", found["estimate"], found["standard_error"])
    if "density" in data:
        found = data["density"]["effective_dimension"]
        row("effective dimension at 1", found["estimate"], found["standard_error"])
    if "data_error" in data:
        found = data["data_error"]
        row("λmax over these images", found["quotient"], found["standard_error"])
        if found["held_out_examples"] == found["held_out_examples"]:  # not NaN
            count = int(found["held_out_examples"])
            row(
                f"same vector over {count:,} held-out images",
                found["held_out"],
                found["held_out_standard_error"],
            )
    return rows


def _pm(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.2g}" if value == value else ""
