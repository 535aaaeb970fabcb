"""What is wrong in the files of a run: found once, so that all behind can rely on them.

Every fault is named in a line, and nothing but what is wrong is left out: a value, a dataset, or a
whole result where what it consists of is missing.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from landscape.printable import printable

LARGEST = 1e100  # of any number: what is squared or drawn stays finite
LARGEST_SURFACE = 10**6  # points
Check = tuple[str, Callable[[Any], bool]]  # what a value must be, and whether it is


def _is_number(value: Any, low: float = -LARGEST, high: float = LARGEST) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_count(value: Any, low: int = 0) -> bool:
    return isinstance(value, int) and _is_number(value, low, 2**53)


def _are(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _is_environment(found: Any) -> bool:
    """Whether it is a record of the compiler's check; its versions are only printed."""
    return isinstance(found, dict) and all(
        isinstance(found.get(name, []), list) for name in ("flags", "failed")
    )


TEXT: Check = "text", lambda value: isinstance(value, str)
FLAG: Check = "true or false", lambda value: isinstance(value, bool)
PARTS: Check = "a mapping", lambda value: isinstance(value, dict)
COUNT: Check = "a whole number of at least 0", _is_count
SIZE: Check = "a whole number of at least 1", lambda value: _is_count(value, 1)
STEP: Check = "a step of a training", lambda value: _is_count(value, -1)
FINITE: Check = "a finite number", _is_number
POSITIVE: Check = "a finite number of at least 0", lambda value: _is_number(value, 0)
NUMBER: Check = "a number below 1e100", lambda value: _is_number(value) or (
    isinstance(value, float) and not math.isfinite(value)
)  # fmt: skip
SHARE: Check = "a fraction between 0 and 1", lambda value: _is_number(value, 0, 1)
BELOW_ONE: Check = "between 0 and 1", lambda value: _is_number(value, 1e-30, 1)

CONFIG: dict[str, Check] = {
    "steps": COUNT, "versions": PARTS, "model": PARTS, "data": PARTS, "training": PARTS,
    "model.name": TEXT, "model.parameters": COUNT, "data.reference": TEXT,
    "data.train_examples": SIZE, "data.test_examples": SIZE, "data.train_hash": TEXT,
    "data.test_hash": TEXT, "training.rho": POSITIVE,
}  # fmt: skip
LINE: dict[str, Check] = {
    "step": COUNT, "epoch": POSITIVE, "train_loss": NUMBER, "test_loss": NUMBER,
    "train_accuracy": SHARE, "test_accuracy": SHARE,
}  # fmt: skip
ATTRIBUTES: dict[str, Check] = {
    "request": PARTS,
    "request.blocks": ("lists of names of parameters", lambda value: isinstance(value, dict)
                       and all(_are(str, names) for names in value.values())),
    "data": ("text or a mapping", lambda value: isinstance(value, str | dict)),
    "data.reference": TEXT, "data.split": TEXT, "data.hash": TEXT, "data.examples": SIZE,
    "data.labels": TEXT,
    "backend": ("the record of a compiler's check", _is_environment),
    "resumed_with": ("a list of environments", lambda value: _are(dict, value) and all(
        _is_environment(one.get("backend", {})) for one in value)),
    "metrics": ("a list of names", lambda value: _are(str, value)),
    "directions": ("a mapping or a list of hashes",
                   lambda value: isinstance(value, dict | list)),
    **dict.fromkeys(("matrix", "loss_name", "dtype", "second_derivative", "batchnorm", "head",
                     "activation", "parameters_hash", "normalization"), TEXT),
    "examples": SIZE, "batch_size": SIZE, "checkpoint_step": STEP,
    "confidence": BELOW_ONE, "epsilon": BELOW_ONE,
    "norm": POSITIVE, "loss": NUMBER, "l2": FINITE, "cosine": NUMBER,
    "length_x": NUMBER, "length_y": NUMBER,
    **dict.fromkeys(("accuracy", "accuracy_lower", "accuracy_upper", "most_frequent_label"), SHARE),
    "at_chance": FLAG,
}  # fmt: skip

_EXTREME = tuple(f"lambda_{end}_{part}" for end in ("max", "min")
                 for part in ("estimate", "lower", "upper", "residual", "converged"))  # fmt: skip
