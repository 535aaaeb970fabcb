"""What ``hessian`` prints, for programs and for people, from its result file."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR
from pathlib import Path
from typing import Any

from landscape import accuracy, captions
from landscape.cli import common
from landscape.numbers import CHECKED, bounds, interval, number, with_error

# Datasets of an end of a spectrum.
END = (
    "estimate", "lower", "upper", "residual", "converged", "check", "product_error", "confirmed",
)  # fmt: skip

# Of λmax over the split that is not analysed.
HELD_OUT = "held_out_lambda_max"

# Columns of the largest eigenvalues.
TOP = ("value", "residual", "lower", "upper", "check")

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
        *(f"{HELD_OUT}_{part}" for part in (*END, "products")),
    ),
}


def outcome(path: Path, pictures: str | None) -> common.Outcome:
    """The outcome as stored."""
    from landscape import results

    stored = results.read(path, "hessian")
    data, converged = _data(stored)

    def show(console: Any) -> None:
        for part in (*_tables(stored, data), *_remarks(stored, data)):
            console.print(part)
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
        **accuracy.stored(attributes),
        "matrix": attributes["matrix"],
        "file": str(stored.path),
    }
    for i, target in enumerate(targets):
        entry: dict[str, Any] = {}
        if certified:
            for end in ("lambda_max", "lambda_min"):
                entry[end] = _end(stored, f"{end}_", i)
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
        data["top"] = _records(stored, "top", TOP)
    if attributes["trace"]:
        data["frobenius"] = {
            "estimate": float(stored["trace/frobenius"]),
            "standard_error": float(stored["trace/frobenius_standard_error"]),
            "probes": attributes["probes"],
        }
    if attributes["density"]:
        data["density"] = _density(stored)
    if attributes["data_error"]:
        data["data_error"] = _data_error(stored, data["lambda_max"])
    if attributes["scan"]:
        data["scan"] = [
            {
                "examples": int(examples),
                "lambda_max": _end(stored, "scan/", i),
                **{
                    name: float(stored[f"scan/{name}"][i])
                    for name in ("other_examples", "other_examples_standard_error")
                },
            }
            for i, examples in enumerate(stored["scan/examples"])
        ]
    top = not attributes["top"] or bool(stored["top/converged"] == 1)
    return data, top and all(end["converged"] for _, end in _searched(stored, data))


def _end(stored: Any, prefix: str, index: Any = ()) -> dict[str, Any]:
    """An eigenvalue with its bounds, from the datasets that begin with ``prefix``."""
    values = {part: float(stored[prefix + part][index]) for part in END}
    # Both ends of a target are of the same products.
    products = f"{prefix}products" if f"{prefix}products" in stored.data else "products"
    return {
        **values,
        "confidence": stored.attributes["confidence"],
        "products": int(stored[products][index]),
        "converged": values["converged"] == 1,
        "confirmed": values["confirmed"] == 1,
    }


def _data_error(stored: Any, largest: dict[str, Any]) -> dict[str, Any]:
    single = [name for name in EXTRA["data_error"] if not name.startswith(HELD_OUT)]
    found: dict[str, Any] = {name: float(stored[f"data_error/{name}"]) for name in single}
    found["shards"] = stored["data_error/shards"].tolist()
    if stored.attributes["held_out"]:
        found["held_out_split"] = stored.attributes["held_out"]["split"]
        found[HELD_OUT] = _end(stored, f"data_error/{HELD_OUT}_")
        # λmax over these images is no smaller than any quotient over them.
        surely = found["held_out"] - found[HELD_OUT]["product_error"]
        found["held_out_exceeds_upper_bound"] = surely > largest["upper"]
        found[f"{HELD_OUT}_exceeds"] = found[HELD_OUT]["lower"] > largest["upper"]
    return found


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


def _tables(stored: Any, data: dict[str, Any]) -> list[Any]:
    attributes = stored.attributes
    tables = [_targets(stored, data)]
    if attributes["top"]:
        rows = [
            [
                str(i + 1),
                number(row["value"]),
                *bounds(row["lower"], row["upper"]),
                number(row["check"]),
                number(row["residual"], 2),
            ]
            for i, row in enumerate(data["top"])
            if row["value"] == row["value"]  # fewer than asked for, if the products ran out
        ]
        complete = "none missed" if stored["top/converged"] == 1 else "NOT CONVERGED"
        title = f"Largest eigenvalues ({complete}; {stored['top/products']:.0f} products)"
        columns = ("", "eigenvalue", "between", "and", "checked", "residual")
        tables.append(common.grid(title, columns, rows))
    rows = _quantities(stored, data)
    if rows:
        columns = ("quantity", "value", "± std. error or bounds")
        tables.append(common.grid("Whole matrix", columns, rows))
    if attributes["scan"]:
        rows = [
            [
                f"{entry['examples']:,}",
                *_bounded(entry["lambda_max"]),
                _pm(entry["other_examples"], entry["other_examples_standard_error"]),
                "yes" if entry["lambda_max"]["converged"] else "NO",
            ]
            for entry in data["scan"]
        ]
        others = f"same vector, the other of these {attributes['examples']:,} images"
        columns = ("images", "λmax", "between", "and", others, "converged")
        tables.append(common.grid("λmax against the number of images", columns, rows))
    return tables


def _bounded(end: dict[str, Any]) -> list[str]:
    """Cells: an eigenvalue, its lower and its upper bound."""
    return [number(end["estimate"]), *bounds(end["lower"], end["upper"])]


def _targets(stored: Any, data: dict[str, Any]) -> Any:
    attributes, entries = stored.attributes, {"whole": data, **data.get("blocks", {})}
    title = (
        f"{captions.matrix(stored)} of {captions.loss(stored)}, loss {attributes['loss']:.4g}, "
        f"‖w‖ {attributes['norm']:.4g}"
    )
    if "accuracy" in data:
        title += f", accuracy {accuracy.told(data)}"
    columns, rows = (
        ["block", "parameters"],
        [
            [target, f"{int(count):,}"]
            for target, count in zip(entries, stored["parameters"], strict=True)
        ],
    )
    if "lambda_max" in data:
        title += f"; all bounds hold with probability {attributes['confidence']}"
        columns += ["λmax", "between", "and", "products", "λmax\nconverged"]
        for row, entry in zip(rows, entries.values(), strict=True):
            top = entry["lambda_max"]
            row += _bounded(top)
            row += [str(top["products"]), "yes" if top["converged"] else "NO"]
    if "power" in data:
        columns += ["power iteration", "residual"]
        for row, entry in zip(rows, entries.values(), strict=True):
            power = entry["power"]
            row += [captions.power_iteration(power["estimate"])]
            row += [f"{power['residual']:.2g}"]
        title += "; power iteration is uncertified"
    if "trace" in data:
        columns += ["trace"]
        for row, entry in zip(rows, entries.values(), strict=True):
            row += [_pm(entry["trace"]["estimate"], entry["trace"]["standard_error"])]
    return common.grid(title, columns, rows)


def _quantities(stored: Any, data: dict[str, Any]) -> list[list[str]]:
    rows = []
    if "lambda_min" in data:
        # An end that was not searched has bounds all the same; its Ritz value would mislead.
        end, asked = data["lambda_min"], stored.attributes["ends"] == "both"
        status = "" if end["converged"] else " NOT CONVERGED" if asked else " (not searched)"
        value = number(end["estimate"]) if end["converged"] else ""
        rows.append(["λmin", value, interval(end["lower"], end["upper"]) + status])

    def row(label: str, value: float, error: float) -> None:
        rows.append([label, f"{value:.4g}", f"± {error:.2g}"])

    if "frobenius" in data:
        found = data["frobenius"]
        row("Frobenius norm", found["estimate"], found["standard_error"])
    if "density" in data:
        found = data["density"]["effective_dimension"]
        row("effective dimension at 1", found["estimate"], found["standard_error"])
    if "data_error" in data:
        found = data["data_error"]
        label = "λmax over the analysed images, standard error over images"
        row(label, found["quotient"], found["standard_error"])
        if HELD_OUT in found:
            count, split = found["held_out_examples"], found["held_out_split"]
            images = f"{count:,.0f} images of the {split} split"
            row(f"same vector over {images}", found["held_out"], found["held_out_standard_error"])
            top = found[HELD_OUT]
            status = "" if top["converged"] else " NOT CONVERGED"
            within = interval(top["lower"], top["upper"]) + status
            rows.append([f"λmax over the same {images}", number(top["estimate"]), within])
    return rows


def _remarks(stored: Any, data: dict[str, Any]) -> list[str]:
    """What a reader of the numbers should not overlook."""
    remarks, found = _unconfirmed(stored, data), data.get("data_error", {})
    remarks += [data["remark"]] if "remark" in data else []
    if stored.attributes["top"]:
        remarks.append(CHECKED)
    if HELD_OUT not in found:
        return remarks
    split, upper = found["held_out_split"], number(data["lambda_max"]["upper"], 4, ROUND_CEILING)
    if found[f"{HELD_OUT}_exceeds"]:
        lower = number(found[HELD_OUT]["lower"], 4, ROUND_FLOOR)
        remarks.append(
            f"λmax over the {split} images, at least {lower}, lies above the upper bound {upper} "
            "over the analysed ones."
        )
    elif found["held_out_exceeds_upper_bound"]:
        quotient = _pm(found["held_out"], found["held_out_standard_error"])
        remarks.append(
            f"Sharper on the {split} split: on these images the curvature along λmax's vector is "
            f"{quotient} (standard error), above the upper bound {upper} on λmax over the "
            "analysed images; λmax over these images is no smaller than that."
        )
    return remarks


def _unconfirmed(stored: Any, data: dict[str, Any]) -> list[str]:
    """Ends that product and check of their vector do not confirm, or that have neither."""
    remarks, unchecked = [], []
    for name, end in _searched(stored, data):
        unchecked += [name] if end["confirmed"] and end["check"] != end["check"] else []
        if end["estimate"] == end["estimate"] and not end["confirmed"]:  # NaN: not computed yet
            remarks.append(
                f"{name} is not confirmed: {number(end['estimate'], 6)} by products, "
                f"{number(end['check'], 6)} by the check along its vector, residual "
                f"{number(end['residual'], 2)}; run `analysis_cli.py doctor`"
            )
    if unchecked:
        remarks.append(
            f"Measured by a product but not checked by another program: {', '.join(unchecked)} "
            "(central differences, no second forward derivative, or no memory for it)."
        )
    return remarks


def _searched(stored: Any, data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All eigenvalues that were to be certified, with names."""
    if stored.attributes["method"] != "power":
        yield "λmax", data["lambda_max"]
        if stored.attributes["ends"] == "both":
            yield "λmin", data["lambda_min"]
        for name, entry in data.get("blocks", {}).items():
            yield f"λmax of {name}", entry["lambda_max"]
    for entry in data.get("scan", []):
        yield f"λmax over {entry['examples']:,} images", entry["lambda_max"]
    if HELD_OUT in data.get("data_error", {}):
        found = data["data_error"]
        yield f"λmax over the {found['held_out_split']} split", found[HELD_OUT]


def _pm(value: float, error: float) -> str:
    return with_error(value, error) if value == value else ""
