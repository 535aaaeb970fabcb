"""A run folder read whole: configuration, training log and every analysis result in it."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from landscape import results
from landscape.errors import OtherVersion, RequestError
from landscape.results import Stored

NOT_MEASURED = "not measured"
OTHER_VERSION = "made by another version"
FILES = {
    "hessian": "hessian.h5",
    "surface": "surface.h5",
    "ntk": "ntk.h5",
    "ntk-lecun": "ntk-lecun.h5",
    "neurons": "neurons.h5",
}


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes
    ----------
    path
        The folder.
    label
        The model's name, with ``-SAM`` behind it for a run with SAM.
    config, metrics
        ``config.json`` and the lines of ``metrics.jsonl``; empty where absent.
    results
        Result files by name: ``hessian``, ``surface``, ``ntk``, ``ntk-lecun``, ``neurons``.
    problems
        Files that could not be read, a line each.
    other_versions
        Names of those result files that another version of landscape has made.
    """

    path: Path
    label: str
    config: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[dict[str, Any], ...] = ()
    results: dict[str, Stored] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    other_versions: frozenset[str] = frozenset()

    def section(self, name: str) -> dict[str, Any]:
        """A part of the configuration: ``model``, ``data``, ``training``; empty where absent."""
        found = self.config.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def model(self) -> str:
        """The model's name without the mark of its training."""
        return str(self.section("model").get("name") or self.path.name)

    @property
    def rho(self) -> float:
        """Radius of SAM; 0 for plain training."""
        return float(self.section("training").get("rho") or 0.0)

    @property
    def last(self) -> dict[str, Any]:
        """The last evaluation in the training log, else its last line."""
        evaluated = [line for line in self.metrics if "test_accuracy" in line]
        return (evaluated or list(self.metrics) or [{}])[-1]

    @property
    def unfinished(self) -> str:
        """Where the log ends, if that is before the end of the training; else nothing."""
        steps, last = self.config.get("steps"), (self.metrics or ({},))[-1].get("step")
        early = isinstance(steps, int) and isinstance(last, int) and last < steps
        return f"step {last:,} of {steps:,}" if early else ""

    def status(self, name: str) -> str:
        """Why a result is not there or ``"incomplete (n of m)"``; nothing for a complete one."""
        stored = self.results.get(name)
        if stored is None:
            return OTHER_VERSION if name in self.other_versions else NOT_MEASURED
        done = stored["done"].astype(bool)
        return "" if done.all() else f"incomplete ({int(done.sum())} of {done.size})"


def collect(run_folder: str | os.PathLike) -> Run:
    """Read everything a run folder holds; what is absent, partial or damaged is left out.

    Raises
    ------
    RequestError
        If there is no such folder, or nothing in it is part of a run.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise RequestError(f"run: no folder {folder}; pass a run folder that `train` has made")
    problems: list[str] = []
    config = _config(folder / "config.json", problems)
    metrics = _metrics(folder / "metrics.jsonl", problems)
    found, other_versions = {}, set()
    for name, file in FILES.items():
        if (folder / file).exists():
            try:
                found[name] = results.read(folder / file, name.removesuffix("-lecun"))
            except OtherVersion as error:
                said, _, _ = str(error).removeprefix("result: ").rpartition("; ")
                problems.append(f"{said}; measure again")
                other_versions.add(name)
            except RequestError as error:
                problems.append(str(error))
    if not (config or metrics or found or problems):
        raise RequestError(
            f"run: {folder} holds no config.json, metrics.jsonl or result file; pass a run folder"
        )
    run = Run(
        folder, folder.name, config, metrics, _by_head(found), tuple(problems),
        frozenset(other_versions),
    )  # fmt: skip
    return replace(run, label=run.model + ("-SAM" if run.rho > 0 else ""))


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs with the folder's name behind labels that would otherwise be used twice."""
    runs = list(runs)
    labels = [run.label for run in runs]
    named = [
        replace(run, label=f"{run.label} ({run.path.name})") if labels.count(run.label) > 1 else run
        for run in runs
    ]
    labels = [run.label for run in named]
    return [
        replace(run, label=f"{run.label} #{place}") if labels.count(run.label) > 1 else run
        for place, run in enumerate(named, 1)
    ]


def _config(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        problems.append(f"{path} is not readable as JSON ({error})")
        return {}
    if not isinstance(config, dict):
        problems.append(f"{path} holds no JSON object")
        return {}
    return config


def _metrics(path: Path, problems: list[str]) -> tuple[dict[str, Any], ...]:
    """The lines of the log; the last one may be half written if the run was killed."""
    if not path.exists():
        return ()
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except (ValueError, OSError) as error:
        problems.append(f"{path} is not readable ({error})")
        return ()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            if number < len(lines):
                problems.append(f"{path}: line {number} is not JSON and was left out")
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)


def _by_head(found: dict[str, Stored]) -> dict[str, Stored]:
    """Kernel results under the name of the head they were computed with, whatever the file."""
    kernels = {name: stored for name, stored in found.items() if stored.kind == "ntk"}
    others = {name: stored for name, stored in found.items() if stored.kind != "ntk"}
    for name, stored in kernels.items():
        head = stored.attributes.get("head", "lecun" if name == "ntk-lecun" else "zeros")
        others["ntk" if head == "zeros" else "ntk-lecun"] = stored
    return others


def finite(values: Any) -> np.ndarray:
    """The values in float64 with everything that is not finite as NaN."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values), values, np.nan)
