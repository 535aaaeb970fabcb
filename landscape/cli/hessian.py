"""``hessian``: certified extreme eigenvalues, whole and per component, and the paper's method."""

import dataclasses
import os
from typing import Any, Literal

from landscape.cli import common, subject
from landscape.progress import MakeBar

_SETTINGS = ("method", "ends", "width", "confidence", "limit", "iterations", "seed")
_EIGENVALUE = ("estimate", "lower", "upper", "residual")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
    blocks: Literal["none", "paper", "components", "layers", "tensors"] = "paper"
    """Sub-diagonal blocks: components and whole blocks, as in the paper; layers; tensors; none."""
    method: Literal["lanczos", "power", "both"] = "lanczos"
    """lanczos: certified bounds. power: the paper's 100 iterations, uncertified. both."""
    ends: Literal["both", "max"] = "both"
    """Certify both ends of the whole spectrum, or only λmax (fewer products)."""
    width: float = 0.01
    """Stop when the interval is this narrow, relative to the eigenvalue."""
    confidence: float = 0.999
    """Probability with which all bounds of this command hold together."""
    limit: int = 84
    """Most products per block."""
    iterations: int = 100
    """Products of the power iteration."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common, subject.Subject, _Request):
    pass


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Measure, block by block; blocks that the result file already holds are not repeated."""
    from landscape import parameters, results
    from landscape.curvature import check_request, extremes, power_iteration

    check_request(options.width, options.confidence, options.limit)  # before a file is made
    loaded = None if options.objective else subject.load(options)
    path = subject.result_path(options, loaded, "hessian")
    objective = subject.objective(options, loaded)
    blocks: dict[str, list[str] | None] = {"whole": None}
    if options.blocks != "none":
        blocks |= parameters.blocks(objective.params, options.blocks)
    targets = list(blocks)
    described = objective.describe()
    norm = float(parameters.norm(objective.params))
    fields = {
        name: results.Field((len(targets),))
        for end in ("lambda_max", "lambda_min")
        for name in (f"{end}_{part}" for part in (*_EIGENVALUE, "converged"))
    }
    fields |= {
        name: results.Field((len(targets),))
        for name in ("products", "power_estimate", "power_residual")
    }
    # The recurrence's coefficients: every bound can be computed again from them.
    fields |= {name: results.Field((len(targets), options.limit)) for name in ("alpha", "beta")}
    settings = {name: getattr(options, name) for name in _SETTINGS}
    lanczos, power = options.method != "power", options.method != "lanczos"
    make_bar = common.bars(options, make_bar)
    with (
        results.ResultFile(
            path,
            "hessian",
            request={**settings, **described, "targets": targets},
            fields=fields,
            done=(len(targets),),
            constants={
                "targets": targets,
                "parameters": [_part(objective, names).size for names in blocks.values()],
            },
            origin=results.provenance(
                **{**settings, **described, "norm": norm, "loss": objective.loss()},
                command=common.command_line("hessian", options),
            ),
        ) as file,
        make_bar("hessian", len(targets)) as advance,
    ):
        for index, (target, names) in enumerate(blocks.items()):
            if not file.done[index]:
                part = _part(objective, names)
                values: dict[str, Any] = {}
                if lanczos:
                    found = extremes(
                        part,
                        width=options.width,
                        confidence=options.confidence,
                        limit=options.limit,
                        seed=options.seed,
                        # Blocks are compared by their λmax; λmin would take three times as long.
                        ends=options.ends if target == "whole" else "max",
                        statements=len(targets),
                    )
                    values = _values(found, options.limit)
                if power and target == "whole":
                    paper = power_iteration(part, iterations=options.iterations, seed=options.seed)
                    values |= {"power_estimate": paper.estimate, "power_residual": paper.residual}
                    values.setdefault("products", paper.products)
                file.write(index, **values)
            advance()
    return summary(path)


def _part(objective: Any, names: list[str] | None) -> Any:
    return objective if names is None else objective.block(names)


def _values(found: Any, limit: int) -> dict[str, Any]:
    import numpy as np

    values: dict[str, Any] = {"products": len(found.alpha)}
    for end in ("lambda_max", "lambda_min"):
        eigenvalue = getattr(found, end)
        values |= {f"{end}_{part}": getattr(eigenvalue, part) for part in _EIGENVALUE}
        values[f"{end}_converged"] = eigenvalue.converged
    for name in ("alpha", "beta"):
        padded = np.full(limit, np.nan)
        padded[: len(found.alpha)] = getattr(found, name)
        values[name] = padded
    return values


def summary(path: str | os.PathLike) -> common.Outcome:
    """The outcome as stored: what ``--json`` prints and what is shown."""
    from landscape import results

    stored = results.read(path, "hessian")
    attributes = stored.attributes
    targets = [str(t) for t in stored["targets"]]

    def eigenvalue(end: str, index: int) -> dict[str, Any]:
        return {
            **{part: float(stored[f"{end}_{part}"][index]) for part in _EIGENVALUE},
            "confidence": attributes["confidence"],
            "products": int(stored["products"][index]),
            "converged": bool(stored[f"{end}_converged"][index]),
        }

    certified = attributes["method"] != "power"
    data: dict[str, Any] = {
        "examples": attributes["examples"],
        "loss": attributes["loss"],
        "norm": attributes["norm"],
        "file": os.fspath(path),
    }
    if certified:
        data |= {end: eigenvalue(end, 0) for end in ("lambda_max", "lambda_min")}
        data["blocks"] = {
            target: {
                "lambda_max": eigenvalue("lambda_max", i),
                "lambda_min": eigenvalue("lambda_min", i),
                "parameters": int(stored["parameters"][i]),
            }
            for i, target in enumerate(targets)
            if i
        }
    estimate, residual = stored["power_estimate"][0], stored["power_residual"][0]
    if attributes["method"] != "lanczos":
        data["power"] = {
            "estimate": float(estimate),
            "residual": float(residual),
            "is_largest": bool(estimate >= 0),
            "certified": False,
        }

    def show(console: Any) -> None:
        if certified:
            console.print(common.grid(_title(attributes), _COLUMNS, _rows(stored, targets)))
        if "power" in data:
            sign = "" if estimate >= 0 else " (negative: the smallest eigenvalue, not the largest)"
            console.print(
                f"power iteration, {attributes['iterations']} products, uncertified: "
                f"{estimate:.6g}, residual {residual:.2g}{sign}"
            )
        console.print(f"written to {path}")

    converged = not certified or bool(
        stored["lambda_max_converged"].all()
        and (attributes["ends"] == "max" or stored["lambda_min_converged"][0])
    )
    return common.Outcome(data, show, converged)


_COLUMNS = ("block", "parameters", "λmax", "between", "and", "λmin", "products", "converged")


def _title(attributes: dict[str, Any]) -> str:
    return (
        f"Hessian of the mean loss over {attributes['examples']} examples, loss "
        f"{attributes['loss']:.4g}, ‖w‖ {attributes['norm']:.4g}; "
        f"all bounds hold with probability {attributes['confidence']}"
    )


def _rows(stored: Any, targets: list[str]) -> list[list[str]]:
    def number(name: str, i: int) -> str:
        return f"{stored[name][i]:.4g}"

    return [
        [
            target,
            f"{stored['parameters'][i]:,}",
            number("lambda_max_estimate", i),
            number("lambda_max_lower", i),
            number("lambda_max_upper", i),
            number("lambda_min_estimate", i),
            f"{stored['products'][i]:.0f}",
            "yes" if stored["lambda_max_converged"][i] else "NO",
        ]
        for i, target in enumerate(targets)
    ]
