"""The configuration and the training log of a run, read within bounds and checked."""

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from landscape.printable import printable
from landscape.report import validation

LARGEST_CONFIG, LARGEST_LOG = 16 * 2**20, 2**30  # bytes
LONGEST_LINE = 2**16  # bytes
KEPT = 5000  # lines of a log, and as many evaluations: more than a curve can show

Say = Callable[[str], object]


def config(path: Path, say: Say) -> dict[str, Any]:
    """``config.json`` without what is wrong in it; empty where it is absent or unreadable."""
    if not _is_readable(path, LARGEST_CONFIG, say):
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        say(f"not readable as JSON ({printable(error, 100)})")
        return {}
    if not isinstance(found, dict):
        say("holds no JSON object")
        return {}
    return validation.kept(found, validation.CONFIG, say)


def log(path: Path, say: Say) -> tuple[tuple[dict[str, Any], ...], int]:
    """The lines of ``metrics.jsonl`` in the order of their steps, and every how many-th was read.

    Of a long log only every so many-th line and evaluation is, and the last ones. The very last one
    may be half written if the run was killed.
    """
    if not _is_readable(path, LARGEST_LOG, say):
        return (), 1
    try:
        chosen, lines, every = _chosen(path)
    except OSError as error:
        say(f"not readable ({error.strerror})")
        return (), 1
    faults: list[tuple[int, str]] = []  # number of the line, what is wrong
    records: dict[int, dict[str, Any]] = {}
    for number, line in chosen:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number < lines:
                faults.append((number, "not JSON"))
            continue
        if isinstance(record, dict):
            found: list[str] = []
            records[number] = validation.kept(record, validation.LINE, found.append)
            faults += [(number, what) for what in found]
        else:
            faults.append((number, "no JSON object"))
    steps = {number: record["step"] for number, record in records.items() if "step" in record}
    for number in steps.keys() - _rising(steps):
        faults.append((number, "its step does not fit those of the other lines"))
        del records[number]
    for line in _told(faults):
        say(line)
    return tuple(records.values()), every


def _is_readable(path: Path, largest: int, say: Say) -> bool:
    """Whether there is a file of a bounded size; nothing else is opened, such as a pipe."""
    if not os.path.lexists(path):
        return False
    if not os.path.isfile(path):
        say("no readable file")
        return False
    if os.path.getsize(path) > largest:
        say(f"larger than {largest // 2**20} MiB and not read")
        return False
    return True


def _chosen(path: Path) -> tuple[list[tuple[int, bytes]], int, int]:
    """The lines that are read, with their numbers from 1, of how many, and every how many-th."""
    counts = [0, 0]
    for _, line in _lines(path):
        counts[_is_evaluation(line)] += 1
    every = [max(1, -(-count // KEPT)) for count in counts]
    seen, chosen = [0, 0], []
    for number, line in _lines(path):
        sort = _is_evaluation(line)
        seen[sort] += 1
        if seen[sort] % every[sort] == 0 or seen[sort] == counts[sort]:
            chosen.append((number, line))
    return chosen, chosen[-1][0] if chosen else 0, max(every)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            if line.strip():
                yield number, line


def _is_evaluation(line: bytes) -> bool:
    return b'"test_accuracy"' in line


def _rising(steps: Mapping[int, int]) -> set[int]:
    """The numbers of as many lines as possible whose steps rise from each to the next."""
    ends: list[int] = []  # the lowest last step of so many rising ones, and its line
    lines: list[int] = []
    before: dict[int, int | None] = {}
    for number, step in steps.items():
        length = bisect_left(ends, step)
        ends[length : length + 1], lines[length : length + 1] = [step], [number]
        before[number] = lines[length - 1] if length else None
    found, number = set(), lines[-1] if lines else None
    while number is not None:
        found.add(number)
        number = before[number]
    return found


def _told(faults: list[tuple[int, str]]) -> list[str]:
    """A line for every sort of fault, whatever the values: the first one stands for all."""
    found: dict[str, list[tuple[int, str]]] = {}
    for number, what in sorted(faults):
        found.setdefault(what.partition(" is ")[0], []).append((number, what))
    return [
        f"line {same[0][0]}{f' and {len(same) - 1} more' * (len(same) > 1)}: {same[0][1]}; left out"
        for same in found.values()
    ]
