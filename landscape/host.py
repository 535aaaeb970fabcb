"""What the host lets this process use: memory and processors.

A job or a container may have much less than the host: its limits are those of its control groups,
one inside of the other (cgroups, version 1 or 2, or both beside each other), and of ``ulimit -v``.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")

# Of a control group, versions 2 and 1: a limit of its memory, what is used of it, and what of that
# the kernel takes back at need, which are files read before.
_FILES = ("inactive_file", "active_file")
_MEMORY = (
    ("memory.max", "memory.current", _FILES),
    ("memory.high", "memory.current", _FILES),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", tuple(f"total_{name}" for name in _FILES)),
)
# A line of mountinfo: what of a file system is mounted, where, its type and its options.
_MOUNT = re.compile(r"\S+ \S+ \S+ (\S+) (\S+) .*- (cgroup2?) \S+ (\S+)")
_MISSING = (OSError, KeyError, ValueError, IndexError)  # no such file, entry or limit


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes that this process can still take; None where nothing tells.

    The least of what the host has free, of what is left to each control group that the process is
    in, and of what is left of its address space.

    Parameters
    ----------
    root
        The folder that holds ``proc`` and ``sys``.
    """
    left = [*_left_of_host(root), *_left_of_address_space(root)]
    for group in _control_groups(root, "memory"):
        left += _left_of_group(group)
    return max(0, min(left)) if left else None


def processors(root: Path = _ROOT) -> int:
    """How many processors this process may keep busy at a time, at least one."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        found = os.cpu_count() or 1
    for group in _control_groups(root, "cpu"):
        found = min([found, *_processors_of_group(group)])
    return max(1, found)


def _left_of_host(root: Path) -> Iterator[int]:
    try:
        yield 1024 * int(_entries(root / "proc/meminfo")["MemAvailable"])
    except _MISSING:
        return


def _left_of_address_space(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/limits").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("Max address space"))
        limit = int(re.split(r"\s{2,}", line)[1])  # "unlimited" is none
        yield limit - 1024 * int(_entries(root / "proc/self/status")["VmSize"])
    except _MISSING:
        return


def _left_of_group(group: Path) -> Iterator[int]:
    for limit, used, reclaimed in _MEMORY:
        try:
            most, now = (int((group / name).read_text()) for name in (limit, used))
            entries = _entries(group / "memory.stat")
            yield most - now + sum(int(entries.get(name, 0)) for name in reclaimed)
        except _MISSING:
            continue


def _processors_of_group(group: Path) -> Iterator[int]:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            texts = [(group / name).read_text() for name in names]
            quota, period = map(int, " ".join(texts).split())  # "max" is no number
        except _MISSING:
            continue
        if quota > 0 and period > 0:  # -1 is no limit
            yield -(-quota // period)


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process that may limit it, from the innermost."""
    mounts = [_MOUNT.match(line) for line in _lines(root / "proc/self/mountinfo")]
    for line in _lines(root / "proc/self/cgroup"):
        controllers, path = line.split(":", 2)[1:] if line.count(":") > 1 else ("none", "")
        if controllers and controller not in controllers.split(","):
            continue
        for top, place, kind, options in (mount.groups() for mount in mounts if mount):
            if kind != ("cgroup" if controllers else "cgroup2"):  # of the latter one for all
                continue
            if controllers and controller not in options.split(","):
                continue
            inside = PurePosixPath(path)
            # In a namespace of its own a process sees its group as the root.
            hidden = ".." in inside.parts or not inside.is_relative_to(top)
            inside = PurePosixPath() if hidden else inside.relative_to(top)
            for group in (inside, *inside.parents):
                yield root / place.lstrip("/") / group


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except (OSError, ValueError):  # a path that is none
        return []


def _entries(path: Path) -> dict[str, str]:
    """Lines such as ``VmSize:  4096 kB`` or ``inactive_file 4096``: the first number by name."""
    return {
        words[0].rstrip(":"): words[1] for line in _lines(path) if len(words := line.split()) > 1
    }
