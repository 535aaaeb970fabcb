"""Resident memory of this process, in MiB."""

import ctypes
import resource
import sys
from pathlib import Path


def peak() -> float:
    """The largest so far.

    Where Linux tells, from ``VmHWM``: a process started by a larger one inherits that one's
    ``ru_maxrss``.
    """
    try:
        return _status("VmHWM")
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def now() -> float:
    """What is resident at present, after giving freed memory back to the system (Linux)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


def forget_peak() -> bool:
    """Let the peak start again at what is resident now; False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