# Without the first ones there is no result. The second ones are shown as not known where they are
# missing, which is a fault; the third ones need not be there.
_DATASETS = {
    "hessian": (("targets",), (*_EXTREME, "products", "parameters"),
                ("lambda_max_check", "lambda_min_check", "lambda_max_confirmed",
                 "lambda_min_confirmed", "power_estimate", "power_residual")),
    "neurons": (("layers",), ("active_fraction", "standard_error", "norm"), ()),
    "ntk": (("eigenvalues",), (), ("eigenvalues_of_two",)),
    "surface": (("xcoordinates",), (), ("ycoordinates", "interpolated")),
}  # fmt: skip
_NOT_NEGATIVE = ("products", "parameters", "standard_error", "norm")


def kept(
    found: Mapping[str, Any], checks: Mapping[str, Check], say: Callable[[str], object]
) -> dict[str, Any]:
    """What is as it must be, and what no check names; ``"a.b"`` is ``b`` in the mapping ``a``."""
    found = dict(found)
    for name, (what, holds) in checks.items():
        outer, _, inner = name.rpartition(".")
        part = found.get(outer) if outer else found
        if not isinstance(part, dict) or inner not in part or holds(part[inner]):
            continue
        rest = {key: value for key, value in part.items() if key != inner}
        found = {**found, outer: rest} if outer else rest
        if part[inner] is not None or what == PARTS[0]:  # null is how JSON says that it is not set
            say(f"{name} is {printable(repr(part[inner]), 60)}, not {what}")
    return found


