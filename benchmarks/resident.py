"""Resident memory of this process, in MiB."""

import resource
import sys
from pathlib import Path


def peak() -> float:
    """The largest so far.

    Where Linux tells, from ``VmHWM``: a process started by a larger one inherits that one's
    ``ru_maxrss``.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def forget_peak() -> bool:
    """Let the peak start again at what is resident now; False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
