"""A run folder read whole: configuration, training log and every analysis result in it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from landscape import results
from landscape.errors import OtherVersion, RequestError
from landscape.plots import style
from landscape.printable import printable
from landscape.report import reading, validation
from landscape.results import Stored

NOT_MEASURED = "not measured"
OTHER_VERSION = "made by another version"
DAMAGED = "damaged"
CONFIG, LOG = "config.json", "metrics.jsonl"
FILES = {
    "hessian": "hessian.h5",
    "surface": "surface.h5",
    "ntk": "ntk.h5",
    "ntk-lecun": "ntk-lecun.h5",
    "neurons": "neurons.h5",
}
_LONGEST_NAME = 60  # characters


@dataclass(frozen=True)
class Run:
    """What a run folder holds, without what is wrong: see :mod:`landscape.report.validation`.

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
        What is wrong in its files, a line each that begins with the file's name.
    other_versions
        Names of those result files that another version of landscape has made.
    damaged
        Names of those result files of which nothing can be shown.
    every
        Every how many-th line of the log ``metrics`` holds: more than 1 for a long one.
    """

    path: Path
    label: str
    config: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[dict[str, Any], ...] = ()
    results: dict[str, Stored] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    other_versions: frozenset[str] = frozenset()
    damaged: frozenset[str] = frozenset()
    every: int = 1

    def section(self, name: str) -> dict[str, Any]:
        """A part of the configuration: ``model``, ``data``, ``training``; empty where absent."""
        return self.config.get(name, {})

    @property
    def folder(self) -> str:
        """The folder's own name."""
        name = os.path.basename(os.path.abspath(self.path))
        return printable(name, _LONGEST_NAME)

    @property
    def model(self) -> str:
        """The model's name without the mark of its training."""
        name = printable(self.section("model").get("name", ""), _LONGEST_NAME)
        return name.strip() or self.folder

    @property
    def rho(self) -> float:
        """Radius of SAM; 0 for plain training."""
        return float(self.section("training").get("rho") or 0.0)

    @property
    def last(self) -> dict[str, Any]:
        """The last evaluation in the training log, else its last line."""
        evaluated = [line for line in self.metrics if line.get("test_accuracy") is not None]
        return (evaluated or list(self.metrics) or [{}])[-1]

    @property
    def unfinished(self) -> str:
        """Where the log ends, if that is before the end of the training; else nothing."""
        steps, last = self.config.get("steps"), (self.metrics or ({},))[-1].get("step")
        early = None not in (steps, last) and last < steps
        return f"step {last:,} of {steps:,}" if early else ""

    def status(self, name: str) -> str:
        """Why a result is not there or ``"incomplete (n of m)"``; nothing for a complete one."""
        stored = self.results.get(name)
        if stored is None:
            missing = DAMAGED if name in self.damaged else NOT_MEASURED
            return OTHER_VERSION if name in self.other_versions else missing
        done = stored["done"]
        return "" if done.all() else f"incomplete ({int(done.sum())} of {done.size})"


def collect(run_folder: str | os.PathLike) -> Run:
    """Read everything a run folder holds; what is absent, partial or damaged is left out.

    Raises
    ------
    RequestError
        If there is no such folder, or nothing in it is part of a run.
    """
    folder = Path(run_folder)
    if not os.path.isdir(folder):
        raise RequestError(
            f"run: no folder {printable(folder)}; pass a run folder that `train` has made"
        )
    problems: list[str] = []

    def say(file: str) -> reading.Say:
        return lambda what: problems.append(f"{file}: {what}")

    config = reading.config(folder / CONFIG, say(CONFIG))
    metrics, every = reading.log(folder / LOG, say(LOG))
    found, missing = {}, {OTHER_VERSION: set(), DAMAGED: set()}
    for name, file in FILES.items():
        if os.path.lexists(folder / file):
            stored = _result(folder / file, name.removesuffix("-lecun"), problems)
            if isinstance(stored, Stored):
                found[name] = stored
            else:
                missing[stored].add(name)
    if not (config or metrics or found or problems):
        raise RequestError(
            f"run: {printable(folder)} holds no config.json, metrics.jsonl or result file; pass a "
            "run folder"
        )
    run = Run(
        folder, folder.name, config, metrics, _by_head(found), tuple(problems),
        frozenset(missing[OTHER_VERSION]), frozenset(missing[DAMAGED]), every,
    )  # fmt: skip
    return replace(run, label=run.model + (style.SAM if run.rho > 0 else ""))


def _result(path: Path, kind: str, problems: list[str]) -> Stored | str:
    """The result without what is wrong in it; why there is none, if nothing is left."""
    if not os.path.isfile(path):
        problems.append(f"{path.name}: no readable file")
        return DAMAGED
    try:
        stored = results.read(path, kind, without=["directions"])
    except RequestError as error:
        said = str(error).removeprefix("result: ").replace(str(path), path.name)
        if not isinstance(error, OtherVersion):
            problems.append(said)
            return DAMAGED
        problems.append(f"{said.rpartition('; ')[0]}; measure again")
        return OTHER_VERSION
    checked = validation.result(
        kind, stored.attributes, stored.data, lambda what: problems.append(f"{path.name}: {what}")
    )
    return DAMAGED if checked is None else Stored(path, *checked)


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs with the folder's name behind labels that would otherwise be used twice."""
    runs = _told_apart(list(runs), lambda run, place: f"({run.folder})")
    while len({run.label for run in runs}) < len(runs):
        runs = _told_apart(runs, lambda run, place: f"#{place}")
    return runs


def _told_apart(runs: list[Run], mark: Callable[[Run, int], str]) -> list[Run]:
    count = Counter(run.label for run in runs)
    return [
        replace(run, label=f"{run.label} {mark(run, place)}") if count[run.label] > 1 else run
        for place, run in enumerate(runs, 1)
    ]


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
