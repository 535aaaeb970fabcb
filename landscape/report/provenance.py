"""Where every number on the page comes from."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from landscape.numbers import DASH
from landscape.report.run import Run
from landscape.report.table import Table
from landscape.results import Stored

HOLDS = {
    "hessian": "#Params, λmax and λmin with bounds, power iteration, training loss, ‖w‖₂",
    "surface": "loss surface and contours",
    "ntk": "NTK κ",
    "ntk-lecun": "NTK κ, non-zero head",
    "neurons": "active neurons, ‖a‖₂",
}


def environments_of(stored: Stored) -> list[dict[str, Any]]:
    """Where a result was computed: first, and wherever it was gone on with (its ``since``)."""
    found = [stored.attributes]
    for later in stored.attributes.get("resumed_with", []):
        found.append(found[-1] | later)
    return found


def failed_checks(environment: dict[str, Any]) -> list[str]:
    """What the compiler computed wrongly there, as far as that was tried."""
    backend = environment.get("backend")
    if not isinstance(backend, dict) or backend.get("verdict") != "failed":
        return []
    return list(map(str, backend.get("failed") or ["not said which"]))


def provenance(runs: Iterable[Run], beside: Path) -> list[Table]:
    """A row per file with the command, seed, hashes and environment behind its numbers.

    Parameters
    ----------
    beside
        The folder of the page; files are named relative to it.

    Returns
    -------
    list[Table]
        The files, and the environments they refer to by number.
    """
    environments: dict[str, str] = {}
    rows = []
    for run in runs:
        rows += _logs(run, beside, environments)
        for name, holds in HOLDS.items():
            stored = run.results.get(name)
            if stored is None:
                rows.append((_relative(run.path, beside), holds, run.status(name), *[""] * 5))
                continue
            has = stored.attributes
            status = run.status(name)
            rows.append((
                _relative(stored.path, beside),
                f"{holds}\n{status}" if status else holds,
                str(has.get("command", DASH)),
                str(has.get("seed", DASH)),
                str(has.get("parameters_hash", DASH)),
                _identity(has.get("data")),
                "\n".join(
                    _environment(found, environments)
                    + (f" since {found['since']}" if "since" in found else "")
                    for found in environments_of(stored)
                ),
                str(has.get("created", DASH)),
            ))  # fmt: skip
    columns = ("File", "Numbers from it", "Command", "Seed", "Parameters", "Data",
               "Environment", "Made")  # fmt: skip
    tables = [Table("Files and commands", columns, tuple(rows))]
    if environments:
        numbered = tuple((key, text) for text, key in environments.items())
        tables.append(
            Table(
                "Environments",
                ("", "Versions, device, flags and the check of the compiler"),
                numbered,
            )
        )
    return tables


def _logs(run: Run, beside: Path, environments: dict[str, str]) -> list[tuple[str, ...]]:
    """The rows of the training log and of the configuration."""
    config = run.config
    training, data = run.section("training"), run.section("data")
    settings = ", ".join(f"{key} {value}" for key, value in training.items() if value is not None)
    environment = _environment({"versions": config.get("versions")}, environments)
    seed = str(training.get("seed", data.get("seed", DASH)))
    rows = []
    if config:
        rows.append((_relative(run.path / "config.json", beside), "model and training settings",
                     settings or DASH, seed, DASH, _identity(data), environment, DASH))  # fmt: skip
    if run.metrics:
        step = run.last.get("step", DASH)
        rows.append((_relative(run.path / "metrics.jsonl", beside),
                     f"test accuracy and training curves\nlast evaluation: step {step}",
                     "as above" if config else DASH, seed, DASH, _identity(data), environment,
                     DASH))  # fmt: skip
    return rows


def _identity(data: Any) -> str:
    """Reference, split, number of examples and hash of the data."""
    if not isinstance(data, dict):
        return DASH if data is None else str(data)
    parts = [f"{data.get('reference', '')} {data.get('split', '')}".strip()]
    parts += [f"{key.replace('_', ' ')} {data[key]}" for key in
              ("examples", "train_examples", "test_examples", "hash", "train_hash", "test_hash")
              if data.get(key) is not None]  # fmt: skip
    return "\n".join(filter(None, parts)) or DASH


def _environment(of: dict[str, Any], environments: dict[str, str]) -> str:
    """The number of an environment: most files share one."""
    versions, device, backend = (of.get(name) for name in ("versions", "device", "backend"))
    if not versions and not device:
        return DASH
    if isinstance(versions, dict):
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
    else:
        text = json.dumps(versions) if versions else ""
    backend = backend if isinstance(backend, dict) else {}
    flags = " ".join(map(str, backend.get("flags", ())))
    check = f"compiler check {backend['verdict']}" if "verdict" in backend else ""
    if wrong := failed_checks(of):
        check += f": {', '.join(wrong)}"
    text = "; ".join(filter(None, [text, str(device) if device else "", flags, check]))
    return environments.setdefault(text, f"E{len(environments) + 1}")


def _relative(path: Path, beside: Path) -> str:
    return os.path.relpath(os.path.realpath(path), os.path.realpath(beside))
