"""``doctor``: whether the backend computes what it should, and what to do where it does not."""

import dataclasses
from typing import Any

from landscape.cli import common
from landscape.errors import RequestError
from landscape.progress import MakeBar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(common.Common):
    out: str | None = None
    """Also write the outcome as JSON into this file."""
    seed: int = 0
    """Not used: the checks draw the same numbers every time."""


def execute(options: Options, make_bar: MakeBar | None = None) -> common.Outcome:
    """Carry out every check on the backend and in the precision that other commands would use.

    Exit status 1 if one failed.
    """
    from landscape import doctor
    from landscape.doctor.checks import CHECKS

    with common.bars(options, make_bar)("doctor", len(CHECKS)) as advance:
        try:
            found = doctor.examine(progress=lambda name: advance(note=name))
        except RuntimeError as error:
            raise RequestError(f"backend: {error}; look at XLA_FLAGS and JAX_PLATFORMS") from error
    data = {
        "passed": found.passed,
        "configuration": found.configuration,
        "known_bad": found.known_bad,
        "without_flag": found.without_flag,
        "advice": found.advice,
        "checks": [dataclasses.asdict(outcome) for outcome in found.outcomes],
    }

    def show(console: Any) -> None:
        if found.passed:
            console.print("All checks passed")
        place = "jaxlib {jaxlib} on {platform} ({processor}), flags {flags}, x64 {x64}"
        flags = " ".join(found.configuration["flags"]) or "none"
        console.print(place.format(**found.configuration | {"flags": flags}), markup=False)
        columns = ("check", "compared with", "relative error", "allowed", "verdict")
        rows = [
            [o.what, o.against, _number(o.error), _number(o.allowed), o.verdict]
            for o in found.outcomes
        ]
        console.print(common.grid("Self-test", columns, rows, text=(0, 1, 4)))
        for line in found.advice:
            console.print(line, markup=False)

    return common.Outcome(data, show, converged=found.passed, brief=True)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.1e}"
