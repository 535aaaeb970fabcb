"""What is known about the backend that computes: what results store of it.

The verdict of `analysis_cli.py doctor` is kept in the user's cache folder, by configuration. Two
of the programs that known-bad versions compile wrongly are run all the same, once a process: they
take some tenths of a second, and flags that were set after the backend had started may look as if
they were in force.
"""

import functools
import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape import xla_flags
from landscape.devices import cache_folder
from landscape.errors import RequestError
from landscape.whole_file import whole_file

_KEPT = 100  # verdicts, the last ones


def configuration() -> dict[str, Any]:
    """What a verdict holds for: versions, device, processor, flags and precision. Starts JAX."""
    import jax

    import landscape

    device = jax.local_devices()[0]
    return {
        "landscape": landscape.__version__,
        "jax": jax.__version__,
        "jaxlib": xla_flags.jaxlib_version(),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "flags": xla_flags.in_force(),
        "x64": bool(jax.config.jax_enable_x64),
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "tf32": os.environ.get("NVIDIA_TF32_OVERRIDE"),
    }


def backend() -> dict[str, Any]:
    """For the provenance of a result: the flags in force and what is known of the compiler.

    ``verdict`` is ``"passed"`` or ``"failed"``, ``failed`` names what came out wrong, and ``by``
    says what was tried: ``"doctor"`` (with the time), or the ``"quick check"`` of two programs.
    """
    found = configuration()
    known = {
        "flags": _without_folders(found["flags"]),
        "known_bad": xla_flags.is_known_bad(found["jaxlib"]),
    }
    quick = _quick_check(json.dumps(found, sort_keys=True))
    known |= quick if quick["failed"] else _stored(found) or quick
    if known["failed"]:
        warnings.warn(
            f"jaxlib {found['jaxlib']} computes wrongly here ({', '.join(known['failed'])}); "
            "`analysis_cli.py doctor` says what to do",
            stacklevel=3,
        )
    return known


def _without_folders(flags: Sequence[str]) -> list[str]:
    """Files are handed on: ``--xla_dump_to=...`` says enough."""
    return [flag.partition("=")[0] + "=..." if "/" in flag else flag for flag in flags]


def store(found: Mapping[str, Any], failed: Sequence[str]) -> None:
    """Keep the doctor's verdict on a configuration; where that cannot be written, do without."""
    time_ = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    outcome = {"verdict": "failed" if failed else "passed", "failed": list(failed)}
    record = {"configuration": dict(found), "by": "doctor", "examined": time_, **outcome}
    others = [old for old in _verdicts() if old["configuration"] != record["configuration"]]
    try:
        with whole_file(_file()) as temporary:
            temporary.write_text(json.dumps([*others[1 - _KEPT :], record], indent=1))
    except RequestError as error:
        warnings.warn(f"the verdict is not kept: {error}", stacklevel=2)


def _stored(found: Mapping[str, Any]) -> dict[str, Any] | None:
    for record in _verdicts():
        if record["configuration"] == found:
            return {name: value for name, value in record.items() if name != "configuration"}
    return None


def _verdicts() -> list[dict[str, Any]]:
    try:
        found = json.loads(_file().read_text())
    except (OSError, ValueError, RecursionError):
        return []
    whole = isinstance(found, list) and all(
        isinstance(record, dict) and {"configuration", "verdict", "by"} <= record.keys()
        for record in found
    )
    return found if whole else []


def _file() -> Path:
    return cache_folder() / "doctor.json"


@functools.cache
def _quick_check(found: str) -> dict[str, Any]:
    from landscape.doctor import programs

    failed = programs.wrong()
    verdict = "failed" if failed else "passed"
    return {"verdict": verdict, "failed": failed, "by": "quick check"}


@functools.cache
def _processor() -> str:
    """The host's processor: kernels for CPUs are chosen by it."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()
