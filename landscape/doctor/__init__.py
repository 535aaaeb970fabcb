"""Self-test of the backend: does it compute what this package relies on?

``analysis_cli.py doctor`` runs it. It looks at the compiler (programs that known versions compiled
wrongly), at Hessians of every network family and at the division among devices, on the backend and
in the precision in use. :mod:`landscape.doctor.verdict` keeps the outcome for results to store.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from landscape import xla_flags

_LIMIT = 120  # seconds without a word after which a check hangs


@dataclass(frozen=True)
class Outcome:
    """Of one check.

    Attributes
    ----------
    name, what, against, remedy
        See :class:`landscape.doctor.checks.Check`.
    error, allowed
        Relative error found and allowed; infinite where there was no finite value.
    verdict
        ``"passed"``, ``"failed"`` or ``"skipped"``.
    note
        How it failed other than by its value, or why it was skipped.
    """

    name: str
    what: str
    against: str
    remedy: str
    error: float
    allowed: float
    verdict: Literal["passed", "failed", "skipped"]
    note: str = ""


@dataclass(frozen=True)
class Examination:
    """What the self-test found.

    Attributes
    ----------
    configuration
        What it holds for; see :func:`landscape.doctor.verdict.configuration`.
    known_bad
        Whether this version's compiler is known to be wrong without its flag.
    outcomes
        Of every check.
    without_flag
        The relative errors of two checks in a process without the flag, where the version is known
        to be wrong and all is well with the flag; else empty.
    """

    configuration: dict[str, Any]
    known_bad: bool
    outcomes: list[Outcome]
    without_flag: dict[str, float]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.verdict == "failed"]

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def advice(self) -> list[str]:
        """What is wrong and what to do, a line each; what is known of this version at the end."""
        lines = {outcome.remedy: [] for outcome in self.failed}
        for outcome in self.failed:
            lines[outcome.remedy].append(outcome.name + (f" ({outcome.note})" * bool(outcome.note)))
        told = [f"wrong: {', '.join(names)}: {remedy}" for remedy, names in lines.items()]
        if self.known_bad:
            version = self.configuration["jaxlib"]
            told.append(f"jaxlib {version} is known to compile reductions for CPUs wrongly")
        if self.without_flag:
            errors = ", ".join(f"{name} {error:.1g}" for name, error in self.without_flag.items())
            told[-1] += (
                f"; landscape has set {xla_flags.FLAG}, with which every check passed. (Relative "
                f"errors without it: {errors}.)"
            )
        return told


def examine(
    names: Sequence[str] | None = None, progress: Callable[[str], None] = lambda _: None
) -> Examination:
    """Carry out the checks of :data:`landscape.doctor.checks.CHECKS`, in processes of their own.

    Parameters
    ----------
    names
        Which; all if not given. The verdict is kept only for all of them.
    progress
        Called with the name of every check that is done.

    Raises
    ------
    RuntimeError
        If JAX does not start.
    """
    from landscape.doctor import verdict
    from landscape.doctor.checks import CHECKS

    left, outcomes, configuration = list(CHECKS if names is None else names), [], None
    environment = _environment()
    while left:
        found, ended = _carry_out(left, environment, outcomes.append, progress)
        configuration = configuration or found
        if found is None:
            raise RuntimeError(f"JAX does not start ({ended})")
        left = left[left.index(outcomes[-1].name) + 1 :] if ended else []
    known_bad = xla_flags.is_known_bad(configuration["jaxlib"])
    bare: list[Outcome] = []
    well = all(outcome.verdict != "failed" for outcome in outcomes)
    if known_bad and well and configuration["platform"] == "cpu":
        _carry_out(["rows", "broadcast"], _without_flag(environment), bare.append)
    without = {outcome.name: outcome.error for outcome in bare}
    examination = Examination(configuration, known_bad, outcomes, without)
    if names is None:
        verdict.store(configuration, [outcome.name for outcome in examination.failed])
    return examination


def _carry_out(
    names: Sequence[str],
    environment: dict[str, str],
    found: Callable[[Outcome], None],
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any] | None, str]:
    """Run checks in one process; its configuration, and how it ended if that was too early."""
    from landscape.doctor.checks import CHECKS

    def tell(name: str, verdict: str, error=math.nan, allowed=math.nan, note="") -> None:
        check = CHECKS[name]
        texts = (name, check.what, check.against, check.remedy)
        found(Outcome(*texts, error, allowed, verdict, note))
        progress(name)

    configuration, begun, ended_checks = None, "", 0
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "landscape.doctor", *names],
            stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment,
        )  # fmt: skip
        for said in _said_by(process):
            if "configuration" in said:
                configuration = said["configuration"]
            elif "begin" in said:
                begun = said["begin"]
            elif "skipped" in said:
                tell(begun, "skipped", note=said["skipped"])
                begun, ended_checks = "", ended_checks + 1
            else:
                error, allowed = said["error"], said["allowed"]
                passed = error <= allowed
                tell(begun, "passed" if passed else "failed", error, allowed, said["failure"])
                begun, ended_checks = "", ended_checks + 1
        status = process.wait()
        complaints.seek(0)
        lines = [line.strip() for line in complaints if line.strip()]
    if ended_checks == len(names):
        return configuration, ""
    if configuration:
        begun = names[ended_checks]  # perhaps it died before it said so
    ended = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    ended = f"the process ended with {ended}" + (f": {lines[-1]}" if lines else "")
    if begun:
        tell(begun, "failed", math.inf, note=ended)
    return configuration, ended


def _said_by(process: subprocess.Popen) -> Iterator[dict[str, Any]]:
    """The lines of JSON that a process writes; it is ended when it is silent for too long."""
    while True:
        watch = threading.Timer(_LIMIT, process.kill)
        watch.start()
        line = process.stdout.readline()
        watch.cancel()
        if not line:
            process.stdout.close()
            return
        if line.startswith("{"):  # libraries write there, too
            yield json.loads(line)


def _environment() -> dict[str, str]:
    """As here, with what was set in Python; nothing compiled earlier is used."""
    environment = dict(os.environ)
    jax = sys.modules.get("jax")
    for name in ("jax_enable_x64", "jax_num_cpu_devices", "jax_platforms"):
        value = getattr(jax.config, name, None) if jax else None
        if value not in (None, "", -1):
            environment[name.upper()] = str(int(value) if isinstance(value, bool) else value)
    places = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
    return environment | {
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "JAX_ENABLE_COMPILATION_CACHE": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def _without_flag(environment: dict[str, str]) -> dict[str, str]:
    kept = [flag for flag in xla_flags.in_force() if not flag.startswith(xla_flags.FLAG)]
    return environment | {"XLA_FLAGS": " ".join(kept), xla_flags.KEEP: "1"}