def result(
    kind: str,
    attributes: Mapping[str, Any],
    data: Mapping[str, np.ndarray],
    say: Callable[[str], object],
) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Attributes and datasets of a result file without what is wrong; None if nothing is left.

    After this the datasets of its kind that the report shows are there, in the shapes that the
    others have, as float64 (``done`` as booleans, names as text), NaN where they were wrong.
    """
    attributes = kept(attributes, ATTRIBUTES, say)
    if "request" not in attributes:
        say("request is missing, so its settings are not compared with others")
    data = dict(data)
    needed, shown, optional = _DATASETS[kind]
    missing = [name for name in ("done", *needed) if name not in data]
    if missing:
        say(f"{' and '.join(missing)} missing; nothing of it is shown")
        return None
    reason = _CHECKS[kind](data, attributes, say) if _is_mask(data["done"]) else "done is no mask"
    if reason:
        say(f"{reason}; nothing of it is shown")
        return None
    data["done"] = data["done"].astype(bool)
    if kind in ("hessian", "neurons"):
        shape = data[needed[0]].shape
        for name in (*shown, *optional):
            if name in data or name in shown:
                data[name] = _column(name, data.get(name), shape, say)
    if kind == "hessian":
        for end in ("max", "min"):
            _contain(data, f"lambda_{end}", say)
    return {"request": {}, **attributes}, data


def _contain(data: dict[str, np.ndarray], name: str, say: Callable[[str], object]) -> None:
    """Bounds that do not contain their estimate say nothing of it, nor it of them."""
    lower, estimate, upper = (data[f"{name}_{part}"] for part in ("lower", "estimate", "upper"))
    slack = 1e-6 * np.abs(estimate)
    wrong = (lower > upper) | (estimate < lower - slack) | (estimate > upper + slack)
    if wrong.any():
        say(f"{name} has {int(wrong.sum())} of {wrong.size} estimates outside of their bounds; "
            "left out")  # fmt: skip
        for part in ("lower", "estimate", "upper"):
            data[f"{name}_{part}"] = np.where(wrong, np.nan, data[f"{name}_{part}"])


def _hessian(data: dict, attributes: dict, say: Callable[[str], object]) -> str:
    targets, done = data["targets"], data["done"]
    if not _are_names(targets):
        return "targets is no list of different names"
    tasks = data.get("tasks", targets)  # further ones follow the targets
    if done.shape != tasks.shape or len(done) < len(targets):
        return f"done has shape {done.shape} for {len(targets)} targets"
    return ""


def _neurons(data: dict, attributes: dict, say: Callable[[str], object]) -> str:
    layers, done = data["layers"], data["done"]
    if not _are_names(layers, different=False):
        return "layers is no list of names"
    return "" if done.shape == layers.shape else f"done has shape {done.shape}, not {layers.shape}"


def _ntk(data: dict, attributes: dict, say: Callable[[str], object]) -> str:
    values, done = data["eigenvalues"], data["done"]
    if not _are_numbers(values) or values.ndim != 2 or done.shape != values.shape[:1] or not (
        values.size
    ):  # fmt: skip
        return f"eigenvalues {_described(values)} do not fit done {done.shape}"
    values = data["eigenvalues"] = values.astype(np.float64)
    of_done = values[done.astype(bool)]
    if not (np.abs(of_done) <= LARGEST).all():
        return "eigenvalues are not finite"
    if (np.diff(of_done) > 0).any() or (of_done[:, 0] < 0).any():
        return "eigenvalues are not in falling order from one of at least 0"
    both = data.get("eigenvalues_of_two")
    if both is not None and not (_are_numbers(both) and both.shape == (2 * values.shape[1],)):
        say(f"eigenvalues_of_two {_described(both)} left out")
        del data["eigenvalues_of_two"]
    return ""


def _surface(data: dict, attributes: dict, say: Callable[[str], object]) -> str:
    done = data["done"]
    if done.ndim not in (1, 2) or not 0 < done.size <= LARGEST_SURFACE:
        return f"done has shape {done.shape}"
    if done.ndim == 2 and "ycoordinates" not in data:
        return "ycoordinates missing"
    for name, length in zip(("xcoordinates", "ycoordinates"), done.shape[::-1], strict=False):
        if not _are_coordinates(data[name], length):
            return (
                f"{name} {_described(data[name])} are not {length} finite, rising numbers, as many "
                f"as done {done.shape} has"
            )
        data[name] = data[name].astype(np.float64)
    marks = data.get("interpolated")
    if marks is not None and not (_is_mask(marks) and marks.shape == done.shape):
        say(f"interpolated {_described(marks)} is no mask of the points and left out")
        del data["interpolated"]
    for name in attributes.get("metrics", list(data)):
        if not name.endswith("_loss"):
            continue
        if name not in data:
            say(f"{name} missing, though metrics name it")
        elif not _are_numbers(data[name]) or data[name].shape != done.shape:
            say(f"{name} {_described(data[name])} does not fit done {done.shape} and is left out")
            del data[name]
        else:
            values = data[name].astype(np.float64)
            data[name] = _without(name, values, np.isfinite(values) & (np.abs(values) > LARGEST),
                                  "beyond ±1e100", say)  # fmt: skip
    return ""


_CHECKS = {"hessian": _hessian, "neurons": _neurons, "ntk": _ntk, "surface": _surface}


def _column(
    name: str, values: np.ndarray | None, shape: tuple[int, ...], say: Callable[[str], object]
) -> np.ndarray:
    """A number for every target or layer, NaN where there is none or none that can be right."""
    if values is None or not _are_numbers(values) or values.shape != shape:
        said = "missing" if values is None else f"{_described(values)}, not {shape} numbers"
        say(f"{name} {said}; shown as not known")
        return np.full(shape, np.nan)
    values = values.astype(np.float64)
    wrong = np.isfinite(values) & (np.abs(values) > LARGEST)
    values = _without(name, values, wrong, "beyond ±1e100", say)
    if name in _NOT_NEGATIVE:
        values = _without(name, values, values < 0, "below 0", say)
        values = _without(name, values, np.isinf(values), "without an end", say)
    if name == "active_fraction":
        values = _without(name, values, (values < 0) | (values > 1), "outside of 0 to 1", say)
    return values


def _without(
    name: str, values: np.ndarray, wrong: np.ndarray, what: str, say: Callable[[str], object]
) -> np.ndarray:
    if wrong.any():
        say(f"{name} has {int(wrong.sum())} of {wrong.size} values {what}; left out")
    return np.where(wrong, np.nan, values)


def _are_numbers(values: np.ndarray) -> bool:
    return values.dtype.kind in "iufb"


def _is_mask(values: np.ndarray) -> bool:
    return values.dtype.kind in "iub" and bool(((values == 0) | (values == 1)).all())


def _are_names(values: np.ndarray, different: bool = True) -> bool:
    names: Collection[Any] = values.tolist() if values.ndim == 1 else ()
    return (
        len(names) > 0
        and all(isinstance(name, str) for name in names)
        and (not different or len(set(names)) == len(names))
    )


def _are_coordinates(values: np.ndarray, length: int) -> bool:
    if not _are_numbers(values) or values.shape != (length,):
        return False
    values = values.astype(np.float64)
    largest = np.abs(values).max()
    # Closer ones could not be told apart on an axis.
    return bool(largest <= LARGEST and (np.diff(values) > 1e-9 * largest).all())


def _described(values: np.ndarray) -> str:
    return f"({values.dtype.name} of shape {values.shape})"
